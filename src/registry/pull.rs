//! Pulls: finding a manifest or a blob, and opening its content.

use bytes::Bytes;

use super::content::Content;
use super::error::Error;
use super::freshness::{Freshness, Seen};
use super::journal::{Registry, broken};
use crate::base::Mutant;
use crate::metadata;
use crate::oci::{Digest, MediaType, Reference, Repository};
use crate::raft::StateView;

/// A manifest as it was pushed.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Its digest, also when it was asked for by tag.
    pub digest: Digest,
    /// The type it was pushed with.
    pub media_type: MediaType,
    /// The exact bytes.
    pub bytes: Bytes,
}

/// A blob that the repository holds.
#[derive(Clone, Debug)]
pub struct Blob {
    /// Its digest.
    pub digest: Digest,
    /// Its size.
    pub size_bytes: u64,
    pub(super) generation: u64,
    is_inline: bool,
}

impl Registry {
    /// Finds a manifest.
    ///
    /// - Errors: `ManifestUnknown` only after a read index confirmed it, also where
    ///   stale reads are allowed.
    /// - Source: distribution-spec v1.1, end-3.
    pub async fn manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Seen<Manifest>, Error> {
        let mut freshness = Freshness::Newest;
        let found = match reference {
            Reference::Digest(digest) => {
                let query = |view: &StateView| metadata::manifest(view, repository, digest);
                self.look(query).await?.map(|stored| (*digest, stored))
            }
            Reference::Tag(tag) => {
                if !Mutant::TagWithoutReadIndex.is_on() {
                    freshness = self.freshen().await?;
                }
                let view = self.view();
                match metadata::tag(&view, repository, tag).map_err(broken)? {
                    Some(digest) => metadata::manifest(&view, repository, &digest)
                        .map_err(broken)?
                        .map(|stored| (digest, stored)),
                    None => None,
                }
            }
        };
        let missed = || freshness.miss(Error::ManifestUnknown);
        let (digest, stored) = found.ok_or_else(missed)?;
        Ok(freshness.of(Manifest {
            digest,
            media_type: stored.media_type,
            bytes: stored.bytes,
        }))
    }

    /// Finds a blob through the repository that must hold it.
    ///
    /// - Errors: `BlobUnknown` only after a read index confirmed it.
    /// - Source: distribution-spec v1.1, end-2.
    pub async fn find_blob(&self, repository: &Repository, digest: &Digest) -> Result<Blob, Error> {
        let query = |view: &StateView| metadata::linked_blob(view, repository, digest);
        let record = self
            .look(query)
            .await?
            .ok_or(Error::BlobUnknown { digest: *digest })?;
        Ok(Blob {
            digest: *digest,
            size_bytes: record.size_bytes,
            generation: record.generation,
            is_inline: record.is_inline,
        })
    }

    /// Opens the bytes `start..end` of a blob.
    ///
    /// - Shape: `start <= end <= size_bytes`, checked by the caller's range.
    /// - Errors: `Internal` when the file of an acknowledged blob is missing or unreadable.
    pub async fn content(&self, blob: &Blob, start: u64, end: u64) -> Result<Content, Error> {
        if blob.is_inline {
            let stored = metadata::inline_content(&self.view(), &blob.digest).map_err(broken)?;
            let part = stored.and_then(|bytes| slice(&bytes, start, end));
            return match part {
                Some(bytes) => Ok(Content::Memory(bytes)),
                None => Err(Error::BlobUnknown {
                    digest: blob.digest,
                }),
            };
        }
        if let Some(copies) = &self.copies {
            return copies.content(blob, start, end).await;
        }
        let reader = self
            .store
            .reader(&blob.digest, blob.generation, blob.size_bytes)
            .await
            .map_err(|error| {
                tracing::error!(digest = %blob.digest, %error, "an acknowledged blob cannot be opened");
                Error::Internal(Box::new(error))
            })?;
        Ok(Content::stored(reader, start, end))
    }
}

/// A part of shared bytes, without copying them.
fn slice(bytes: &Bytes, start: u64, end: u64) -> Option<Bytes> {
    let (start, end) = (usize::try_from(start).ok()?, usize::try_from(end).ok()?);
    (start <= end && end <= bytes.len()).then(|| bytes.slice(start..end))
}
