//! The cluster as an operator sees it.

use std::collections::BTreeSet;

use super::report::Report;
use crate::metadata::{self, NodeState};
use crate::raft::{Member, StateView};

/// A node as the cluster sees it, and what it says itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeStatus {
    /// Its place in the cluster.
    pub member: Member,
    /// Entries that the leader has and it lacks, where the leader knows.
    pub lag: Option<u64>,
    /// Whether it is to be a voter, or is one.
    pub is_to_vote: bool,
    /// What it says; `None` when it does not answer.
    pub report: Option<Report>,
}

/// The cluster at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterStatus {
    /// The node that was asked.
    pub node: u64,
    /// Whether a leader confirmed what follows; else it is what the node knew last.
    pub is_confirmed: bool,
    /// Whether a change of the membership is under way: until it is done, the
    /// majorities of before and after are both needed.
    pub is_changing: bool,
    /// The term.
    pub term: u64,
    /// The formats that all nodes know, as this node knows it.
    pub format_level: u32,
    /// The state of the node that was asked: index of the last entry in it, and the
    /// running hash, which is the same on every node at that index.
    pub state: Option<(u64, [u8; 32])>,
    /// Blobs that every node should hold; some seconds old.
    pub blobs: u64,
    /// Every node.
    pub nodes: Vec<NodeStatus>,
}

/// A node that lacks no more entries than this is not waited for because of them: the
/// cluster is in use.
const LAG_ENTRIES_MAX: u64 = 64;

impl NodeStatus {
    /// What a node that is to vote still waits for, in a few words.
    #[must_use]
    pub fn vote_waits_for(&self) -> Option<String> {
        if self.member.is_voter || !self.is_to_vote {
            return None;
        }
        let Some(report) = &self.report else {
            return Some("does not answer".to_owned());
        };
        let activity = report.activity.as_ref();
        let is_looking = activity.is_some_and(|activity| !activity.copies.is_surveyed);
        Some(match (self.lag, report.blobs_missing) {
            (Some(lag), _) if lag > LAG_ENTRIES_MAX => format!("{lag} entries missing"),
            (_, 0 | 1) if is_looking => "looks for what is missing".to_owned(),
            (_, 0) => "soon".to_owned(),
            (_, missing) => {
                let blobs = if missing == 1 { "blob" } else { "blobs" };
                let hint = if activity.is_some_and(|activity| activity.copies.are_in_vain()) {
                    format!(
                        ", none comes now: its log says why; `promote {} --force` does not wait",
                        self.member.node
                    )
                } else {
                    String::new()
                };
                format!("{missing} {blobs} missing{hint}")
            }
        })
    }
}

/// Nodes that the state wants to vote.
pub(super) fn to_vote(view: &StateView) -> BTreeSet<u64> {
    let records = metadata::nodes(view).unwrap_or_else(|error| {
        tracing::error!(%error, "the state does not say who belongs to the cluster");
        Vec::new()
    });
    let to_vote = records
        .into_iter()
        .filter(|(_, record)| record.is_voter && record.state != NodeState::Removed);
    to_vote.map(|(node, _)| node).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Activity, Copies};
    use crate::telemetry::PeerCopies;

    fn node(is_voter: bool, is_to_vote: bool, report: Option<Report>) -> NodeStatus {
        NodeStatus {
            member: Member {
                node: 2,
                address: "a:1".into(),
                is_voter,
                is_leader: false,
                matched_index: Some(1),
            },
            lag: Some(3),
            is_to_vote,
            report,
        }
    }

    fn lacking(blobs_missing: u64, is_surveyed: bool) -> Report {
        let mut activity = Activity::default();
        activity.copies.is_surveyed = is_surveyed;
        Report {
            blobs_missing,
            activity: Some(activity),
            ..Report::default()
        }
    }

    #[test]
    fn who_waits_for_what_nobody_gives_is_told_how_not_to() {
        let says = |change: fn(&mut Copies)| {
            let mut report = lacking(2, true);
            let copies = &mut report.activity.as_mut().unwrap().copies;
            let failing = PeerCopies {
                node: 3,
                failures: 8,
                ..PeerCopies::default()
            };
            copies.peers = vec![PeerCopies::default(), failing];
            change(copies);
            node(false, true, Some(report)).vote_waits_for().unwrap()
        };
        let hint =
            "2 blobs missing, none comes now: its log says why; `promote 2 --force` does not wait";
        assert_eq!(says(|_| {}), hint);
        let plain = "2 blobs missing";
        assert_eq!(says(|copies| copies.fetching = 1), plain);
        assert_eq!(says(|copies| copies.peers[0].received_rate = 1), plain);
        assert_eq!(says(|copies| copies.peers.truncate(1)), plain, "it begins");
    }

    #[test]
    fn a_learner_that_is_to_vote_says_what_it_waits_for() {
        let waits = |report| node(false, true, report).vote_waits_for().unwrap();
        assert_eq!(waits(None), "does not answer");
        assert_eq!(waits(Some(lacking(1, false))), "looks for what is missing");
        assert_eq!(waits(Some(lacking(312, false))), "312 blobs missing");
        assert_eq!(waits(Some(lacking(1, true))), "1 blob missing");
        assert_eq!(waits(Some(lacking(0, true))), "soon");
        let mut late = node(false, true, Some(lacking(5, true)));
        late.lag = Some(900);
        assert_eq!(late.vote_waits_for().unwrap(), "900 entries missing");
        assert_eq!(node(true, true, None).vote_waits_for(), None);
        let copy = node(false, false, Some(lacking(5, true)));
        assert_eq!(copy.vote_waits_for(), None);
    }
}
