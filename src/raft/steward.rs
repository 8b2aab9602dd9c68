//! Makes the membership what the state wishes: on the leader, one step at a time.
//!
//! A wish (`metadata::NodeCommand`) survives whoever leads; a step that was cut
//! off is taken again by the next leader. So nothing is lost between a wish and
//! its end, and nothing has to be undone.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::{BasicNode, ChangeMembers, RaftMetrics, ServerState};

use crate::metadata::{self, NodeRecord, NodeState};
use crate::runtime;

use super::core::Core;
use super::membership::{mark, successor, transfer_here};
use super::types::{Membership, Types};
use super::view::StateView;

/// How often the leader looks when nobody tells it to.
pub(super) const LOOK_PERIOD: Duration = Duration::from_millis(500);
/// A step is given up after this long and decided anew.
const STEP_LIMIT: Duration = Duration::from_secs(10);
/// A learner becomes a voter when it lacks fewer entries than this: it then
/// catches up within some messages and holds up no commit for long.
const PROMOTE_LAG_ENTRIES_MAX: u64 = 512;

/// One change of the membership.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// Ends a change that an earlier leader began.
    Flatten,
    /// Feeds a node that was admitted.
    Add { node: u64, address: Box<str> },
    /// Follows a node to its new address.
    Move { node: u64, address: Box<str> },
    /// Gives a node that has caught up, and holds the blobs, its vote.
    Promote { node: u64 },
    /// Takes a node's vote; it goes on learning.
    Demote { node: u64 },
    /// Forgets a node that does not vote any more.
    Remove { node: u64 },
    /// Lets another node lead: this one is about to lose its vote.
    HandOver { to: u64 },
}

/// What the next step is decided by.
struct Scene<'a> {
    me: u64,
    membership: &'a Membership,
    records: &'a [(u64, NodeRecord)],
    last_index: u64,
    /// What the leader knows to be on each node.
    matched: &'a BTreeMap<u64, u64>,
    successor: Option<u64>,
    /// Voters and learners that this leader hears of, itself included.
    near: &'a BTreeSet<u64>,
}

/// Looks after the membership until the core drops it.
pub(super) async fn tend(core: Rc<Core>) {
    loop {
        // Told or not, it looks.
        let _ = runtime::timeout(LOOK_PERIOD, core.wishes.notified()).await;
        while let Some(step) = look(&core) {
            tracing::info!(?step, "the membership changes");
            let taken = runtime::timeout(STEP_LIMIT, take(&core, &step)).await;
            let error = match taken {
                Ok(Ok(())) => continue,
                Ok(Err(reason)) => reason,
                Err(_) => "it took too long".into(),
            };
            tracing::debug!(?step, %error, "the membership did not change");
            break;
        }
    }
}

/// The next step, if this node leads and there is one.
fn look(core: &Core) -> Option<Step> {
    let metrics = core.raft.metrics();
    let seen = metrics.borrow_watched();
    // A change is decided when the one before it is committed.
    let (_, is_settled, _) = mark(&seen);
    if seen.state != ServerState::Leader || !is_settled {
        return None;
    }
    let view = StateView(core.machine.view());
    let records = match metadata::nodes(&view) {
        Ok(records) => records,
        Err(error) => {
            tracing::error!(%error, "the state does not say who belongs to the cluster");
            return None;
        }
    };
    let matched = matched(&seen);
    let nodes = seen.membership_config.membership().nodes();
    let near = nodes.map(|(node, _)| *node);
    let near = near.filter(|node| *node == seen.id || core.peers.is_near(*node));
    let near: BTreeSet<u64> = near.collect();
    let scene = Scene {
        me: seen.id,
        membership: seen.membership_config.membership(),
        records: &records,
        last_index: seen.last_log_index.unwrap_or(0),
        matched: &matched,
        successor: successor(&seen, |node| core.peers.is_near(node)),
        near: &near,
    };
    let fit = fit(core, seen.current_term, &scene);
    next_step(&scene, &fit)
}

/// Learners that are to vote and run under their numbers.
fn to_vote(scene: &Scene<'_>) -> BTreeSet<u64> {
    let is_to_vote = |(node, record): &&(u64, NodeRecord)| {
        let mut learners = scene.membership.learner_ids();
        record.is_voter
            && record.state == NodeState::Member
            && learners.any(|learner| learner == *node)
    };
    let to_vote = scene.records.iter().filter(is_to_vote);
    to_vote.map(|(node, _)| *node).collect()
}

/// Those of them that are there, and have nearly all of the log.
fn candidates(scene: &Scene<'_>) -> BTreeSet<u64> {
    let mut candidates = to_vote(scene);
    candidates.retain(|node| {
        let matched = scene.matched.get(node).copied();
        scene.near.contains(node) && is_nearly_all(matched, scene.last_index)
    });
    candidates
}

/// Whether a node has so much of the log that it may vote.
pub(super) fn is_nearly_all(matched: Option<u64>, last_index: u64) -> bool {
    let lag = matched.map(|matched| last_index.saturating_sub(matched));
    lag.is_some_and(|lag| lag < PROMOTE_LAG_ENTRIES_MAX)
}

/// Those candidates that lack no blobs, as far as is known; the others are asked.
fn fit(core: &Core, term: u64, scene: &Scene<'_>) -> BTreeSet<u64> {
    let candidates = candidates(scene);
    let mut known = core.catching_up.borrow_mut();
    known.keep(term, &to_vote(scene), &candidates);
    let fit = candidates.iter().copied();
    let fit: BTreeSet<u64> = fit.filter(|node| known.is_fit(*node)).collect();
    if fit.len() < candidates.len() {
        core.candidates.notify_one();
    }
    fit
}

fn matched(seen: &RaftMetrics<Types>) -> BTreeMap<u64, u64> {
    let known = seen.replication.iter().flatten();
    let known = known.filter_map(|(node, id)| Some((*node, id.as_ref()?.index)));
    known.collect()
}

/// Decides the next step: what is under way is ended first, then nodes come in,
/// get votes, lose them, and leave. `fit` are those that may get one.
fn next_step(scene: &Scene<'_>, fit: &BTreeSet<u64>) -> Option<Step> {
    if scene.membership.get_joint_config().len() > 1 {
        return Some(Step::Flatten);
    }
    let voters: BTreeSet<u64> = scene.membership.voter_ids().collect();
    let steps = scene.records.iter().map(|(node, record)| {
        let at = scene.membership.get_node(node);
        (*node, record, at, voters.contains(node))
    });
    let (mut gain, mut loss) = (None, None);
    for (node, record, at, is_voter) in steps {
        if record.state == NodeState::Removed {
            if at.is_some() {
                loss = loss.or(Some((node, is_voter, Step::Remove { node })));
            }
            continue;
        }
        let address: Box<str> = record.address.as_str().into();
        match at {
            None => gain = gain.or(Some(Step::Add { node, address })),
            Some(at) if at.addr != record.address.as_str() => {
                gain = gain.or(Some(Step::Move { node, address }));
            }
            Some(_) if record.is_voter && !is_voter && fit.contains(&node) => {
                gain = gain.or(Some(Step::Promote { node }));
            }
            Some(_) if !record.is_voter && is_voter => {
                loss = loss.or(Some((node, is_voter, Step::Demote { node })));
            }
            Some(_) => {}
        }
    }
    if gain.is_some() {
        return gain;
    }
    let (node, is_voter, step) = loss?;
    match step {
        _ if is_voter && !can_spare(scene, &voters, node) => None,
        _ if is_voter && node == scene.me => scene.successor.map(|to| Step::HandOver { to }),
        Step::Remove { node } if is_voter => Some(Step::Demote { node }),
        step => Some(step),
    }
}

/// Whether the voters other than `node` could commit without it: a change that
/// they could not would hang, and with it everything behind it.
fn can_spare(scene: &Scene<'_>, voters: &BTreeSet<u64>, node: u64) -> bool {
    let left = || voters.iter().filter(|voter| **voter != node);
    let near_count = left().filter(|voter| scene.near.contains(voter)).count();
    2 * near_count > left().count()
}

/// Takes a step. Voters always become learners first, so that a change that is
/// cut off can be ended by anyone without knowing what it was for.
async fn take(core: &Core, step: &Step) -> Result<(), Box<str>> {
    let one = |node: u64| BTreeSet::from([node]);
    let placed = |node: u64, address: &str| BTreeMap::from([(node, BasicNode::new(address))]);
    let change = match step {
        Step::Flatten => ChangeMembers::AddVoterIds(BTreeSet::new()),
        Step::Add { node, address } => ChangeMembers::AddNodes(placed(*node, address)),
        Step::Move { node, address } => ChangeMembers::SetNodes(placed(*node, address)),
        Step::Promote { node } => ChangeMembers::AddVoterIds(one(*node)),
        Step::Demote { node } => ChangeMembers::RemoveVoters(one(*node)),
        Step::Remove { node } => ChangeMembers::RemoveNodes(one(*node)),
        Step::HandOver { to } => {
            let transferred = transfer_here(core, Some(*to)).await;
            transferred.map_err(|error| error.to_string())?;
            // The next leader goes on; this one has nothing to decide any more.
            core.leader_changed(STEP_LIMIT).await;
            return Ok(());
        }
    };
    let changed = core.raft.change_membership(change, true).await;
    changed.map_err(|error| error.to_string())?;
    Ok(())
}

#[cfg(test)]
#[path = "steward_test.rs"]
mod tests;
