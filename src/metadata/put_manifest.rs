//! The command that pushes a manifest, as its proposer prepares it.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::oci::{Digest, Manifest, MediaType, Referrer, Repository, Role, Tag};

/// What a tag must point at for a push to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Expected {
    /// Anything or nothing.
    #[default]
    Any,
    /// Nothing: the tag is new.
    Absent,
    /// This digest.
    Digest(Digest),
}

/// One content that a manifest names, as `apply` checks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Its digest.
    pub digest: Digest,
    /// Its size as the manifest states it.
    pub size_bytes: u64,
    /// Its place; a child is looked for among manifests, a layer among blobs.
    pub role: Role,
    /// Whether the push goes on without it.
    pub may_be_absent: bool,
}

/// Stores a manifest and moves its tags, all or nothing.
///
/// The proposer reads the manifest; `apply` only compares, so that a later
/// change of the reading rules cannot make replicas disagree about old entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutManifest {
    /// Where to.
    pub repository: Repository,
    /// Digest of `bytes`, checked by the proposer.
    pub digest: Digest,
    /// Content type without parameters.
    pub media_type: MediaType,
    /// Exactly what the client sent.
    pub bytes: Bytes,
    /// What the manifest names, each content once per kind of place.
    pub parts: Vec<Part>,
    /// The entry in the subject's referrers list.
    pub referrer: Option<Referrer>,
    /// Tags to point at it, in the order of the request.
    pub tags: Vec<Tag>,
    /// What each of `tags` must point at before.
    pub expected: Expected,
}

impl PutManifest {
    /// Prepares a push from a manifest that was read.
    #[must_use]
    pub fn new(
        repository: Repository,
        digest: Digest,
        manifest: &Manifest,
        bytes: Bytes,
        tags: Vec<Tag>,
    ) -> Self {
        let size_bytes = crate::base::units::to_u64(bytes.len());
        Self {
            parts: parts_of(manifest),
            referrer: Referrer::of(manifest, &digest, size_bytes),
            media_type: manifest.media_type.clone(),
            expected: Expected::Any,
            repository,
            digest,
            bytes,
            tags,
        }
    }
}

/// Each content once per role and size; it may be absent only where every mention allows it.
fn parts_of(manifest: &Manifest) -> Vec<Part> {
    let mut parts = BTreeMap::new();
    for (role, one) in manifest.descriptors() {
        let may_be_absent = one.may_be_absent(role);
        parts
            .entry((role, one.digest, one.size_bytes))
            .and_modify(|so_far| *so_far = *so_far && may_be_absent)
            .or_insert(may_be_absent);
    }
    let part = |((role, digest, size_bytes), may_be_absent)| Part {
        digest,
        size_bytes,
        role,
        may_be_absent,
    };
    parts.into_iter().map(part).collect()
}
