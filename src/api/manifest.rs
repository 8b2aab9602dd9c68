//! Manifest pushes and deletes: end-7, end-9 and end-10.

use super::answer::{Answer, Handled};
use super::door::Door;
use super::failure::Failure;
use crate::auth::{Actions, Needed};
use crate::base::limits::{MANIFEST_BYTES_MAX, PUSH_TAGS_MAX};
use crate::base::units::to_usize;
use crate::exchange::{BodyError, Closed, Exchange};
use crate::guard::Pass;
use crate::http::{Framing, Head, Status};
use crate::oci::{Digest, ErrorCode, MediaType, Reference, Repository, Tag};
use crate::registry::{Error, ManifestPush};

impl Door {
    /// PUT of a manifest by tag, or by digest with any number of tags. Whether a tag may
    /// move is asked of the journal, which knows whether it exists.
    pub(super) async fn push_manifest(
        &self,
        exchange: &mut Exchange,
        pass: &Pass,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Handled, Closed> {
        let target = match Target::read(exchange.head(), reference) {
            Ok(target) => target,
            Err(failure) => return Ok(Err(failure)),
        };
        let bytes = match exchange
            .read_body_to_vec(to_usize(MANIFEST_BYTES_MAX))
            .await
        {
            Ok(bytes) => bytes,
            Err(BodyError::TooLarge { .. }) => return Ok(Err(too_large())),
            Err(BodyError::Closed(closed)) => return Err(closed),
        };
        let push = ManifestPush {
            digest: target.digest,
            tags: target.tags,
            may_move_tags: pass.may(repository, Actions::PUSH),
            media_type: target.media_type,
            bytes: bytes.into(),
        };
        let stored = self.store_manifest(repository, target.echoed, push).await;
        Ok(stored.map_err(|error| match error {
            // Only the journal knows that this tag is there, so that more is needed.
            Error::TagTaken { .. } => {
                let needed = Needed::Repository(repository.as_str(), Actions::PUSH);
                let refused = self.guard.insufficient(pass, &needed);
                refused.map_or_else(|| error.into(), Into::into)
            }
            error => error.into(),
        }))
    }

    async fn store_manifest(
        &self,
        repository: &Repository,
        echoed: Vec<Tag>,
        push: ManifestPush,
    ) -> Result<Answer, Error> {
        let pushed = self.registry.push_manifest(repository, push).await?;
        let path = format!("/v2/{repository}/manifests/{}", pushed.digest);
        let mut answer = Answer::empty(Status::CREATED)
            .with("Location", self.location(&path))
            .with("Docker-Content-Digest", pushed.digest.to_string())
            .committed(Some(pushed.index));
        for tag in echoed {
            answer = answer.with("OCI-Tag", tag.to_string());
        }
        Ok(match pushed.subject {
            Some(subject) => answer.with("OCI-Subject", subject.to_string()),
            None => answer,
        })
    }

    /// DELETE of a tag, or of a manifest with every tag on it.
    pub(super) async fn delete_manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Handled {
        let deleting = self.registry.delete_manifest(repository, reference);
        let index = deleting.await?;
        Ok(Answer::empty(Status::ACCEPTED).committed(Some(index)))
    }

    /// DELETE of a blob's link.
    pub(super) async fn delete_blob(&self, repository: &Repository, digest: &Digest) -> Handled {
        let index = self.registry.delete_blob(repository, digest).await?;
        Ok(Answer::empty(Status::ACCEPTED).committed(Some(index)))
    }
}

/// What a manifest push wants to become.
struct Target {
    digest: Option<Digest>,
    tags: Vec<Tag>,
    /// Tags that came as query parameters, in order; they are echoed.
    echoed: Vec<Tag>,
    media_type: MediaType,
}

impl Target {
    /// Reads reference, `tag=` parameters and content type.
    ///
    /// - Errors: 400 for a malformed tag or type, 414 for more tags than one push may
    ///   carry, 413 for a declared length above the bound.
    /// - Source: distribution-spec, end-7a and end-7b.
    fn read(head: &Head, reference: &Reference) -> Result<Self, Failure> {
        if let Framing::Length(length_bytes) = head.framing()
            && length_bytes > u64::from(MANIFEST_BYTES_MAX)
        {
            return Err(too_large());
        }
        let invalid = |message| Failure::bad(ErrorCode::ManifestInvalid, message);
        let echoed = tags_of(head)?;
        let content_type = head.header("Content-Type").unwrap_or_default();
        let media_type = MediaType::of_content_type(content_type)
            .map_err(|_| invalid("Content-Type is missing or not a media type"))?;
        let (digest, tags) = match reference {
            Reference::Digest(digest) => (Some(*digest), echoed.clone()),
            Reference::Tag(tag) if echoed.is_empty() => (None, vec![tag.clone()]),
            Reference::Tag(_) => {
                return Err(invalid("`tag` parameters go with a push by digest"));
            }
        };
        Ok(Self {
            digest,
            tags,
            echoed,
            media_type,
        })
    }
}

fn tags_of(head: &Head) -> Result<Vec<Tag>, Failure> {
    let mut tags = Vec::new();
    for text in head.query().values("tag") {
        let tag = Tag::parse(text)
            .map_err(|error| Failure::bad(ErrorCode::ManifestInvalid, error.to_string()))?;
        if tags.len() == PUSH_TAGS_MAX {
            let message = format!("more than {PUSH_TAGS_MAX} tags in one push");
            return Err(Failure::new(
                Status::URI_TOO_LONG,
                ErrorCode::ManifestInvalid,
                message,
            ));
        }
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    Ok(tags)
}

fn too_large() -> Failure {
    let message = format!("manifest is larger than {MANIFEST_BYTES_MAX} bytes");
    Failure::new(Status::CONTENT_TOO_LARGE, ErrorCode::SizeInvalid, message)
}
