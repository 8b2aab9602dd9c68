//! Single answers from a view. A condemned blob reads as absent everywhere.

use bytes::Bytes;

use super::key;
use super::put_manifest::{Part, PutManifest};
use super::record::{
    BlobRecord, ManifestRecord, StateError, TagRecord, decode_extents, decode_link, read,
};
use super::state_record::{HASH_BYTES, StateRecord};
use super::view::View;
use crate::oci::{Digest, MediaType, Repository, Role, Tag};

/// A manifest as it is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredManifest {
    /// Content type it was pushed with.
    pub media_type: MediaType,
    /// Exactly what was pushed.
    pub bytes: Bytes,
}

/// A blob that may be read, whatever repositories it is in.
pub fn blob(view: &dyn View, digest: &Digest) -> Result<Option<BlobRecord>, StateError> {
    Ok(blob_record(view, digest)?.filter(BlobRecord::is_live))
}

/// A blob that may be read in this repository.
pub fn linked_blob(
    view: &dyn View,
    repository: &Repository,
    digest: &Digest,
) -> Result<Option<BlobRecord>, StateError> {
    match view.value(&key::link(repository, digest))? {
        Some(_) => blob(view, digest),
        None => Ok(None),
    }
}

/// CRC32 of each extent of a blob that has a file.
pub fn extent_checksums(view: &dyn View, digest: &Digest) -> Result<Option<Vec<u32>>, StateError> {
    read(view.value(&key::extents(digest))?, decode_extents)
}

/// The content of a blob that has no file.
pub fn inline_content(view: &dyn View, digest: &Digest) -> Result<Option<Bytes>, StateError> {
    Ok(view.value(&key::inline(digest))?)
}

/// The generation under which an upload is sealed: one no reader and no unlink knows.
///
/// A live blob's generation is not taken again: a condemnation that comes in
/// between would unlink the file under a link that comes after it.
pub fn next_generation(view: &dyn View, digest: &Digest) -> Result<u64, StateError> {
    let record = blob_record(view, digest)?;
    Ok(record.map_or(0, |record| record.generation.saturating_add(1)))
}

/// A manifest of this repository, with its bytes.
pub fn manifest(
    view: &dyn View,
    repository: &Repository,
    digest: &Digest,
) -> Result<Option<StoredManifest>, StateError> {
    let Some(record) = manifest_record(view, repository, digest)? else {
        return Ok(None);
    };
    let bytes = view.value(&key::content(digest))?;
    Ok(bytes.map(|bytes| StoredManifest {
        media_type: record.media_type,
        bytes,
    }))
}

/// A manifest of this repository, without its bytes.
pub fn manifest_record(
    view: &dyn View,
    repository: &Repository,
    digest: &Digest,
) -> Result<Option<ManifestRecord>, StateError> {
    read(
        view.value(&key::manifest(repository, digest))?,
        ManifestRecord::decode,
    )
}

/// Where a tag points.
pub fn tag(
    view: &dyn View,
    repository: &Repository,
    tag: &Tag,
) -> Result<Option<Digest>, StateError> {
    Ok(tag_record(view, repository, tag)?.map(|record| record.digest))
}

/// Where a tag points, and since when.
pub fn tag_record(
    view: &dyn View,
    repository: &Repository,
    tag: &Tag,
) -> Result<Option<TagRecord>, StateError> {
    read(view.value(&key::tag(repository, tag))?, TagRecord::decode)
}

/// Whether a repository ever had a blob or a manifest.
pub fn has_repository(view: &dyn View, repository: &Repository) -> Result<bool, StateError> {
    Ok(view.value(&key::repository(repository))?.is_some())
}

/// Any repository that has a blob, for a mount that names none.
pub fn find_anywhere(view: &dyn View, digest: &Digest) -> Result<Option<Repository>, StateError> {
    let homes = key::homes(digest);
    let mut found = None;
    view.scan(&homes, &key::end_of(&homes), &mut |key, _| {
        found = key.strip_prefix(homes.as_slice()).and_then(repository_of);
        found.is_none()
    })?;
    Ok(found)
}

/// What a push would be refused for right now, so that it need not be proposed.
pub fn missing_parts(view: &dyn View, put: &PutManifest) -> Result<Vec<Digest>, StateError> {
    Ok(check_parts(view, put)?.missing)
}

/// The running hash over every change so far; equal on nodes at an equal applied index.
pub fn state_hash(view: &dyn View) -> Result<[u8; HASH_BYTES], StateError> {
    Ok(StateRecord::read(view)?.hash)
}

/// The latest time that a change was made at, in ms since the Unix epoch.
pub fn clock_ms(view: &dyn View) -> Result<u64, StateError> {
    Ok(StateRecord::read(view)?.clock_ms)
}

/// The record of a blob, condemned or not.
pub(super) fn blob_record(
    view: &dyn View,
    digest: &Digest,
) -> Result<Option<BlobRecord>, StateError> {
    read(view.value(&key::blob(digest))?, BlobRecord::decode)
}

/// Reads a repository name at the end of a key.
pub(super) fn repository_of(name: &[u8]) -> Option<Repository> {
    let name = std::str::from_utf8(name).ok()?;
    Repository::parse(name).ok()
}

/// What a manifest names, compared with what is there.
#[derive(Debug, Default)]
pub(super) struct Checked {
    /// There, each once; these become references.
    pub(super) present: Vec<Digest>,
    /// Not there and needed.
    pub(super) missing: Vec<Digest>,
    /// There with another size.
    pub(super) differing: Vec<Digest>,
}

/// Compares every part of a push with the repository.
pub(super) fn check_parts(view: &dyn View, put: &PutManifest) -> Result<Checked, StateError> {
    let mut checked = Checked::default();
    for part in &put.parts {
        let list = match stored_size(view, &put.repository, part)? {
            Some(size_bytes) if size_bytes != part.size_bytes => &mut checked.differing,
            // A subject that goes away takes nothing with it, so nothing refers to it.
            Some(_) if part.role == Role::Subject => continue,
            Some(_) => &mut checked.present,
            None if part.may_be_absent => continue,
            None => &mut checked.missing,
        };
        list.push(part.digest);
    }
    for list in [
        &mut checked.present,
        &mut checked.missing,
        &mut checked.differing,
    ] {
        list.sort_unstable();
        list.dedup();
    }
    Ok(checked)
}

fn stored_size(
    view: &dyn View,
    repository: &Repository,
    part: &Part,
) -> Result<Option<u64>, StateError> {
    match part.role {
        Role::Config | Role::Layer => read(
            view.value(&key::link(repository, &part.digest))?,
            decode_link,
        ),
        Role::Child | Role::Subject => {
            let record = manifest_record(view, repository, &part.digest)?;
            Ok(record.map(|record| record.size_bytes))
        }
    }
}

#[cfg(test)]
#[path = "query_test.rs"]
mod tests;
