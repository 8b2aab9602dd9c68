//! How far this node holds the blobs of its state: what replication says, and consensus
//! asks before a node gets its vote.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::core::Core;
use crate::runtime;

/// A question waits so long for what it asks about: less than the caller does.
const ANSWER_WAIT: Duration = Duration::from_millis(400);
/// Meanwhile it is looked so often.
const LOOK_PERIOD: Duration = Duration::from_millis(25);

/// How far a node holds the blobs of its state.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filled {
    /// Every blob that the state had after this entry is here, but for those that only
    /// `unreached` could give and those that nobody can; `None` while that is known of
    /// no entry.
    pub index: Option<u64>,
    /// Blobs that are known to be missing, whatever entry they are of.
    pub missing_blobs: u64,
    /// Nodes that hold what `index` leaves out and do not answer this one.
    pub unreached: Vec<u64>,
}

/// The way from replication to consensus. Made before both; clones are the same way, on
/// any thread. Nothing of it survives the process.
#[derive(Debug, Clone, Default)]
pub struct Fill(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    asked: Notify,
    told: watch::Sender<Filled>,
}

impl Fill {
    /// Says how far the node is now.
    pub fn tell(&self, filled: Filled) {
        self.0.told.send_replace(filled);
    }

    /// Returns when somebody asks; what is told next answers it.
    pub async fn asked(&self) {
        self.0.asked.notified().await;
    }

    /// Asks, and takes what was said last when there is no answer within `limit`.
    pub async fn ask(&self, limit: Duration) -> Filled {
        let mut told = self.0.told.subscribe();
        self.0.asked.notify_one();
        drop(runtime::timeout(limit, told.changed()).await);
        told.borrow().clone()
    }
}

/// How far this node is: as soon as it is filled up to `index`, or a moment later. One
/// that copies nothing lacks nothing.
pub(super) async fn filled(core: &Core, index: u64) -> Filled {
    let deadline = core.clock.now() + ANSWER_WAIT;
    loop {
        let left = core.time_left(deadline);
        let filled = match &core.options.fill {
            Some(fill) => fill.ask(left).await,
            None => Filled {
                index: Some(core.applied_index()),
                ..Filled::default()
            },
        };
        let left = core.time_left(deadline);
        if filled.index >= Some(index) || left.is_zero() {
            return filled;
        }
        runtime::sleep(LOOK_PERIOD.min(left)).await;
    }
}
