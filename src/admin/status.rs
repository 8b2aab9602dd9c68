//! How the state of the cluster looks as JSON.

use serde_json::{Value, json};

use super::page::Answer;
use crate::cluster::{ClusterStatus, NodeStatus, Report};
use crate::http::Status;

/// The page `/cluster`.
pub(super) fn status_page(status: &ClusterStatus) -> Answer {
    let nodes: Vec<Value> = status.nodes.iter().map(node).collect();
    let page = json!({
        "node": status.node,
        "is_confirmed": status.is_confirmed,
        "is_changing": status.is_changing,
        "term": status.term,
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
        "report": node.report.as_ref().map(report),
    })
}

fn report(report: &Report) -> Value {
    json!({
        "build": report.build,
        "applied_index": report.applied_index,
        "blobs_missing": report.blobs_missing,
        "free_bytes": report.free_bytes,
        "disk_bytes": report.disk_bytes,
    })
}
