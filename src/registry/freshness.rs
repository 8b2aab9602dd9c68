//! How new an answer is: confirmed by a quorum, or what this node knew last.

use std::cell::Cell;
use std::time::Duration;

use super::error::Error;
use crate::base::limits::READ_INDEX_TIMEOUT;
use crate::raft::Handle;
use crate::runtime::timeout;

/// Once a read was not confirmed, the next ones wait only this long: some round trips
/// of a quorum that is back, and little for the client of one that is not.
const CUT_OFF_WAIT: Duration = Duration::from_millis(250);

/// Whether an answer is shown to be the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Everything acknowledged before the request is in it.
    Newest,
    /// No quorum confirmed it: it is what this node knew last.
    Stale,
}

/// An answer, and how new it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen<T> {
    /// What was found.
    pub value: T,
    /// How new it is.
    pub freshness: Freshness,
}

/// Reads that are answered without a quorum, where the operator allows them. One per
/// shard.
#[derive(Debug, Default)]
pub(super) struct StaleReads {
    /// Whether the last read was not confirmed.
    is_cut_off: Cell<bool>,
}

impl StaleReads {
    /// Asks a quorum; without one the local state has to do.
    pub(super) async fn settle(&self, journal: &Handle) -> Freshness {
        let limit = if self.is_cut_off.get() {
            CUT_OFF_WAIT
        } else {
            READ_INDEX_TIMEOUT
        };
        let confirmed = timeout(limit, journal.read_index()).await;
        let is_confirmed = matches!(confirmed, Ok(Ok(())));
        if self.is_cut_off.replace(!is_confirmed) == is_confirmed {
            if is_confirmed {
                tracing::info!("reads are confirmed by a quorum again");
            } else {
                tracing::warn!("no quorum confirms reads: what this node knew last is served");
            }
        }
        if is_confirmed {
            Freshness::Newest
        } else {
            Freshness::Stale
        }
    }
}

impl Freshness {
    /// Nothing was found: final only when that is the newest.
    pub(super) fn miss(self, error: Error) -> Error {
        match self {
            Self::Newest => error,
            Self::Stale => Error::Unavailable,
        }
    }

    /// An answer that is this new.
    pub(super) const fn of<T>(self, value: T) -> Seen<T> {
        Seen {
            value,
            freshness: self,
        }
    }
}
