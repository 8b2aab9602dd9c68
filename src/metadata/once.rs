//! Changes that take effect once, however often they are proposed: a proposer that does
//! not know whether its change was committed proposes it again, and nothing that others
//! changed meanwhile is undone.
//!
//! ```text
//! done   u8 version = 1 | u64 run | u64 number | outcome (`outcome_codec`, to the end)
//! ```
//! Each node has a ring of places, and a change the place of its number. A node keeps at
//! most one change on its way for each place, so that what it asks about is still there;
//! a copy that comes later than that finds a newer number and is refused. What changed
//! nothing is noted as well: a copy that was long on its way must not change what others
//! did after they had heard so.
//!
//! - Source: Ongaro, "Consensus: Bridging Theory and Practice", section 6.3.

use super::apply::decide;
use super::command::{ChangeId, Command};
use super::draft::Draft;
use super::key;
use super::node_record::{NodeState, node};
use super::outcome::{Outcome, Refusal};
use super::record::{StateError, decode_record, read, start};
use super::view::View;
use crate::base::{CodecError, Reader};
use crate::oci::Digest;

/// Places of each node: as many changes as may wait on it.
pub const ONCE_SLOTS: u16 = 4096;

/// Digests that are noted of an outcome that lists some: there may be thousands.
const NOTED_DIGESTS_MAX: usize = 16;

/// The newest change in a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Done {
    /// The process that proposed it.
    pub(super) run: u64,
    /// Its number.
    pub(super) number: u64,
    /// What came of it.
    pub(super) outcome: Outcome,
}

impl Done {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut writer = start();
        self.outcome.encode(writer.u64(self.run).u64(self.number));
        writer.finish()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        decode_record(bytes, "done", |reader: &mut Reader<'_>| {
            Ok(Self {
                run: reader.u64()?,
                number: reader.u64()?,
                outcome: Outcome::decode(reader)?,
            })
        })
    }
}

/// `Command::Once`
pub(super) fn once(
    draft: &mut Draft<'_>,
    id: ChangeId,
    command: &Command,
) -> Result<Outcome, StateError> {
    let machine = node(&draft.view, id.node)?;
    if machine.is_some_and(|machine| machine.state == NodeState::Removed) {
        return Ok(Outcome::Refused(Refusal::NodeRemoved));
    }
    let slot = u16::try_from(id.number % u64::from(ONCE_SLOTS)).unwrap_or_default();
    let key = key::done(id.node, slot);
    match read(draft.view.value(&key)?, Done::decode)? {
        Some(done) if (done.run, done.number) == (id.run, id.number) => return Ok(done.outcome),
        Some(done) if done.number >= id.number => {
            let newest = done.number;
            return Ok(Outcome::Refused(Refusal::Outdated { newest }));
        }
        Some(_) | None => {}
    }
    let outcome = decide(draft, command)?;
    let done = Done {
        run: id.run,
        number: id.number,
        outcome: noted(&outcome),
    };
    draft.put(key, done.encode());
    Ok(outcome)
}

fn noted(outcome: &Outcome) -> Outcome {
    let some = |digests: &[Digest]| digests.iter().take(NOTED_DIGESTS_MAX).copied().collect();
    match outcome {
        Outcome::BlobsMissing(digests) => Outcome::BlobsMissing(some(digests)),
        Outcome::SizesDiffer(digests) => Outcome::SizesDiffer(some(digests)),
        outcome => outcome.clone(),
    }
}

/// Forgets the changes of a node that has gone.
pub(super) fn forget(draft: &mut Draft<'_>, node: u64) -> Result<(), StateError> {
    let prefix = key::all_done(node);
    for slot in draft.tails(&prefix)? {
        draft.delete([prefix.as_slice(), &slot].concat());
    }
    Ok(())
}

#[cfg(test)]
#[path = "once_test.rs"]
mod tests;
