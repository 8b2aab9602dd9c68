//! Lists: tags, repositories, referrers. Linearizable unless they say that they are
//! stale; paged by key range.

use super::error::Error;
use super::freshness::Seen;
use super::journal::{Registry, broken};
use crate::metadata::{self, Page, ReferrerPage, ReferrerQuery};
use crate::oci::{Digest, Repository, Tag};

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

    /// Repositories behind `after`, in lexical order.
    pub async fn repositories(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Seen<Page<Repository>>, Error> {
        let freshness = self.freshen().await?;
        let page = metadata::repositories(&self.view(), after, limit).map_err(broken)?;
        Ok(freshness.of(page))
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
