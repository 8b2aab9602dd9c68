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
    /// How long a sync takes.
    pub sync_seconds: Family<SyncedThing, DurationHistogram>,
    /// Bytes free on the filesystem of the data directory.
    pub disk_free_bytes: Gauge,
    /// Executors that accept connections.
    pub shards: Gauge,
}

impl MachineMetrics {
    pub(super) fn write(&self, page: &mut Page) {
        page.gauge(
            "windlass_shards",
            "Executors that accept connections.",
            &self.shards,
        );
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
        page.durations_of(
            "windlass_disk_sync_seconds",
            "Time of one sync to disk.",
            &self.sync_seconds,
        );
        page.gauge(
            "windlass_disk_free_bytes",
            "Bytes free on the filesystem of the data directory.",
            &self.disk_free_bytes,
        );
    }
}
