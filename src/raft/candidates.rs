//! Asks nodes that are to vote how far they hold the blobs: on the leader, while there
//! are any.
//!
//! A vote follows the blobs, because an acknowledged blob is on a majority of those that
//! voted when it was pushed: a majority of later ones must include one of its nodes, or
//! one that has copied it.

use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use openraft::ServerState;
use openraft::async_runtime::WatchReceiver;

use super::core::{Core, Route};
use super::fill::Filled;
use super::members::MembersError;
use super::message_request::{ClusterRequest, read_filled};
use super::peers::{AskError, Question};
use super::steward::{LOOK_PERIOD, is_nearly_all};
use crate::peer::{RefusalCode, Service};
use crate::runtime;

/// A node that does not answer within this time is asked again with the others.
const ASK_LIMIT: Duration = Duration::from_secs(1);

/// Asks whenever the steward says that somebody is to be asked, until the core drops it.
pub(super) async fn follow(core: Rc<Core>) {
    loop {
        core.candidates.notified().await;
        let began = core.clock.now();
        let asked = core.catching_up.borrow().candidates();
        let answers = asked.iter().map(|node| follow_up(&core, *node));
        if join_all(answers).await.contains(&true) {
            core.wishes.notify_one();
        } else {
            runtime::sleep(core.time_left(began + LOOK_PERIOD)).await;
        }
    }
}

/// Asks one; whether it may vote from now on.
async fn follow_up(core: &Core, node: u64) -> bool {
    let Some(committed) = leading(core) else {
        return false;
    };
    let now = core.clock.now();
    let target = core.catching_up.borrow_mut().target(node, committed, now);
    let Some(target) = target else {
        return false;
    };
    let question = Question {
        service: Service::Cluster,
        payload: ClusterRequest::Filled { index: target }.encode(),
        limit: ASK_LIMIT,
    };
    let answer = core.peers.ask(node, question, read_filled).await;
    let is_near = |node| node == core.peers.me() || core.peers.is_near(node);
    let filled = filled_by(answer, target, is_near);
    let Some(committed) = leading(core) else {
        return false;
    };
    let noted = (committed, core.clock.now());
    let Some(round) = core.catching_up.borrow_mut().note(node, filled, noted) else {
        return false;
    };
    let took_ms = u64::try_from(round.took.as_millis()).unwrap_or(u64::MAX);
    let (number, target, is_last) = (round.number, round.target, round.is_last);
    tracing::info!(
        node,
        number,
        target,
        took_ms,
        is_last,
        "a round of catching up has ended"
    );
    is_last
}

/// Up to which entry a node is filled that was asked about `target`.
fn filled_by(
    answer: Result<Filled, AskError>,
    target: u64,
    is_near: impl Fn(u64) -> bool,
) -> Option<u64> {
    match answer {
        // Who can be reached from here will be reached from there.
        Ok(filled) if filled.unreached.iter().any(|node| is_near(*node)) => None,
        Ok(filled) => filled.index,
        // An older version, which does not know the question: its journal has to do.
        Err(AskError::Refused {
            code: RefusalCode::Malformed,
            ..
        }) => Some(target),
        Err(error) => {
            tracing::debug!(%error, "a node does not say how far it is filled");
            None
        }
    }
}

/// Index of the last entry that is committed, while this node leads.
fn leading(core: &Core) -> Option<u64> {
    let metrics = core.raft.metrics();
    let seen = metrics.borrow_watched();
    let committed = seen.local_committed.as_ref().map(|id| id.index);
    committed.filter(|_| seen.state == ServerState::Leader)
}

/// Gives a node its vote whatever blobs it lacks.
///
/// - Errors: `Behind` for a node that does not answer, or lacks too much of the journal.
pub(super) async fn promote(core: &Core, node: u64) -> Result<(), MembersError> {
    match core.route() {
        Route::Here => promote_here(core, node),
        Route::Leader(leader) => {
            let question = Question {
                service: Service::Cluster,
                payload: ClusterRequest::Promote { node }.encode(),
                limit: ASK_LIMIT,
            };
            promised(core.peers.ask(leader, question, |_| Ok(())).await, node)
        }
        Route::Nobody | Route::Stopped => Err(MembersError::NoLeader),
    }
}

/// Whether the leader gives a node its vote.
fn promised(answer: Result<(), AskError>, node: u64) -> Result<(), MembersError> {
    match answer {
        // An older version does not know the question, and does not wait for blobs.
        Ok(())
        | Err(AskError::Refused {
            code: RefusalCode::Malformed,
            ..
        }) => Ok(()),
        Err(AskError::Refused {
            code: RefusalCode::NotAllowed,
            ..
        }) => Err(MembersError::Behind { node }),
        Err(error) => {
            tracing::debug!(%error, "the leader did not give a vote");
            Err(MembersError::NoLeader)
        }
    }
}

/// As [`promote`], on the leader.
pub(super) fn promote_here(core: &Core, node: u64) -> Result<(), MembersError> {
    let term = {
        let metrics = core.raft.metrics();
        let seen = metrics.borrow_watched();
        let matched = seen.replication.as_ref();
        let matched = matched.and_then(|known| known.get(&node)?.as_ref());
        let matched = matched.map(|id| id.index);
        let last = seen.last_log_index.unwrap_or(0);
        if !core.peers.is_near(node) || !is_nearly_all(matched, last) {
            return Err(MembersError::Behind { node });
        }
        seen.current_term
    };
    core.catching_up.borrow_mut().excuse(term, node);
    core.wishes.notify_one();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_node_is_filled_and_one_that_could_be_given_more_is_not() {
        let says = |answer| filled_by(answer, 40, |node| node == 2);
        let filled = |unreached: &[u64]| Filled {
            index: Some(50),
            missing_blobs: 1,
            unreached: unreached.to_vec(),
        };
        assert_eq!(says(Ok(filled(&[]))), Some(50));
        assert_eq!(says(Ok(filled(&[3, 4]))), Some(50));
        assert_eq!(says(Ok(filled(&[3, 2]))), None, "node 2 is here");
        assert_eq!(says(Ok(Filled::default())), None);
        let refused = |code| {
            let reason = "no".into();
            says(Err(AskError::Refused { code, reason }))
        };
        assert_eq!(refused(RefusalCode::Malformed), Some(40));
        assert_eq!(refused(RefusalCode::Busy), None);
        assert_eq!(says(Err(AskError::TimedOut)), None);
    }

    #[test]
    fn an_older_leader_promises_a_vote_by_not_knowing_the_question() {
        let refused = |code| {
            let reason = "no".into();
            promised(Err(AskError::Refused { code, reason }), 7)
        };
        assert_eq!(promised(Ok(()), 7), Ok(()));
        assert_eq!(refused(RefusalCode::Malformed), Ok(()));
        let behind = Err(MembersError::Behind { node: 7 });
        assert_eq!(refused(RefusalCode::NotAllowed), behind);
        assert_eq!(refused(RefusalCode::Busy), Err(MembersError::NoLeader));
        let timed_out = promised(Err(AskError::TimedOut), 7);
        assert_eq!(timed_out, Err(MembersError::NoLeader));
    }
}
