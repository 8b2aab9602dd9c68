//! What consensus may be told when it starts.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::base::limits::PROPOSE_TIMEOUT;
use crate::base::units::MIB;
use crate::journal;
use crate::telemetry::Metrics;

/// How to open and run consensus.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folder of `node.json`; the journal's folder is inside.
    pub data_directory: PathBuf,
    /// The journal's own options.
    pub journal: journal::Options,
    /// A proposal waits this long for its outcome.
    pub propose_timeout: Duration,
    /// A snapshot is due after this many entries …
    pub snapshot_entries: u64,
    /// … or this many bytes of them.
    pub snapshot_bytes: u64,
    /// Entries that stay in the log behind a snapshot, for nodes that lag …
    pub log_entries_kept: u64,
    /// … unless they have more bytes than this.
    pub log_bytes_kept: u64,
    /// Where to count.
    pub metrics: Arc<Metrics>,
}

impl Options {
    /// The defaults for a node in `data_directory`.
    #[must_use]
    pub fn new(data_directory: impl Into<PathBuf>, metrics: Arc<Metrics>) -> Self {
        let data_directory = data_directory.into();
        Self {
            journal: journal::Options::new(data_directory.join("journal"), Arc::clone(&metrics)),
            data_directory,
            propose_timeout: PROPOSE_TIMEOUT,
            snapshot_entries: 20_000,
            snapshot_bytes: u64::from(64 * MIB),
            log_entries_kept: 2_000,
            log_bytes_kept: u64::from(64 * MIB),
            metrics,
        }
    }
}
