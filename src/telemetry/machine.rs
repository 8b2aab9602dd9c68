//! Counters of the machinery: buffers, disk, executors.

use super::exposition::Page;
use super::family::Family;
use super::histogram::DurationHistogram;
use super::label::SyncedThing;
use super::value::{Counter, Gauge};

/// What memory, disk and runtime count.
#[derive(Debug, Default)]
pub struct MachineMetrics {
    /// Bytes of pooled buffers, all shards together.
    pub pool_bytes: Gauge,
    /// Bytes of pooled buffers in use.
    pub pool_used_bytes: Gauge,
    /// Requests for a buffer that had to wait.
    pub pool_waits: Counter,
    /// How long they waited.
    pub pool_wait_seconds: DurationHistogram,
    /// Bytes written to files.
    pub disk_written_bytes: Counter,
    /// Bytes read from files.
    pub disk_read_bytes: Counter,
    /// How long a sync takes.
    pub sync_seconds: Family<SyncedThing, DurationHistogram>,
    /// File operations that failed.
    pub disk_errors: Counter,
    /// Bytes free on the filesystem of the data directory.
    pub disk_free_bytes: Gauge,
    /// Executors that accept connections.
    pub shards: Gauge,
    /// Signs of life seen by the watchdog.
    pub watchdog_beats: Counter,
    /// Blocking calls moved off the shards.
    pub off_shard_calls: Counter,
    /// Blocking calls that panicked off the shards.
    pub off_shard_panics: Counter,
}

impl MachineMetrics {
    pub(super) fn write(&self, page: &mut Page) {
        self.write_pool(page);
        self.write_disk(page);
        page.gauge(
            "windlass_shards",
            "Executors that accept connections.",
            &self.shards,
        );
        page.counter(
            "windlass_watchdog_beats_total",
            "Signs of life of executors seen by the watchdog.",
            &self.watchdog_beats,
        );
        page.counter(
            "windlass_off_shard_calls_total",
            "Blocking calls moved off the shards.",
            &self.off_shard_calls,
        );
        page.counter(
            "windlass_off_shard_panics_total",
            "Blocking calls that panicked off the shards.",
            &self.off_shard_panics,
        );
    }

    fn write_pool(&self, page: &mut Page) {
        page.gauge(
            "windlass_pool_bytes",
            "Bytes of pooled buffers, all shards together.",
            &self.pool_bytes,
        );
        page.gauge(
            "windlass_pool_used_bytes",
            "Bytes of pooled buffers in use.",
            &self.pool_used_bytes,
        );
        page.counter(
            "windlass_pool_waits_total",
            "Requests for a buffer that had to wait.",
            &self.pool_waits,
        );
        page.durations(
            "windlass_pool_wait_seconds",
            "Time waited for a buffer.",
            &self.pool_wait_seconds,
        );
    }

    fn write_disk(&self, page: &mut Page) {
        page.counter(
            "windlass_disk_written_bytes_total",
            "Bytes written to blob and session files.",
            &self.disk_written_bytes,
        );
        page.counter(
            "windlass_disk_read_bytes_total",
            "Bytes read from blob and session files.",
            &self.disk_read_bytes,
        );
        page.durations_of(
            "windlass_disk_sync_seconds",
            "Time of one sync to disk.",
            &self.sync_seconds,
        );
        page.counter(
            "windlass_disk_errors_total",
            "File operations that failed.",
            &self.disk_errors,
        );
        page.gauge(
            "windlass_disk_free_bytes",
            "Bytes free on the filesystem of the data directory.",
            &self.disk_free_bytes,
        );
    }
}
