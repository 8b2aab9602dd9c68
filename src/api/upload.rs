//! Upload sessions: end-4, end-5, end-6, end-11, end-13, end-14.

use super::answer::{Answer, Handled};
use super::door::Door;
use super::failure::Failure;
use crate::auth::Actions;
use crate::exchange::{Closed, Exchange};
use crate::guard::Pass;
use crate::http::{ContentRange, Framing, Query, Status};
use crate::oci::{Algorithm, Digest, ErrorCode, Repository};
use crate::registry::{Error, Upload, WhenCut};

/// Why a body did not become part of a session.
enum Unread {
    /// The client went away or broke the dialect; the connection answers for itself.
    Body(Closed),
    /// The store refused the bytes.
    Store(Error),
}

/// The value of `Range` for a session: the bytes it holds, `0-0` when it holds none.
///
/// - Source: distribution-spec v1.1, end-4a and end-13.
pub(super) fn held_range(held_bytes: u64) -> String {
    format!("0-{}", held_bytes.saturating_sub(1))
}

impl Door {
    /// POST: opens a session, takes a whole blob, or mounts one.
    pub(super) async fn begin_upload(
        &self,
        exchange: &mut Exchange,
        pass: &Pass,
        repository: &Repository,
    ) -> Result<Handled, Closed> {
        match Plan::read(exchange.head().query()) {
            Err(failure) => Ok(Err(failure)),
            Ok(Plan::Mount { digest, from }) if may_mount(pass, from.as_ref()) => {
                Ok(self.mount(repository, &digest, from.as_ref()).await)
            }
            // As if the blob were not there.
            Ok(Plan::Mount { .. }) => Ok(self.open_session(repository, None)),
            Ok(Plan::Session { algorithm }) => Ok(self.open_session(repository, algorithm)),
            Ok(Plan::Whole { digest }) => self.take_whole(exchange, repository, &digest).await,
        }
    }

    async fn mount(
        &self,
        repository: &Repository,
        digest: &Digest,
        from: Option<&Repository>,
    ) -> Handled {
        match self.registry.mount_blob(repository, digest, from).await? {
            None => self.open_session(repository, None),
            index => Ok(self.blob_created(repository, digest).committed(index)),
        }
    }

    fn open_session(&self, repository: &Repository, algorithm: Option<Algorithm>) -> Handled {
        let id = self.registry.begin_upload(repository, algorithm)?;
        Ok(self.session(Status::ACCEPTED, repository, &id.to_string(), 0))
    }

    async fn take_whole(
        &self,
        exchange: &mut Exchange,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Handled, Closed> {
        let upload = match self.registry.begin_whole(repository, digest.algorithm()) {
            Ok(upload) => upload,
            Err(error) => return Ok(Err(error.into())),
        };
        self.receive_and_seal(exchange, repository, upload, digest)
            .await
    }

    /// PATCH: appends a chunk, or a stream of unknown length.
    pub(super) async fn append(
        &self,
        exchange: &mut Exchange,
        repository: &Repository,
        id: &str,
    ) -> Result<Handled, Closed> {
        let mut upload = match self
            .resume_in_order(exchange, repository, id, WhenCut::Keep)
            .await
        {
            Ok(upload) => upload,
            Err(failure) => return Ok(Err(failure)),
        };
        let received = receive(exchange, &mut upload).await;
        // What came is kept even when the client went away in mid-stream: it
        // may ask how far it got and go on from there.
        let held = upload.keep().await;
        match (received, held) {
            (Err(Unread::Body(error)), _) => Err(error),
            (Err(Unread::Store(error)), _) | (Ok(()), Err(error)) => Ok(Err(error.into())),
            (Ok(()), Ok(held_bytes)) => Ok(Ok(self.session(
                Status::ACCEPTED,
                repository,
                id,
                held_bytes,
            ))),
        }
    }

    /// PUT: takes the last chunk, if there is one, and closes the session.
    pub(super) async fn close(
        &self,
        exchange: &mut Exchange,
        repository: &Repository,
        id: &str,
    ) -> Result<Handled, Closed> {
        let digest = match declared_digest(exchange.head().query().value("digest")) {
            Ok(digest) => digest,
            Err(failure) => return Ok(Err(failure)),
        };
        let resumed = self.resume_in_order(exchange, repository, id, WhenCut::Forget);
        match resumed.await {
            Ok(upload) => {
                self.receive_and_seal(exchange, repository, upload, &digest)
                    .await
            }
            Err(failure) => Ok(Err(failure)),
        }
    }

    async fn receive_and_seal(
        &self,
        exchange: &mut Exchange,
        repository: &Repository,
        mut upload: Upload,
        digest: &Digest,
    ) -> Result<Handled, Closed> {
        match receive(exchange, &mut upload).await {
            Ok(()) => {}
            // A cut close leaves the session as it was acknowledged, so that the
            // whole request can be repeated; nothing was promised for its bytes.
            Err(Unread::Body(error)) => return Err(error),
            Err(Unread::Store(error)) => return Ok(Err(error.into())),
        }
        let sealed = self.registry.seal_upload(repository, upload, digest).await;
        Ok(match sealed {
            Ok(index) => Ok(self.blob_created(repository, digest).committed(index)),
            Err(error) => Err(error.into()),
        })
    }

    /// GET: how far a session got.
    pub(super) async fn upload_status(&self, repository: &Repository, id: &str) -> Handled {
        let held_bytes = self.registry.held_bytes(repository, id).await?;
        Ok(self.session(Status::NO_CONTENT, repository, id, held_bytes))
    }

    /// DELETE: ends a session and forgets its bytes.
    pub(super) async fn cancel_upload(&self, repository: &Repository, id: &str) -> Handled {
        self.registry.cancel_upload(repository, id).await?;
        Ok(Answer::empty(Status::NO_CONTENT))
    }

    /// Takes the session, after its `Content-Range` was held against what it holds.
    async fn resume_in_order(
        &self,
        exchange: &Exchange,
        repository: &Repository,
        id: &str,
        when_cut: WhenCut,
    ) -> Result<Upload, Failure> {
        let head = exchange.head();
        let range = match head.header("Content-Range").map(ContentRange::parse) {
            Some(None) => {
                let message = "Content-Range is not `first-last`";
                return Err(Failure::bad(ErrorCode::BlobUploadInvalid, message));
            }
            Some(range) => range,
            None => None,
        };
        if let (Some(range), Framing::Length(length_bytes)) = (range, head.framing())
            && range.size_bytes() != length_bytes
        {
            let message = "Content-Range and Content-Length disagree";
            return Err(Failure::bad(ErrorCode::SizeInvalid, message));
        }
        let upload = self
            .registry
            .resume_upload(repository, id, when_cut)
            .await?;
        let held_bytes = upload.held_bytes();
        if range.is_some_and(|range| range.start != held_bytes) {
            upload.release().await;
            return Err(Failure::from(Error::OutOfOrder { held_bytes })
                .with("Location", self.upload_path(repository, id))
                .with("Docker-Upload-UUID", id.to_owned()));
        }
        Ok(upload)
    }

    fn session(&self, status: Status, repository: &Repository, id: &str, held: u64) -> Answer {
        Answer::empty(status)
            .with("Location", self.upload_path(repository, id))
            .with("Range", held_range(held))
            .with("Docker-Upload-UUID", id.to_owned())
    }

    fn upload_path(&self, repository: &Repository, id: &str) -> String {
        self.location(&format!("/v2/{repository}/blobs/uploads/{id}"))
    }

    fn blob_created(&self, repository: &Repository, digest: &Digest) -> Answer {
        Answer::empty(Status::CREATED)
            .with(
                "Location",
                self.location(&format!("/v2/{repository}/blobs/{digest}")),
            )
            .with("Docker-Content-Digest", digest.to_string())
    }
}

/// Whether the caller may pull what it wants to mount; without a source that is
/// anything, wherever it is.
fn may_mount(pass: &Pass, from: Option<&Repository>) -> bool {
    pass.is_unlimited() || from.is_some_and(|source| pass.may(source, Actions::PULL))
}

/// What a POST asks for.
enum Plan {
    Session {
        algorithm: Option<Algorithm>,
    },
    Whole {
        digest: Digest,
    },
    Mount {
        digest: Digest,
        from: Option<Repository>,
    },
}

impl Plan {
    /// A mount that cannot be read is a session, never an error: a client that
    /// cannot mount uploads. Source: distribution-spec v1.1, end-11.
    fn read(query: &Query) -> Result<Self, Failure> {
        if let Some(mount) = query.value("mount") {
            let from = query.value("from").map(Repository::parse).transpose();
            return Ok(match (Digest::parse(mount), from) {
                (Ok(digest), Ok(from)) => Self::Mount { digest, from },
                _ => Self::Session { algorithm: None },
            });
        }
        if let Some(digest) = query.value("digest") {
            let digest = declared_digest(Some(digest))?;
            return Ok(Self::Whole { digest });
        }
        let unsupported = || {
            let message = "digest-algorithm is neither sha256 nor sha512";
            Failure::bad(ErrorCode::DigestInvalid, message)
        };
        let algorithm = query
            .value("digest-algorithm")
            .map(|name| Algorithm::parse(name).ok_or_else(unsupported))
            .transpose()?;
        Ok(Self::Session { algorithm })
    }
}

/// Reads the digest that a client declares for what it sent.
fn declared_digest(text: Option<&str>) -> Result<Digest, Failure> {
    let text = text.ok_or_else(|| {
        Failure::bad(
            ErrorCode::DigestInvalid,
            "query parameter `digest` is missing",
        )
    })?;
    Digest::parse(text).map_err(|error| Failure::bad(ErrorCode::DigestInvalid, error.to_string()))
}

/// Moves the body from the socket into the session's own buffers: one copy,
/// the kernel's.
async fn receive(exchange: &mut Exchange, upload: &mut Upload) -> Result<(), Unread> {
    loop {
        let space = upload.space().await.map_err(Unread::Store)?;
        let received_bytes = exchange.read_body(space).await.map_err(Unread::Body)?;
        if received_bytes == 0 {
            return Ok(());
        }
        upload
            .advance(received_bytes)
            .await
            .map_err(Unread::Store)?;
    }
}
