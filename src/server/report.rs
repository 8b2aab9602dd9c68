//! What this node says about itself when an operator asks for the cluster.

use std::sync::Arc;
use std::time::Duration;

use crate::base::Clock;
use crate::cluster::{Activity, Consensus, Copies, Proposals, Report};
use crate::raft::{Handle, Status};
use crate::registry::DiskSpace;
use crate::replication;
use crate::runtime::{Shutdown, timeout};
use crate::telemetry::{DurationHistogram, Gauge, JournalMetrics, Metrics, ReplicationMetrics};

/// Rates are of so much time: a moment for who watches, and some extents of a fetch.
const RATE_PERIOD: Duration = Duration::from_secs(2);

/// The node as it is now. One that runs alone lacks nothing.
pub(super) fn report(
    journal: &Handle,
    space: &DiskSpace,
    metrics: &Metrics,
    shared: Option<&replication::Shared>,
) -> Report {
    let status = journal.status();
    let mut copies = copies(&metrics.replication);
    // What is applied is seen in what is counted, or in what waits to be.
    copies.is_surveyed &= shared.is_none_or(|shared| !shared.is_behind());
    copies.is_surveyed |= shared.is_none();
    Report {
        build: env!("CARGO_PKG_VERSION").to_owned(),
        applied_index: status.applied_index.unwrap_or_default(),
        blobs_missing: shared.map_or(0, replication::Shared::missing_count),
        free_bytes: space.free_bytes(),
        disk_bytes: space.total_bytes(),
        activity: Some(Activity {
            consensus: consensus(&status, &metrics.journal),
            copies,
        }),
        unsaid: Some(count(&metrics.replication.unsaid_blobs)),
        #[cfg(feature = "mutants")]
        remarks: crate::metadata::Command::remark_count(&journal.view()).ok(),
    }
}

fn consensus(status: &Status, metrics: &JournalMetrics) -> Consensus {
    Consensus {
        term: status.term,
        leader: status.leader,
        last_index: status.last_index.unwrap_or_default(),
        committed_index: count(&metrics.committed_index),
        elections: metrics.elections.value(),
        leader_changes: metrics.leader_changes.value(),
        proposals: proposals(&metrics.proposal_seconds),
    }
}

fn proposals(seconds: &DurationHistogram) -> Proposals {
    let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    Proposals {
        count: seconds.count(),
        p50_us: us(seconds.percentile(50)),
        p99_us: us(seconds.percentile(99)),
        mean_us: us(seconds.mean()),
    }
}

fn copies(metrics: &ReplicationMetrics) -> Copies {
    Copies {
        is_surveyed: count(&metrics.surveyed) == 1,
        queued: count(&metrics.queued_blobs),
        fetching: count(&metrics.fetching_blobs),
        peers: metrics.peers().collect(),
    }
}

/// A gauge that counts things.
fn count(gauge: &Gauge) -> u64 {
    u64::try_from(gauge.value()).unwrap_or_default()
}

/// Measures how fast copies come and go, until the node stops.
pub(super) async fn measure_rates(metrics: Arc<Metrics>, shutdown: Shutdown) {
    let clock = Clock::system();
    let mut measured = clock.now();
    while timeout(RATE_PERIOD, shutdown.wait()).await.is_err() {
        let now = clock.now();
        metrics.replication.measure(now.duration_since(measured));
        measured = now;
    }
}
