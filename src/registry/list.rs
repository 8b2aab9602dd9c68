//! Lists: tags, repositories, referrers. Linearizable, paged by key range.

use super::error::Error;
use super::journal::{Registry, broken};
use crate::metadata::{self, Page, ReferrerPage, ReferrerQuery};
use crate::oci::{Digest, Repository, Tag};

impl Registry {
    /// Tags of a repository behind `after`, in lexical order.
    ///
    /// - Errors: `NameUnknown` when the repository never held anything.
    /// - Source: distribution-spec v1.1, end-8.
    pub async fn tags(
        &self,
        repository: &Repository,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Tag>, Error> {
        self.settle().await?;
        let view = self.view();
        let page = metadata::tags(&view, repository, after, limit).map_err(broken)?;
        if page.entries.is_empty()
            && !metadata::has_repository(&view, repository).map_err(broken)?
        {
            return Err(Error::NameUnknown);
        }
        Ok(page)
    }

    /// Repositories behind `after`, in lexical order.
    pub async fn repositories(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Repository>, Error> {
        self.settle().await?;
        metadata::repositories(&self.view(), after, limit).map_err(broken)
    }

    /// Descriptors of the manifests whose subject is `subject`.
    ///
    /// - Source: distribution-spec v1.1, end-12.
    pub async fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
        query: ReferrerQuery<'_>,
    ) -> Result<ReferrerPage, Error> {
        self.settle().await?;
        metadata::referrers(&self.view(), repository, subject, query).map_err(broken)
    }
}
