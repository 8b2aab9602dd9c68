//! Which nodes have the files of blobs, and who may give one up.

use super::draft::Draft;
use super::holder;
use super::key;
use super::node_record::{NodeState, node};
use super::outcome::{Kept, Outcome};
use super::query;
use super::record::StateError;
use super::view::View;
use crate::oci::Digest;

/// `Command::Holders`
pub(super) fn holders(
    draft: &mut Draft<'_>,
    node: u64,
    add: &[Digest],
    remove: &[Digest],
) -> Result<Outcome, StateError> {
    for digest in add {
        let key = key::holder(digest, node);
        if query::blob(&draft.view, digest)?.is_some() && !draft.has(&key)? {
            draft.mark(key);
        }
    }
    for digest in remove {
        let key = key::holder(digest, node);
        if draft.has(&key)? {
            draft.delete(key);
        }
    }
    Ok(Outcome::Applied)
}

/// `Command::YieldFile`: two nodes whose files fail at the same moment both ask, and
/// the second one is told to keep what it has.
pub(super) fn yield_file(
    draft: &mut Draft<'_>,
    number: u64,
    digest: &Digest,
    generation: u64,
) -> Result<Outcome, StateError> {
    let Some(record) = query::blob(&draft.view, digest)? else {
        return Ok(Outcome::Kept(Kept::Absent));
    };
    if record.generation != generation {
        return Ok(Outcome::Kept(Kept::OtherGeneration));
    }
    if !is_held_beside(&draft.view, digest, number)? {
        return Ok(Outcome::Kept(Kept::LastHolder));
    }
    let key = key::holder(digest, number);
    if draft.has(&key)? {
        draft.delete(key);
    }
    Ok(Outcome::Applied)
}

/// Whether a node that was not removed holds a blob beside `number`.
fn is_held_beside(view: &dyn View, digest: &Digest, number: u64) -> Result<bool, StateError> {
    for other in holder::holders(view, digest)? {
        if other == number {
            continue;
        }
        // The first node may hold blobs before it has a record.
        let record = node(view, other)?;
        if record.is_none_or(|record| record.state != NodeState::Removed) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
#[path = "apply_holder_test.rs"]
mod tests;
