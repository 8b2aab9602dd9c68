//! How new an answer is: confirmed by a quorum, or what this node knew last.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use super::error::Error;
use crate::base::limits::READ_INDEX_TIMEOUT;
use crate::raft::Handle;
use crate::runtime::{Task, spawn_prompt, timeout};

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
#[derive(Default)]
pub(super) struct StaleReads {
    link: Rc<Link>,
    /// Asks on while nobody waits for the answer; ends with this.
    scout: RefCell<Option<Task<()>>>,
}

/// What is known of the way to a quorum.
#[derive(Debug, Default)]
struct Link {
    /// Whether the last read was not confirmed.
    is_cut_off: Cell<bool>,
    /// Whether the scout is out.
    is_scouting: Cell<bool>,
}

impl fmt::Debug for StaleReads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaleReads")
            .field("link", &self.link)
            .finish_non_exhaustive()
    }
}

impl Link {
    fn note(&self, is_confirmed: bool) {
        if self.is_cut_off.replace(!is_confirmed) != is_confirmed {
            return;
        }
        if is_confirmed {
            tracing::info!("reads are confirmed by a quorum again");
        } else {
            tracing::warn!("no quorum confirms reads: what this node knew last is served");
        }
    }
}

impl StaleReads {
    /// Asks a quorum; without one the local state has to do.
    pub(super) async fn settle(&self, journal: &Handle) -> Freshness {
        let journal = journal.clone();
        let confirm = async move || journal.read_index().await.is_ok();
        self.settle_by(confirm).await
    }

    async fn settle_by(&self, confirm: impl AsyncFn() -> bool + 'static) -> Freshness {
        let was_cut_off = self.link.is_cut_off.get();
        let limit = if was_cut_off {
            CUT_OFF_WAIT
        } else {
            READ_INDEX_TIMEOUT
        };
        let confirmed = timeout(limit, confirm()).await;
        match confirmed {
            Ok(is_confirmed) => self.link.note(is_confirmed),
            // What a scout has found meanwhile stands.
            Err(_) if was_cut_off => self.scout(confirm),
            Err(_) => self.link.note(false),
        }
        // Only what was confirmed after this was asked is the newest.
        if matches!(confirmed, Ok(true)) {
            Freshness::Newest
        } else {
            Freshness::Stale
        }
    }

    /// Gives one question the time that a read has: a quorum may be there, and slower
    /// than a client of a node that is cut off should wait.
    fn scout(&self, confirm: impl AsyncFn() -> bool + 'static) {
        if self.link.is_scouting.replace(true) {
            return;
        }
        let link = Rc::clone(&self.link);
        let scout = spawn_prompt(async move {
            let confirmed = timeout(READ_INDEX_TIMEOUT, confirm()).await;
            link.is_scouting.set(false);
            if confirmed == Ok(true) {
                link.note(true);
            }
        });
        *self.scout.borrow_mut() = Some(scout);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{run_alone, sleep};

    /// Longer than a read of a node that is cut off waits.
    const SLOW: Duration = Duration::from_millis(400);

    async fn after(wait: Duration, is_confirmed: bool) -> bool {
        sleep(wait).await;
        is_confirmed
    }

    #[test]
    fn a_quorum_that_is_slow_is_found_again() {
        run_alone(async || {
            let reads = StaleReads::default();
            let slow = async || after(SLOW, true).await;
            let lost = reads.settle_by(async || false).await;
            assert_eq!(lost, Freshness::Stale);
            assert_eq!(reads.settle_by(slow).await, Freshness::Stale);
            // One question at a time.
            assert_eq!(
                reads.settle_by(async || after(SLOW, false).await).await,
                Freshness::Stale
            );
            sleep(SLOW).await;
            assert!(!reads.link.is_cut_off.get(), "nobody found the quorum");
            assert_eq!(reads.settle_by(slow).await, Freshness::Newest);
        });
    }
}
