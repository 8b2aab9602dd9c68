//! What replication may be told when it starts.

use std::num::NonZeroU64;
use std::time::Duration;

use crate::base::units::MIB;

/// Blobs fetched at a time that nobody waits for: enough to keep one source and one
/// disk busy, few enough to leave most of both to clients.
const BACKGROUND_FETCHES_DEFAULT: usize = 4;
/// Blobs fetched at a time, those that somebody waits for included: a new node that a
/// fleet pulls from at once. Their buffers come from the pools of the shards, in turn.
const FETCHES_DEFAULT: usize = 64;
/// Another node has this long for the first bytes of a copy …
const HOLD_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// … and more for a large blob: so many bytes in a second are far below what any
/// network between nodes and any disk does.
const HOLD_RATE_BYTES_MIN: u64 = 4 * MIB as u64;
/// A reader waits this long for the next bytes of a blob that is being fetched: three
/// sources may stall one after another.
const FOLLOW_TIMEOUT_DEFAULT: Duration = Duration::from_secs(40);

/// How copies are made.
#[derive(Debug, Clone)]
pub struct Options {
    /// This node.
    pub node: u64,
    /// Blobs fetched at a time while nobody waits for them; at least one.
    pub background_fetches_max: usize,
    /// Blobs fetched at a time, those that somebody waits for included.
    pub fetches_max: usize,
    /// All fetches together that nobody waits for take no more than this.
    pub background_bytes_per_second: Option<NonZeroU64>,
    /// How long other nodes have for a copy of a small blob before a push fails.
    pub hold_timeout: Duration,
    /// How long a reader waits for the next bytes of a blob that is being fetched.
    pub follow_timeout: Duration,
}

impl Options {
    /// The defaults for a node.
    #[must_use]
    pub const fn new(node: u64) -> Self {
        Self {
            node,
            background_fetches_max: BACKGROUND_FETCHES_DEFAULT,
            fetches_max: FETCHES_DEFAULT,
            background_bytes_per_second: None,
            hold_timeout: HOLD_TIMEOUT_DEFAULT,
            follow_timeout: FOLLOW_TIMEOUT_DEFAULT,
        }
    }

    /// How long other nodes have for a copy of a blob.
    pub(super) fn hold_limit(&self, size_bytes: u64) -> Duration {
        self.hold_timeout + Duration::from_secs(size_bytes / HOLD_RATE_BYTES_MIN)
    }

    /// What one fetch takes in a second while nobody waits for it.
    pub(super) fn fetch_bytes_per_second(&self) -> Option<NonZeroU64> {
        let fetches = u64::try_from(self.background_fetches_max).unwrap_or(u64::MAX);
        let all = self.background_bytes_per_second?.get();
        NonZeroU64::new((all / fetches.max(1)).max(1))
    }
}
