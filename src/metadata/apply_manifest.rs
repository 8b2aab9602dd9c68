//! Manifests and tags: one entry moves all of them, or none.

use bytes::Bytes;

use super::draft::Draft;
use super::event::EventKind;
use super::key;
use super::outcome::{Outcome, Refusal, What};
use super::put_manifest::{Expected, PutManifest};
use super::query::{self, check_parts};
use super::record::{
    ManifestRecord, StateError, TagRecord, decode_parts, encode_parts, encode_referrer, read,
};
use super::view::View;
use crate::base::limits::TAG_PLACES_MAX;
use crate::base::units::to_u64;
use crate::oci::{Digest, Repository, Role, Tag};

/// `Command::PutManifest`
pub(super) fn put_manifest(
    draft: &mut Draft<'_>,
    put: &PutManifest,
) -> Result<Outcome, StateError> {
    if let Some(refusal) = refused_tag(draft, put)? {
        return Ok(Outcome::Refused(refusal));
    }
    let checked = check_parts(&draft.view, put)?;
    if !checked.missing.is_empty() {
        return Ok(Outcome::BlobsMissing(checked.missing));
    }
    if !checked.differing.is_empty() {
        return Ok(Outcome::SizesDiffer(checked.differing));
    }
    let before = query::manifest_record(&draft.view, &put.repository, &put.digest)?;
    let parts = encode_parts(&checked.present);
    let is_stored = before
        .as_ref()
        .is_some_and(|before| before.media_type == put.media_type)
        && has_parts(draft, put, &parts)?;
    if !is_stored {
        if before.is_some() {
            forget_parts(draft, &put.repository, &put.digest)?;
        }
        store(draft, put, &checked.present, parts)?;
    }
    let mut moved = Vec::new();
    for tag in &put.tags {
        if move_tag(draft, &put.repository, tag, &put.digest)? {
            moved.push(tag.clone());
        }
    }
    let is_change = !is_stored || !moved.is_empty();
    if is_change {
        draft.tell(
            EventKind::ManifestPushed,
            &put.repository,
            Some(put.digest),
            moved,
        );
    }
    Ok(Outcome::Stored {
        is_new: before.is_none(),
        is_change,
    })
}

/// `Command::DeleteManifest`
pub(super) fn delete_manifest(
    draft: &mut Draft<'_>,
    repository: &Repository,
    digest: &Digest,
) -> Result<Outcome, StateError> {
    let Some(record) = query::manifest_record(&draft.view, repository, digest)? else {
        return not_found(draft, repository, What::Manifest);
    };
    if draft.policy(repository)?.deletes_are_refused {
        return Ok(Outcome::Refused(Refusal::DeletesRefused));
    }
    let tagged = key::tagged(repository, digest);
    for name in draft.tails(&tagged)? {
        let tag = std::str::from_utf8(&name)
            .ok()
            .and_then(|name| Tag::parse(name).ok());
        if let Some(tag) = tag {
            forget_tag(draft, repository, &tag, digest);
        }
    }
    forget_parts(draft, repository, digest)?;
    draft.delete(key::parts(repository, digest));
    draft.delete(key::manifest(repository, digest));
    draft.delete(key::stored_in(digest, repository));
    if let Some(subject) = record.subject {
        draft.delete(key::referrer(repository, &subject, digest));
    }
    if !draft.has_any(&key::stored(digest))? {
        draft.delete(key::content(digest));
    }
    draft.tell(
        EventKind::ManifestDeleted,
        repository,
        Some(*digest),
        Vec::new(),
    );
    Ok(Outcome::Deleted)
}

/// `Command::DeleteTag`
pub(super) fn delete_tag(
    draft: &mut Draft<'_>,
    repository: &Repository,
    tag: &Tag,
) -> Result<Outcome, StateError> {
    let Some(record) = query::tag_record(&draft.view, repository, tag)? else {
        return not_found(draft, repository, What::Tag);
    };
    let policy = draft.policy(repository)?;
    if policy.deletes_are_refused {
        return Ok(Outcome::Refused(Refusal::DeletesRefused));
    }
    if policy.tags_are_immutable {
        return Ok(Outcome::Refused(Refusal::TagImmutable(tag.clone())));
    }
    forget_tag(draft, repository, tag, &record.digest);
    let tags = vec![tag.clone()];
    draft.tell(EventKind::TagDeleted, repository, Some(record.digest), tags);
    Ok(Outcome::Deleted)
}

/// The first tag that a rule or the client's expectation keeps from moving.
fn refused_tag(draft: &Draft<'_>, put: &PutManifest) -> Result<Option<Refusal>, StateError> {
    let are_immutable = draft.policy(&put.repository)?.tags_are_immutable;
    if !are_immutable && put.expected == Expected::Any {
        return Ok(None);
    }
    for tag in &put.tags {
        let current = query::tag(&draft.view, &put.repository, tag)?;
        if current == Some(put.digest) {
            continue;
        }
        let is_expected = match put.expected {
            Expected::Any => true,
            Expected::Absent => current.is_none(),
            Expected::Digest(digest) => current == Some(digest),
        };
        if !is_expected {
            return Ok(Some(Refusal::TagMoved(tag.clone())));
        }
        if are_immutable && current.is_some() {
            return Ok(Some(Refusal::TagImmutable(tag.clone())));
        }
    }
    Ok(None)
}

/// Writes everything about a manifest but its tags.
fn store(
    draft: &mut Draft<'_>,
    put: &PutManifest,
    present: &[Digest],
    parts: Vec<u8>,
) -> Result<(), StateError> {
    let (repository, digest) = (&put.repository, &put.digest);
    draft.found(repository)?;
    let subject = put.parts.iter().find(|part| part.role == Role::Subject);
    let record = ManifestRecord {
        media_type: put.media_type.clone(),
        size_bytes: to_u64(put.bytes.len()),
        index: draft.index,
        time_ms: draft.now_ms,
        subject: subject.map(|part| part.digest),
    };
    draft.put(key::manifest(repository, digest), record.encode());
    if !draft.has_any(&key::stored(digest))? {
        draft.put(key::content(digest), Bytes::clone(&put.bytes));
    }
    draft.mark(key::stored_in(digest, repository));
    draft.put(key::parts(repository, digest), parts);
    for part in present {
        draft.mark(key::reference(part, repository, digest));
    }
    if let Some(referrer) = &put.referrer {
        let key = key::referrer(repository, &referrer.subject, digest);
        draft.put(key, encode_referrer(referrer));
    }
    Ok(())
}

/// Whether the manifest refers to exactly this already. It may not: a layer that
/// was absent at the first push, as foreign ones may be, can have come since.
fn has_parts(draft: &Draft<'_>, put: &PutManifest, parts: &[u8]) -> Result<bool, StateError> {
    let record = draft
        .view
        .value(&key::parts(&put.repository, &put.digest))?;
    Ok(record.is_some_and(|record| record == parts))
}

/// Removes the references that a manifest holds.
fn forget_parts(
    draft: &mut Draft<'_>,
    repository: &Repository,
    digest: &Digest,
) -> Result<(), StateError> {
    let record = draft.view.value(&key::parts(repository, digest))?;
    for part in read(record, decode_parts)?.unwrap_or_default() {
        draft.delete(key::reference(&part, repository, digest));
    }
    Ok(())
}

/// Points a tag at a manifest; false when it did already.
fn move_tag(
    draft: &mut Draft<'_>,
    repository: &Repository,
    tag: &Tag,
    digest: &Digest,
) -> Result<bool, StateError> {
    let before = query::tag_record(&draft.view, repository, tag)?;
    if let Some(before) = before {
        if before.digest == *digest {
            return Ok(false);
        }
        draft.delete(key::tagged_by(repository, &before.digest, tag));
        let history_key = key::history(repository, tag);
        let record = draft.view.value(&history_key)?;
        let mut history = read(record, TagRecord::decode_history)?.unwrap_or_default();
        history.insert(0, before);
        history.truncate(TAG_PLACES_MAX);
        draft.put(history_key, TagRecord::encode_history(&history));
    }
    let after = TagRecord {
        digest: *digest,
        index: draft.index,
        time_ms: draft.now_ms,
    };
    draft.put(key::tag(repository, tag), after.encode());
    draft.mark(key::tagged_by(repository, digest, tag));
    Ok(true)
}

fn forget_tag(draft: &mut Draft<'_>, repository: &Repository, tag: &Tag, digest: &Digest) {
    draft.delete(key::tag(repository, tag));
    draft.delete(key::tagged_by(repository, digest, tag));
    draft.delete(key::history(repository, tag));
}

fn not_found(
    draft: &Draft<'_>,
    repository: &Repository,
    what: What,
) -> Result<Outcome, StateError> {
    let is_known = query::has_repository(&draft.view, repository)?;
    Ok(Outcome::NotFound(if is_known {
        what
    } else {
        What::Repository
    }))
}
