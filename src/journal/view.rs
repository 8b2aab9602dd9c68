//! What a reader sees of the applied state: one moment of one generation.

use std::fmt;
use std::ops::Bound;

use bytes::Bytes;
use fjall::{Keyspace, Readable, Snapshot};

use super::error::JournalError;
use super::state::Applied;

/// Smallest key that belongs to the state machine; keys below are the journal's own.
const STATE_KEY_MIN: &[u8] = &[1];
/// Key of the last applied record's identity.
pub(super) const APPLIED_KEY: &[u8] = b"\0applied";
/// Key of the membership.
pub(super) const MEMBERSHIP_KEY: &[u8] = b"\0membership";

/// A consistent view of the applied state. Costs about 100 ns to take, copies
/// nothing, may be read on any thread, and keeps old versions of what changes
/// alive: drop it with the request.
pub struct StateView {
    snapshot: Snapshot,
    keyspace: Keyspace,
}

impl fmt::Debug for StateView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateView").finish_non_exhaustive()
    }
}

impl StateView {
    pub(super) const fn new(snapshot: Snapshot, keyspace: Keyspace) -> Self {
        Self { snapshot, keyspace }
    }

    /// The value under `key`.
    pub fn value(&self, key: &[u8]) -> Result<Option<Bytes>, JournalError> {
        let found = self.snapshot.get(&self.keyspace, key).map_err(reading)?;
        Ok(found.map(Bytes::from_owner))
    }

    /// Visits the entries from `start` to before `end` in key order until
    /// `visit` returns false. An empty `end` means the end of the state.
    pub fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), JournalError> {
        let start = start.max(STATE_KEY_MIN);
        let end = if end.is_empty() {
            Bound::Unbounded
        } else {
            Bound::Excluded(end)
        };
        if matches!(end, Bound::Excluded(end) if end <= start) {
            return Ok(());
        }
        let range = (Bound::Included(start), end);
        for entry in self.snapshot.range::<&[u8], _>(&self.keyspace, range) {
            let (key, value) = entry.into_inner().map_err(reading)?;
            if !visit(&key, &value) {
                break;
            }
        }
        Ok(())
    }

    /// The last record applied to this view; `None` before the first.
    pub fn applied(&self) -> Result<Option<Applied>, JournalError> {
        let found = self.value(APPLIED_KEY)?;
        let decoded = found.map(|record| Applied::decode(&record)).transpose();
        decoded.map_err(|source| JournalError::Damaged {
            what: "the applied state",
            source,
        })
    }

    /// The membership in force, as it was given.
    pub fn membership(&self) -> Result<Option<Bytes>, JournalError> {
        self.value(MEMBERSHIP_KEY)
    }
}

fn reading(source: fjall::Error) -> JournalError {
    JournalError::Database {
        operation: "read the applied state",
        source,
    }
}
