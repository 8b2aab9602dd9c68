//! Counters of the copies of blobs: what is missing, what is fetched, what is served.

use super::exposition::Page;
use super::family::Family;
use super::histogram::DurationHistogram;
use super::label_peer::{FetchEnd, FetchFailure, HoldEnd, ServeEnd, TeeEnd};
use super::value::{Counter, Gauge};

/// What replication counts.
#[derive(Debug, Default)]
pub struct ReplicationMetrics {
    /// Blobs that this node should have and lacks.
    pub missing_blobs: Gauge,
    /// Blobs that wait to be fetched.
    pub queued_blobs: Gauge,
    /// Blobs being fetched.
    pub fetching_blobs: Gauge,
    /// Readers of blobs that are being fetched.
    pub followers: Gauge,
    /// Files that cannot be read and stay, because no other node holds the blob.
    pub doubtful_files: Gauge,
    /// Fetches ended, and sources within them that failed; a blob may need several.
    pub fetches: Family<FetchEnd, Counter>,
    /// Why fetches failed.
    pub fetch_failures: Family<FetchFailure, Counter>,
    /// From the first byte asked of a source to the end of that fetch.
    pub fetch_seconds: DurationHistogram,
    /// Bytes of blobs received from other nodes.
    pub received_bytes: Counter,
    /// Bytes of blobs sent to other nodes.
    pub sent_bytes: Counter,
    /// Requests of other nodes for blobs.
    pub serves: Family<ServeEnd, Counter>,
    /// Ends of uploads passed on to another node while they came.
    pub tees: Family<TeeEnd, Counter>,
    /// Ends of uploads taken from another node while they came.
    pub takes: Family<TeeEnd, Counter>,
    /// Copies asked of other nodes before a push was acknowledged.
    pub holds: Family<HoldEnd, Counter>,
    /// From the end of the upload to enough copies.
    pub hold_seconds: DurationHistogram,
}

impl ReplicationMetrics {
    pub(super) fn write(&self, page: &mut Page) {
        self.write_queue(page);
        self.write_fetches(page);
        self.write_service(page);
    }

    fn write_queue(&self, page: &mut Page) {
        page.gauge(
            "windlass_replication_missing_blobs",
            "Blobs that this node should have and lacks; at least so many while it looks.",
            &self.missing_blobs,
        );
        page.gauge(
            "windlass_replication_queued_blobs",
            "Blobs that wait to be fetched.",
            &self.queued_blobs,
        );
        page.gauge(
            "windlass_replication_fetching_blobs",
            "Blobs being fetched.",
            &self.fetching_blobs,
        );
        page.gauge(
            "windlass_replication_followers",
            "Readers of blobs that are being fetched.",
            &self.followers,
        );
        page.gauge(
            "windlass_replication_doubtful_files",
            "Files of blobs that cannot be read and stay, because no other node is known to hold the blob; each shard counts those it met.",
            &self.doubtful_files,
        );
    }

    fn write_fetches(&self, page: &mut Page) {
        page.counters(
            "windlass_replication_fetches_total",
            "Fetches ended, and sources within them that failed; a blob may need several.",
            &self.fetches,
        );
        page.counters(
            "windlass_replication_fetch_failures_total",
            "Why fetches failed.",
            &self.fetch_failures,
        );
        page.durations(
            "windlass_replication_fetch_seconds",
            "Time of one fetch, whatever came of it.",
            &self.fetch_seconds,
        );
        page.counter(
            "windlass_replication_received_bytes_total",
            "Bytes of blobs received from other nodes.",
            &self.received_bytes,
        );
    }

    fn write_service(&self, page: &mut Page) {
        page.counter(
            "windlass_replication_sent_bytes_total",
            "Bytes of blobs sent to other nodes.",
            &self.sent_bytes,
        );
        page.counters(
            "windlass_replication_serves_total",
            "Requests of other nodes for blobs.",
            &self.serves,
        );
        page.counters(
            "windlass_replication_tees_total",
            "Uploads passed on to another node while they came, by their end.",
            &self.tees,
        );
        page.counters(
            "windlass_replication_takes_total",
            "Uploads taken from another node while they came, by their end.",
            &self.takes,
        );
        page.counters(
            "windlass_replication_holds_total",
            "Copies asked of other nodes before a push was acknowledged.",
            &self.holds,
        );
        page.durations(
            "windlass_replication_hold_seconds",
            "Time until enough other nodes held a blob that is being pushed.",
            &self.hold_seconds,
        );
    }
}
