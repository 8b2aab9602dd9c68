//! How the state of the cluster looks as JSON.

use serde_json::{Value, json};

use super::page::Answer;
#[cfg(feature = "mutants")]
use crate::base::tomorrow;
use crate::cluster::{Activity, ClusterStatus, NodeStatus, Report};
use crate::http::Status;
use crate::telemetry::PeerCopies;

/// The page `/cluster`.
pub(super) fn status_page(status: &ClusterStatus) -> Answer {
    let nodes: Vec<Value> = status.nodes.iter().map(node).collect();
    let members = || status.nodes.iter().map(|node| &node.member);
    let leader = members().find(|member| member.is_leader);
    let page = json!({
        "node": status.node,
        "is_confirmed": status.is_confirmed,
        "is_changing": status.is_changing,
        "term": status.term,
        "leader": leader.map(|member| member.node),
        "format_level": status.format_level,
        "state": status.state.map(|(index, hash)| json!({
            "applied_index": index,
            "hash": hash.map(|byte| format!("{byte:02x}")).concat(),
        })),
        "blobs": status.blobs,
        "nodes": nodes,
    });
    Answer::json(Status::OK, &page)
}

fn node(node: &NodeStatus) -> Value {
    let member = &node.member;
    let role = match (member.is_leader, member.is_voter) {
        (true, _) => "leader",
        (false, true) => "voter",
        (false, false) => "learner",
    };
    json!({
        "node": member.node,
        "address": member.address,
        "role": role,
        "lag": node.lag,
        "vote_waits_for": node.vote_waits_for(),
        "report": node.report.as_ref().map(report),
    })
}

fn report(report: &Report) -> Value {
    let activity = report.activity.as_ref();
    let page = json!({
        "build": report.build,
        "applied_index": report.applied_index,
        "blobs_missing": report.blobs_missing,
        "free_bytes": report.free_bytes,
        "disk_bytes": report.disk_bytes,
        "consensus": activity.map(consensus),
        "replication": activity.map(replication),
    });
    #[cfg(feature = "mutants")]
    let page = with_remarks(page, report);
    page
}

/// What the version after this one says beside; see `base::tomorrow`.
#[cfg(feature = "mutants")]
fn with_remarks(mut page: Value, report: &Report) -> Value {
    if let Some(page) = page.as_object_mut().filter(|_| tomorrow::is_on()) {
        page.insert("remarks".to_owned(), json!(report.remarks));
    }
    page
}

/// Absent of a node whose version does not say it.
fn consensus(activity: &Activity) -> Value {
    let consensus = &activity.consensus;
    let proposals = &consensus.proposals;
    json!({
        "term": consensus.term,
        "leader": consensus.leader,
        "last_index": consensus.last_index,
        "committed_index": consensus.committed_index,
        "elections": consensus.elections,
        "leader_changes": consensus.leader_changes,
        "proposals": proposals.count,
        "proposal_p50_us": proposals.p50_us,
        "proposal_p99_us": proposals.p99_us,
        "proposal_mean_us": proposals.mean_us,
    })
}

fn replication(activity: &Activity) -> Value {
    let copies = &activity.copies;
    json!({
        "surveyed": copies.is_surveyed,
        "queued_blobs": copies.queued,
        "fetching_blobs": copies.fetching,
        "peers": copies.peers.iter().map(peer).collect::<Vec<_>>(),
    })
}

/// What went between a node and another one; without a number for all those that have
/// none of their own.
fn peer(peer: &PeerCopies) -> Value {
    json!({
        "node": Some(peer.node).filter(|node| *node != 0),
        "received_bytes": peer.received_bytes,
        "received_bytes_per_second": peer.received_rate,
        "sent_bytes": peer.sent_bytes,
        "sent_bytes_per_second": peer.sent_rate,
        "failed_fetches": peer.failures,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::Member;

    #[test]
    fn forty_nodes_are_shown() {
        let shown = |number| NodeStatus {
            member: Member {
                node: number,
                address: format!("node-{number}:5002").into(),
                is_voter: number < 8,
                is_leader: number == 1,
                matched_index: Some(number),
            },
            lag: Some(0),
            is_to_vote: number < 9,
            report: Some(Report::default()),
        };
        let page = status_page(&ClusterStatus {
            node: 1,
            is_confirmed: true,
            is_changing: false,
            term: 3,
            format_level: 1,
            state: Some((7, [0xa5; 32])),
            blobs: 9,
            nodes: (1..=40).map(shown).collect(),
        });
        let read: Value = serde_json::from_slice(&page.body).unwrap();
        assert_eq!(read["state"]["applied_index"], 7);
        assert_eq!(read["state"]["hash"], "a5".repeat(32));
        let nodes = read["nodes"].as_array().unwrap();
        assert_eq!(nodes.len(), 40);
        assert_eq!(nodes[39]["node"], 40);
        assert_eq!(
            (&nodes[0]["role"], &nodes[39]["role"]),
            (&"leader".into(), &"learner".into())
        );
        assert_eq!(nodes[6]["vote_waits_for"], Value::Null);
        assert_eq!(nodes[7]["vote_waits_for"], "soon");
    }
}
