//! Lists: tags, repositories, referrers. Linearizable unless they say that they are
//! stale; paged by key range.

use super::error::Error;
use super::freshness::Seen;
use super::journal::{Registry, broken};
use crate::metadata::{self, Page, ReferrerPage, ReferrerQuery};
use crate::oci::{Digest, Repository, Tag};
use crate::runtime::yield_turn;

/// Repositories looked at before other requests of the shard get a turn, however many
/// are asked for and however few are shown: whether one is shown may take a look at each
/// of many rules.
const STEP_ENTRIES: usize = 100;

impl Registry {
    /// Tags of a repository behind `after`, in lexical order.
    ///
    /// - Errors: `NameUnknown` when the repository never held anything; never on a
    ///   stale read.
    /// - Source: distribution-spec v1.1, end-8.
    pub async fn tags(
        &self,
        repository: &Repository,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Seen<Page<Tag>>, Error> {
        let freshness = self.freshen().await?;
        let view = self.view();
        let page = metadata::tags(&view, repository, after, limit).map_err(broken)?;
        if page.entries.is_empty()
            && !metadata::has_repository(&view, repository).map_err(broken)?
        {
            return Err(freshness.miss(Error::NameUnknown));
        }
        Ok(freshness.of(page))
    }

    /// Repositories behind `after` that are shown, in lexical order. Others leave no
    /// trace: neither a gap, nor an end of the page before its limit. So whoever may see
    /// few has all looked at, step by step.
    pub async fn repositories(
        &self,
        after: Option<&str>,
        limit: usize,
        is_shown: impl Fn(&Repository) -> bool,
    ) -> Result<Seen<Page<Repository>>, Error> {
        let freshness = self.freshen().await?;
        let mut entries = Vec::new();
        if limit == 0 {
            // Nothing is asked for: looking for one that is shown could take long.
            let more = false;
            return Ok(freshness.of(Page { entries, more }));
        }
        let mut after: Option<Box<str>> = after.map(Into::into);
        // One more than asked for tells whether there are more to show.
        while entries.len() <= limit {
            let page = metadata::repositories(&self.view(), after.as_deref(), STEP_ENTRIES);
            let page = page.map_err(broken)?;
            after = page.entries.last().map(|last| last.as_str().into());
            entries.extend(page.entries.into_iter().filter(&is_shown));
            if !page.more {
                break;
            }
            yield_turn().await;
        }
        let more = entries.len() > limit;
        entries.truncate(limit);
        Ok(freshness.of(Page { entries, more }))
    }

    /// Descriptors of the manifests whose subject is `subject`.
    ///
    /// - Source: distribution-spec v1.1, end-12.
    pub async fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
        query: ReferrerQuery<'_>,
    ) -> Result<Seen<ReferrerPage>, Error> {
        let freshness = self.freshen().await?;
        let page = metadata::referrers(&self.view(), repository, subject, query);
        Ok(freshness.of(page.map_err(broken)?))
    }
}

#[cfg(test)]
#[path = "list_test.rs"]
mod tests;
