//! What consensus may be told when it starts.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::base::limits::{PROPOSE_TIMEOUT, READ_INDEX_TIMEOUT};
use crate::base::units::MIB;
use crate::journal;
use crate::metadata::known_level;
use crate::telemetry::Metrics;

use super::blob_change::BlobChange;
use super::fill::Fill;

/// How to open and run consensus.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folder of `node.json`; the journal's folder is inside.
    pub data_directory: PathBuf,
    /// The journal's own options.
    pub journal: journal::Options,
    /// A proposal waits this long for its outcome.
    pub propose_timeout: Duration,
    /// A read waits this long for a quorum that confirms it.
    pub read_timeout: Duration,
    /// A snapshot is due after this many entries …
    pub snapshot_entries: u64,
    /// … or this many bytes of them.
    pub snapshot_bytes: u64,
    /// Entries that stay in the log behind a snapshot, for nodes that lag …
    pub log_entries_kept: u64,
    /// … unless they have more bytes than this.
    pub log_bytes_kept: u64,
    /// The formats that this node says it knows: those of this build. A test may say
    /// otherwise.
    pub format_level: u32,
    /// Told of every applied change of a blob that has a file.
    pub blob_changes: Option<flume::Sender<BlobChange>>,
    /// Says how far this node holds the blobs of its state; without it, it holds all.
    pub fill: Option<Fill>,
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
            read_timeout: READ_INDEX_TIMEOUT,
            snapshot_entries: 20_000,
            snapshot_bytes: u64::from(64 * MIB),
            log_entries_kept: 20_000,
            log_bytes_kept: u64::from(64 * MIB),
            format_level: known_level(),
            blob_changes: None,
            fill: None,
            metrics,
        }
    }
}
