//! What the journal may be told when it is opened.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fjall::config::{PartitioningPolicy, PinningPolicy};
use fjall::{KeyspaceCreateOptions, KvSeparationOptions};

use crate::base::Mutant;
use crate::base::units::{MIB, to_usize};
use crate::telemetry::Metrics;

use super::failure::{Failure, end_process};

/// Operations in one group, hence in one batch and one sync.
pub(super) const GROUP_OPERATIONS_MAX: usize = 4096;
/// Payload bytes after which a group takes no more: one large manifest and
/// what came with it, so that small entries behind it wait for one of them only.
pub(super) const GROUP_BYTES_MAX: usize = to_usize(4 * MIB);
/// Operations waiting for the journal thread; senders wait beyond.
pub(super) const QUEUE_OPERATIONS_MAX: usize = 1024;
/// Records deleted by one batch of a purge: about half a millisecond.
pub(super) const PURGE_RECORDS_MAX: u64 = 1024;
/// The mark is synced at least this often while groups keep coming.
pub(super) const MARK_SYNC_PERIOD: Duration = Duration::from_millis(100);
/// The mark is synced after this much silence.
pub(super) const MARK_SYNC_IDLE: Duration = Duration::from_millis(5);
/// fjall's own threads per database. One is not enough: its worker then waits
/// on the queue that only it drains. With two, the first spins while the second
/// compacts: it is kept free for flushes and hands every other task back to the
/// queue at once. A third takes those tasks.
pub(super) const WORKER_THREADS: usize = 3;
/// Values from here on live in files of their own, so that compaction moves
/// keys and not manifests.
const SEPARATE_VALUE_BYTES_MIN: u32 = 32 * 1024;

/// How a keyspace of either database is laid out.
///
/// Filters and indexes of tables below the first level are cut into blocks of the
/// usual size. Whole ones, which are the default, have megabytes, more than the
/// block cache takes as one piece: with two million tags every read of an old key
/// loaded and checked a filter of 2.3 MB. Those of the first level are small and
/// stay in memory.
pub(super) fn keyspace_options(memtable_bytes: u64) -> KeyspaceCreateOptions {
    let below_first = || PartitioningPolicy::new([false, true]);
    let first_only = || PinningPolicy::new([true, false]);
    KeyspaceCreateOptions::default()
        .max_memtable_size(memtable_bytes)
        .filter_block_partitioning_policy(below_first())
        .index_block_partitioning_policy(below_first())
        .filter_block_pinning_policy(first_only())
        .index_block_pinning_policy(first_only())
        .with_kv_separation(Some(
            KvSeparationOptions::default().separation_threshold(SEPARATE_VALUE_BYTES_MIN),
        ))
}

/// How to open a journal.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folder that holds `log/`, `state/` and `mark`; made when absent.
    pub directory: PathBuf,
    /// Block cache of the log; it is read at start and by lagging peers only.
    pub log_cache_bytes: u64,
    /// Block cache of the applied state, which every request reads.
    pub state_cache_bytes: u64,
    /// Memory table of each database before it goes to disk.
    pub memtable_bytes: u64,
    /// Whether records are synced before they are acknowledged. `false` breaks
    /// every promise; it is the negative control of the power-loss test.
    pub is_synced: bool,
    /// What happens when a write or a sync failed. The default ends the
    /// process: nothing that was promised can be promised any longer.
    pub on_failure: fn(&Failure),
    /// Where to count.
    pub metrics: Arc<Metrics>,
}

impl Options {
    /// The defaults for a journal in `directory`.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>, metrics: Arc<Metrics>) -> Self {
        Self {
            directory: directory.into(),
            log_cache_bytes: u64::from(2 * MIB),
            state_cache_bytes: u64::from(16 * MIB),
            memtable_bytes: u64::from(16 * MIB),
            is_synced: !Mutant::AcknowledgeBeforeSync.is_on(),
            on_failure: end_process,
            metrics,
        }
    }
}
