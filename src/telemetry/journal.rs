//! Counters of the journal and of consensus.

use super::exposition::Page;
use super::family::Family;
use super::followers::FollowerLags;
use super::histogram::{CountHistogram, DurationHistogram};
use super::label::ProposalEnd;
use super::value::{Counter, Gauge};

/// What the journal thread and the raft core count.
#[derive(Debug, Default)]
pub struct JournalMetrics {
    /// Entries appended to the log.
    pub appended_entries: Counter,
    /// Bytes appended to the log.
    pub appended_bytes: Counter,
    /// Entries that shared one sync.
    pub batch_entries: CountHistogram,
    /// From the append request to the end of its sync.
    pub append_seconds: DurationHistogram,
    /// The sync alone.
    pub sync_seconds: DurationHistogram,
    /// Proposals ended.
    pub proposals: Family<ProposalEnd, Counter>,
    /// From the proposal on a shard to its outcome there.
    pub proposal_seconds: DurationHistogram,
    /// Proposals waiting.
    pub proposals_waiting: Gauge,
    /// One batch of entries applied to the state.
    pub apply_seconds: DurationHistogram,
    /// Index of the last entry in the log.
    pub last_index: Gauge,
    /// Index of the last entry applied.
    pub applied_index: Gauge,
    /// Term of the raft core.
    pub term: Gauge,
    /// 1 while this node leads.
    pub is_leader: Gauge,
    /// Index of the last entry known to be committed.
    pub committed_index: Gauge,
    /// Entries that each follower lacks, on the leader.
    pub follower_lags: FollowerLags,
    /// Terms in which this node stood for election.
    pub elections: Counter,
    /// Snapshots built.
    pub snapshots: Counter,
    /// Bytes of snapshots that other nodes took.
    pub snapshot_sent_bytes: Counter,
    /// Bytes of snapshots that came from other nodes.
    pub snapshot_received_bytes: Counter,
    /// Snapshots of other nodes installed.
    pub snapshots_installed: Counter,
    /// Rounds that confirmed a read index, or tried to.
    pub read_rounds: Counter,
    /// Times this node gave up leadership because its journal stood still.
    pub stalls: Counter,
    /// Leaders that this node came to know of.
    pub leader_changes: Counter,
}

impl JournalMetrics {
    pub(super) fn write(&self, page: &mut Page) {
        self.write_log(page);
        self.write_proposals(page);
        self.write_consensus(page);
        self.write_snapshots(page);
    }

    fn write_log(&self, page: &mut Page) {
        page.counter(
            "windlass_journal_appended_entries_total",
            "Entries appended to the log.",
            &self.appended_entries,
        );
        page.counter(
            "windlass_journal_appended_bytes_total",
            "Bytes appended to the log.",
            &self.appended_bytes,
        );
        page.counts(
            "windlass_journal_batch_entries",
            "Entries that shared one sync.",
            &self.batch_entries,
        );
        page.durations(
            "windlass_journal_append_seconds",
            "Time from an append request to the end of its sync.",
            &self.append_seconds,
        );
        page.durations(
            "windlass_journal_sync_seconds",
            "Time of one sync of the log.",
            &self.sync_seconds,
        );
    }

    fn write_proposals(&self, page: &mut Page) {
        page.counters(
            "windlass_proposals_total",
            "Proposals ended.",
            &self.proposals,
        );
        page.durations(
            "windlass_proposal_seconds",
            "Time from a proposal on a shard to its outcome there.",
            &self.proposal_seconds,
        );
        page.gauge(
            "windlass_proposals_waiting",
            "Proposals waiting for their outcome.",
            &self.proposals_waiting,
        );
        page.durations(
            "windlass_apply_seconds",
            "Time to apply one batch of entries to the state.",
            &self.apply_seconds,
        );
    }

    fn write_consensus(&self, page: &mut Page) {
        page.gauge(
            "windlass_raft_last_index",
            "Index of the last entry in the log.",
            &self.last_index,
        );
        page.gauge(
            "windlass_raft_committed_index",
            "Index of the last entry known to be committed.",
            &self.committed_index,
        );
        page.gauge(
            "windlass_raft_applied_index",
            "Index of the last entry applied to the state.",
            &self.applied_index,
        );
        page.gauge(
            "windlass_raft_term",
            "Current term of the raft core.",
            &self.term,
        );
        page.gauge(
            "windlass_raft_is_leader",
            "1 while this node leads, else 0.",
            &self.is_leader,
        );
        page.followers(
            "windlass_raft_follower_lag_entries",
            "Entries of the log that a follower lacks, on the leader.",
            &self.follower_lags,
        );
        page.counter(
            "windlass_raft_read_rounds_total",
            "Rounds that confirmed a read index, or tried to.",
            &self.read_rounds,
        );
        page.counter(
            "windlass_raft_stalls_total",
            "Times this node gave up leadership because its journal stood still.",
            &self.stalls,
        );
        page.counter(
            "windlass_raft_leader_changes_total",
            "Leaders that this node came to know of.",
            &self.leader_changes,
        );
        page.counter(
            "windlass_raft_elections_total",
            "Terms in which this node stood for election.",
            &self.elections,
        );
    }

    fn write_snapshots(&self, page: &mut Page) {
        page.counter(
            "windlass_raft_snapshots_total",
            "Snapshots built.",
            &self.snapshots,
        );
        page.counter(
            "windlass_raft_snapshots_installed_total",
            "Snapshots of other nodes installed here.",
            &self.snapshots_installed,
        );
        page.counter(
            "windlass_raft_snapshot_sent_bytes_total",
            "Bytes of snapshots that other nodes took.",
            &self.snapshot_sent_bytes,
        );
        page.counter(
            "windlass_raft_snapshot_received_bytes_total",
            "Bytes of snapshots that came from other nodes.",
            &self.snapshot_received_bytes,
        );
    }
}
