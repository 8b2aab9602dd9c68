//! Counters of the copies of blobs: what is missing, what is fetched, what is served.

use std::time::Duration;

use super::by_node::{ByNode, Exchanged, PeerCopies};
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
    /// 1 when all missing blobs are known, 0 while the state is gone through for them.
    pub surveyed: Gauge,
    /// Blobs that wait to be fetched.
    pub queued_blobs: Gauge,
    /// Blobs being fetched.
    pub fetching_blobs: Gauge,
    /// News of this node's blobs that the journal does not have yet.
    pub unsaid_blobs: Gauge,
    /// Readers of blobs that are being fetched.
    pub followers: Gauge,
    /// Files that cannot be read and stay, because no other node holds the blob.
    pub doubtful_files: Gauge,
    /// Fetches ended, and sources within them that failed; a blob may need several.
    pub fetches: Family<FetchEnd, Counter>,
    /// From the first byte asked of a source to the end of that fetch.
    pub fetch_seconds: DurationHistogram,
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
    /// What went between this node and each other one.
    exchanged: ByNode<Exchanged>,
}

impl ReplicationMetrics {
    /// Counts bytes of blobs that came from `node`.
    pub fn received(&self, node: u64, bytes: u64) {
        self.exchanged.of(node).received.bytes.add(bytes);
    }

    /// Counts bytes of blobs that went to `node`.
    pub fn sent(&self, node: u64, bytes: u64) {
        self.exchanged.of(node).sent.bytes.add(bytes);
    }

    /// Counts a fetch from `node` that failed; 0 when no node was asked.
    pub fn failed(&self, node: u64, reason: FetchFailure) {
        self.exchanged.of(node).failures.of(reason).count();
    }

    /// Bytes of blobs received from all other nodes.
    #[must_use]
    pub fn received_bytes(&self) -> u64 {
        self.peers().map(|peer| peer.received_bytes).sum()
    }

    /// Bytes of blobs sent to all other nodes.
    #[must_use]
    pub fn sent_bytes(&self) -> u64 {
        self.peers().map(|peer| peer.sent_bytes).sum()
    }

    /// Fetches that failed for this reason, whoever was asked.
    #[must_use]
    pub fn failures(&self, reason: FetchFailure) -> u64 {
        let nodes = self.exchanged.entries();
        nodes
            .map(|(_, each)| each.failures.of(reason).value())
            .sum()
    }

    /// What went between this node and each other one, so far.
    pub fn peers(&self) -> impl Iterator<Item = PeerCopies> {
        self.exchanged.copies()
    }

    /// Measures how fast bytes went since it was called last, `period` ago.
    pub fn measure(&self, period: Duration) {
        self.exchanged.measure(period);
    }

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
            "windlass_replication_surveyed",
            "1 when all missing blobs are known, 0 while this node looks, and on one that runs alone.",
            &self.surveyed,
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
            "windlass_replication_unsaid_blobs",
            "News that this node holds a blob, or lost it, which are not in the journal yet.",
            &self.unsaid_blobs,
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
        page.fetch_failures(
            "windlass_replication_fetch_failures_total",
            "Why fetches failed, and from which node.",
            &self.exchanged,
        );
        page.durations(
            "windlass_replication_fetch_seconds",
            "Time of one fetch, whatever came of it.",
            &self.fetch_seconds,
        );
        page.exchanged(
            "windlass_replication_received_bytes_total",
            "Bytes of blobs received from other nodes.",
            &self.exchanged,
            |each| each.received.bytes.value(),
        );
    }

    fn write_service(&self, page: &mut Page) {
        page.exchanged(
            "windlass_replication_sent_bytes_total",
            "Bytes of blobs sent to other nodes.",
            &self.exchanged,
            |each| each.sent.bytes.value(),
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
