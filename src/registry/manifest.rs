//! Pushes of manifests: one entry moves manifest, tags and referrers.

use bytes::Bytes;

use super::error::Error;
use super::journal::{Registry, broken, refused};
use crate::metadata::{self, Command, Expected, Outcome, Part, PutManifest, Refusal};
use crate::oci::{self, Algorithm, Digest, MediaType, Repository, Role, Tag};

/// What a client wants to store.
#[derive(Debug)]
pub struct ManifestPush {
    /// The digest the client named, which the bytes must have; SHA-256 is taken
    /// when it named a tag instead.
    pub digest: Option<Digest>,
    /// Tags that move to the manifest.
    pub tags: Vec<Tag>,
    /// Whether tags that exist may move; new ones are always made.
    pub may_move_tags: bool,
    /// The type it declared.
    pub media_type: MediaType,
    /// The exact bytes.
    pub bytes: Bytes,
}

/// What was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestPushed {
    /// The manifest's digest.
    pub digest: Digest,
    /// The manifest it refers to, if any: it is now among that one's referrers.
    pub subject: Option<Digest>,
    /// The entry that says so.
    pub index: u64,
}

impl Registry {
    /// Stores a manifest and moves its tags in one committed entry.
    ///
    /// - Errors: `DigestMismatch`, `ManifestInvalid`, `ContentMissing` with every
    ///   descriptor that is not in the repository, `SizesDiffer`, `TagFixed`, `TagTaken`;
    ///   `Unavailable` when too few nodes hold a blob.
    /// - Source: distribution-spec v1.1, end-7.
    pub async fn push_manifest(
        &self,
        repository: &Repository,
        push: ManifestPush,
    ) -> Result<ManifestPushed, Error> {
        let algorithm = push
            .digest
            .map_or(Algorithm::Sha256, |digest| digest.algorithm());
        let digest = Digest::of(algorithm, &push.bytes);
        if push.digest.is_some_and(|declared| declared != digest) {
            return Err(Error::DigestMismatch { actual: digest });
        }
        let manifest = oci::Manifest::parse(&push.bytes, &push.media_type)?;
        let subject = manifest.subject.as_ref().map(|subject| subject.digest);
        let tags = push.tags.clone();
        let mut put =
            PutManifest::new(repository.clone(), digest, &manifest, push.bytes, push.tags);
        if !push.may_move_tags {
            put.expected = Expected::Absent;
        }
        let is_blob = |part: &&Part| matches!(part.role, Role::Config | Role::Layer);
        let blobs = put.parts.iter().filter(is_blob);
        let blobs: Vec<Digest> = blobs.map(|part| part.digest).collect();
        // They may have come by a mount, or when fewer copies were waited for.
        let linked = self.linked(repository, &blobs)?;
        self.spread(repository, &linked).await?;
        let committed = self.propose(Command::PutManifest(Box::new(put))).await?;
        let pushed = ManifestPushed {
            digest,
            subject,
            index: committed.index,
        };
        match committed.outcome {
            Outcome::Stored { .. } => {
                let linked = self.linked(repository, &blobs)?;
                self.spread_rest(repository, &linked).await?;
                Ok(pushed)
            }
            // Pushing again what is there moves nothing.
            Outcome::Refused(Refusal::TagMoved(_))
                if self.are_at(repository, &tags, &digest)? =>
            {
                let linked = self.linked(repository, &blobs)?;
                self.spread_rest(repository, &linked).await?;
                Ok(pushed)
            }
            Outcome::BlobsMissing(digests) => Err(Error::ContentMissing { digests }),
            Outcome::SizesDiffer(digests) => Err(Error::SizesDiffer { digests }),
            outcome => Err(refused(&outcome)),
        }
    }

    /// Those of `digests` that the repository holds. What only others hold is like what
    /// nobody holds: no node works for it, and no client waits, which would tell.
    fn linked(&self, repository: &Repository, digests: &[Digest]) -> Result<Vec<Digest>, Error> {
        if self.copies.is_none() {
            return Ok(Vec::new());
        }
        let view = self.view();
        let mut linked = Vec::new();
        for digest in digests {
            let record = metadata::linked_blob(&view, repository, digest).map_err(broken)?;
            linked.extend(record.map(|_| *digest));
        }
        Ok(linked)
    }

    /// Whether every tag points at the manifest already.
    fn are_at(
        &self,
        repository: &Repository,
        tags: &[Tag],
        digest: &Digest,
    ) -> Result<bool, Error> {
        let view = self.view();
        for tag in tags {
            if metadata::tag(&view, repository, tag).map_err(broken)? != Some(*digest) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
