//! Blobs: links, leases, generations, the end.

use super::command::Command;
use super::draft::Draft;
use super::event::EventKind;
use super::key;
use super::outcome::{Kept, Outcome, Refusal, What};
use super::query::{self, blob_record};
use super::record::{BlobRecord, BlobState, StateError, encode_extents, encode_link};
use crate::base::limits::LEASE_MS_MIN;
use crate::oci::{Digest, Repository};

/// A lease when it is given. It is renewed only when less than `LEASE_MS_MIN`
/// is left, so that most renewals change nothing.
const LEASE_GRANT_MS: u64 = 2 * LEASE_MS_MIN;

/// `Command::LinkBlob`
pub(super) fn link(draft: &mut Draft<'_>, command: &Command) -> Result<Outcome, StateError> {
    let Command::LinkBlob {
        repository,
        digest,
        size_bytes,
        generation,
        extent_checksums,
        inline,
    } = command
    else {
        return Ok(Outcome::Applied);
    };
    let before = blob_record(&draft.view, digest)?;
    // Nobody links what does not live: then there is no need to look.
    let may_be_linked = before.as_ref().is_some_and(BlobRecord::is_live);
    let record = match before {
        Some(record) if record.is_live() => record,
        Some(gone) if inline.is_none() && *generation <= gone.generation => {
            return Ok(Outcome::GenerationCondemned {
                next: gone.generation.saturating_add(1),
            });
        }
        gone => {
            let next = gone.map_or(0, |gone| gone.generation.saturating_add(1));
            if let Some(content) = inline {
                draft.put(key::inline(digest), content.clone());
            } else {
                draft.put(key::extents(digest), encode_extents(extent_checksums));
            }
            BlobRecord {
                size_bytes: *size_bytes,
                generation: next.max(*generation),
                state: BlobState::Live,
                lease_until_ms: 0,
                is_inline: inline.is_some(),
            }
        }
    };
    if !may_be_linked || !draft.has(&key::link(repository, digest))? {
        put_link(draft, repository, digest, record.size_bytes)?;
    }
    lease(draft, digest, record);
    Ok(Outcome::BlobLinked {
        generation: record.generation,
    })
}

/// `Command::MountBlob`
pub(super) fn mount(
    draft: &mut Draft<'_>,
    source: Option<&Repository>,
    target: &Repository,
    digest: &Digest,
) -> Result<Outcome, StateError> {
    let record = query::blob(&draft.view, digest)?;
    let is_linked = draft.has(&key::link(target, digest))?;
    let is_readable = match source {
        _ if is_linked => true,
        Some(source) => draft.has(&key::link(source, digest))?,
        None => draft.has_any(&key::homes(digest))?,
    };
    let Some(record) = record.filter(|_| is_readable) else {
        return Ok(Outcome::NotFound(What::Blob));
    };
    if !is_linked {
        put_link(draft, target, digest, record.size_bytes)?;
    }
    lease(draft, digest, record);
    Ok(Outcome::BlobLinked {
        generation: record.generation,
    })
}

/// `Command::UnlinkBlob`
pub(super) fn unlink(
    draft: &mut Draft<'_>,
    repository: &Repository,
    digest: &Digest,
) -> Result<Outcome, StateError> {
    let link = key::link(repository, digest);
    if !draft.has(&link)? {
        let is_known = query::has_repository(&draft.view, repository)?;
        return Ok(Outcome::NotFound(if is_known {
            What::Blob
        } else {
            What::Repository
        }));
    }
    if draft.policy(repository)?.deletes_are_refused {
        return Ok(Outcome::Refused(Refusal::DeletesRefused));
    }
    draft.delete(link);
    draft.delete(key::home(digest, repository));
    draft.tell(
        EventKind::BlobUnlinked,
        repository,
        Some(*digest),
        Vec::new(),
    );
    Ok(Outcome::Deleted)
}

/// `Command::ExtendLeases`
pub(super) fn extend_leases(
    draft: &mut Draft<'_>,
    digests: &[Digest],
) -> Result<Outcome, StateError> {
    let mut missing = Vec::new();
    for digest in digests {
        match query::blob(&draft.view, digest)? {
            Some(record) => lease(draft, digest, record),
            None => missing.push(*digest),
        }
    }
    if missing.is_empty() {
        Ok(Outcome::Applied)
    } else {
        Ok(Outcome::BlobsMissing(missing))
    }
}

/// `Command::Condemn`
pub(super) fn condemn(
    draft: &mut Draft<'_>,
    digest: &Digest,
    generation: u64,
) -> Result<Outcome, StateError> {
    let Some(record) = query::blob(&draft.view, digest)? else {
        return Ok(Outcome::Kept(Kept::Absent));
    };
    if record.generation != generation {
        return Ok(Outcome::Kept(Kept::OtherGeneration));
    }
    if record.lease_until_ms > draft.now_ms {
        return Ok(Outcome::Kept(Kept::Leased));
    }
    if draft.has_any(&key::references(digest))? {
        return Ok(Outcome::Kept(Kept::Referenced));
    }
    let homes = key::homes(digest);
    for name in draft.tails(&homes)? {
        if let Some(repository) = query::repository_of(&name) {
            draft.delete(key::link(&repository, digest));
        }
        draft.delete([homes.as_slice(), &name].concat());
    }
    let holders = key::holders(digest);
    for node in draft.tails(&holders)? {
        draft.delete([holders.as_slice(), &node].concat());
    }
    draft.delete(if record.is_inline {
        key::inline(digest)
    } else {
        key::extents(digest)
    });
    let condemned = BlobRecord {
        state: BlobState::Condemned,
        ..record
    };
    draft.put(key::blob(digest), condemned.encode());
    Ok(Outcome::Condemned)
}

/// Links a blob that the repository does not have.
fn put_link(
    draft: &mut Draft<'_>,
    repository: &Repository,
    digest: &Digest,
    size_bytes: u64,
) -> Result<(), StateError> {
    draft.found(repository)?;
    draft.put(key::link(repository, digest), encode_link(size_bytes));
    draft.mark(key::home(digest, repository));
    Ok(())
}

/// Writes the record when its lease is short, which a new record's is.
fn lease(draft: &mut Draft<'_>, digest: &Digest, record: BlobRecord) {
    if record.lease_until_ms < draft.now_ms.saturating_add(LEASE_MS_MIN) {
        let lease_until_ms = draft.now_ms.saturating_add(LEASE_GRANT_MS);
        draft.put(
            key::blob(digest),
            BlobRecord {
                lease_until_ms,
                ..record
            }
            .encode(),
        );
    }
}
