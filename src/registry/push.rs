//! Pushes of blobs: sessions, whole blobs, mounts.

use super::error::Error;
use super::journal::{Registry, broken, refused};
use super::upload::{Place, Upload, failed};
use crate::blob::{self, SealError, UploadId};
use crate::metadata::{self, Command, Outcome};
use crate::oci::{Algorithm, Digest, Repository};
use crate::raft::StateView;

impl Registry {
    /// Opens a session.
    ///
    /// - Errors: `DiskFull` before any byte is read.
    /// - Source: distribution-spec v1.1, end-4a and end-4c.
    pub fn begin_upload(
        &self,
        repository: &Repository,
        algorithm: Option<Algorithm>,
    ) -> Result<UploadId, Error> {
        self.space.check()?;
        self.store.begin(repository, algorithm).map_err(failed)
    }

    /// Opens an upload that one request carries whole; it has no session to resume.
    ///
    /// - Source: distribution-spec v1.1, end-4b.
    pub fn begin_whole(
        &self,
        repository: &Repository,
        algorithm: Algorithm,
    ) -> Result<Upload, Error> {
        self.space.check()?;
        let upload = self.store.receive(repository, algorithm);
        Ok(self.teed(repository, upload).into())
    }

    /// Has the bytes of an upload that holds none yet passed on while they come.
    pub(super) fn teed(&self, repository: &Repository, mut upload: blob::Upload) -> blob::Upload {
        if let Some(copies) = self.copies.as_ref().filter(|_| upload.held_bytes() == 0) {
            copies.tap(repository, &mut upload, &self.journal);
        }
        upload
    }

    /// Makes an upload a blob of the repository: checked, durable, committed. Says which
    /// entry did it; `None` when a node of an older version owned the session.
    ///
    /// - Errors: `DigestMismatch` leaves neither file nor session.
    /// - Cancel: before the entry is proposed nothing is promised; a file without
    ///   an entry is found at the next start.
    /// - Source: distribution-spec v1.1, end-6.
    pub async fn seal_upload(
        &self,
        repository: &Repository,
        upload: Upload,
        digest: &Digest,
    ) -> Result<Option<u64>, Error> {
        let upload = match upload.0 {
            Place::Here(upload) => upload,
            Place::Elsewhere(upload) => {
                return self.seal_elsewhere(repository, *upload, digest).await;
            }
        };
        let generation = self.generation_for(digest)?;
        let sealed = upload.seal(digest, generation).await.map_err(unsealed)?;
        let held = match &self.copies {
            Some(copies) => copies.hold(repository, &sealed, &self.journal).await?,
            None => 0,
        };
        let committed = self
            .propose(Command::LinkBlob {
                repository: repository.clone(),
                digest: sealed.digest,
                size_bytes: sealed.size_bytes,
                generation: sealed.generation,
                extent_checksums: sealed.extent_checksums.clone(),
                inline: sealed.inline.clone(),
            })
            .await?;
        if !matches!(committed.outcome, Outcome::BlobLinked { .. }) {
            // Condemned between its seal and its entry: the next try gets a new generation.
            return Err(refused(&committed.outcome));
        }
        let rest = match &self.copies {
            Some(copies) => {
                let rest = copies.hold_rest(repository, &sealed, &self.journal, held);
                rest.await
            }
            None => Ok(()),
        };
        sealed.commit().await;
        rest.map(|()| Some(committed.index))
    }

    /// The generation that readers use already, so that a blob pushed twice takes
    /// its own place on the disk; else the next free one.
    fn generation_for(&self, digest: &Digest) -> Result<u64, Error> {
        let view = self.view();
        let record = metadata::blob(&view, digest).map_err(broken)?;
        match record.filter(metadata::BlobRecord::is_live) {
            Some(record) if !record.is_inline => Ok(record.generation),
            _ => metadata::next_generation(&view, digest).map_err(broken),
        }
    }

    /// Links a blob that another repository holds, without moving a byte, and says which
    /// entry did it; `None` when it cannot, and the client uploads instead. Nodes that
    /// lack it move bytes, when fewer hold it than the repository promises.
    ///
    /// - Source: distribution-spec v1.1, end-11.
    pub async fn mount_blob(
        &self,
        target: &Repository,
        digest: &Digest,
        source: Option<&Repository>,
    ) -> Result<Option<u64>, Error> {
        let query = |view: &StateView| match source {
            Some(source) => {
                let record = metadata::linked_blob(view, source, digest)?;
                Ok(record.map(|_| source.clone()))
            }
            None => metadata::find_anywhere(view, digest),
        };
        if self.look(query).await?.is_none() {
            return Ok(None);
        }
        let command = Command::MountBlob {
            source: source.cloned(),
            target: target.clone(),
            digest: *digest,
        };
        self.spread(target, &[*digest]).await?;
        let committed = self.propose(command).await?;
        if !matches!(committed.outcome, Outcome::BlobLinked { .. }) {
            return Ok(None);
        }
        self.spread_rest(target, &[*digest]).await?;
        Ok(Some(committed.index))
    }
}

impl Registry {
    /// Returns when enough nodes hold `digests` for a push that links them.
    pub(super) async fn spread(
        &self,
        repository: &Repository,
        digests: &[Digest],
    ) -> Result<(), Error> {
        match &self.copies {
            Some(copies) => copies.spread(repository, digests, &self.journal).await,
            None => Ok(()),
        }
    }

    /// As [`Registry::spread`], once they are linked.
    pub(super) async fn spread_rest(
        &self,
        repository: &Repository,
        digests: &[Digest],
    ) -> Result<(), Error> {
        match &self.copies {
            Some(copies) => {
                let rest = copies.spread_rest(repository, digests, &self.journal);
                rest.await
            }
            None => Ok(()),
        }
    }
}

fn unsealed(error: SealError) -> Error {
    match error {
        SealError::DigestMismatch { actual, .. } => Error::DigestMismatch { actual },
        SealError::Upload(error) => failed(error),
        error @ (SealError::Sync { .. } | SealError::ReadBack { .. }) => {
            tracing::error!(%error, "a blob could not be made durable");
            Error::Internal(Box::new(error))
        }
    }
}
