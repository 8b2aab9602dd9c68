//! Carries a proposal to where it is decided: into this node's log when it leads,
//! else to the leader. What meets an election is held until there is a leader.

use std::rc::Rc;
use std::time::Duration;

use openraft::error::ClientWriteError;

use crate::peer::Service;
use crate::runtime;

use super::core::{Core, Route};
use super::message_request::{Proposed, encode_propose, read_proposed};
use super::peers::{AskError, Question};
use super::proposal::{Committed, ProposalResponder, ProposeError, Submitted, WriteResult};
use super::reply::Denial;
use super::types::Change;

/// Pauses between attempts that reached nobody who decides, shortest and longest.
/// A change of leader ends a pause at once.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// Pauses that grow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Self {
        Self(PAUSE_MIN)
    }
}

impl Pauses {
    /// The next pause, no longer than `left`.
    pub(super) fn next(&mut self, left: Duration) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(PAUSE_MAX);
        pause.min(left)
    }
}

/// What became of an attempt to hand a change to the leader.
enum Forwarded {
    Done(Result<Committed, ProposeError>),
    /// It is not proposed; another node may lead.
    Undone {
        hint: Option<u64>,
    },
}

/// Proposes here at once when this node leads; else carries the change on in a
/// task of its own.
pub(super) async fn propose(core: &Rc<Core>, submitted: Submitted) {
    if matches!(core.route(), Route::Here) {
        write(core, submitted).await;
    } else {
        runtime::spawn(carry(Rc::clone(core), submitted, Pauses::default())).detach();
    }
}

/// Hands a change to openraft, which batches what comes together.
async fn write(core: &Rc<Core>, mut submitted: Submitted) {
    let change = Change {
        bytes: submitted.change.clone(),
    };
    submitted.waiter.hand_over(true);
    let finishing = Rc::clone(core);
    let responder = ProposalResponder::new(move |written| finish(finishing, submitted, written));
    let handed = core.raft.client_write_ff(change, Some(responder));
    if let Err(error) = handed.await {
        tracing::debug!(%error, "a proposal was not taken");
    }
}

/// Answers whoever waits, or carries on what was never appended.
fn finish(core: Rc<Core>, mut submitted: Submitted, written: WriteResult) {
    match written {
        Ok(written) => {
            let index = written.log_id.index;
            let committed = |outcome| Committed { index, outcome };
            let outcome = written.data.outcome.map(committed);
            submitted
                .waiter
                .answer(outcome.ok_or(ProposeError::Unavailable));
        }
        Err(ClientWriteError::ForwardToLeader(_)) => {
            submitted.waiter.hand_over(false);
            let paused = async move {
                let mut pauses = Pauses::default();
                core.leader_changed(pauses.next(PAUSE_MAX)).await;
                carry(core, submitted, pauses).await;
            };
            runtime::spawn(paused).detach();
        }
        // The entry was cut from this log; another leader's may hold it.
        Err(ClientWriteError::LogEntryDiscarded(_)) => {
            submitted.waiter.answer(Err(ProposeError::TimedOut));
        }
        Err(error) => {
            tracing::warn!(%error, "a proposal was refused");
            submitted.waiter.answer(Err(ProposeError::Unavailable));
        }
    }
}

/// Seeks whoever decides until the deadline, as long as nothing was proposed.
async fn carry(core: Rc<Core>, mut submitted: Submitted, mut pauses: Pauses) {
    let mut hint = None;
    loop {
        let left = core.time_left(submitted.deadline);
        if left.is_zero() {
            let error = core.why_no_leader();
            return submitted.waiter.answer(Err(error));
        }
        let target = match core.route() {
            Route::Stopped => {
                return submitted.waiter.answer(Err(ProposeError::Unavailable));
            }
            Route::Here => return write(&core, submitted).await,
            Route::Leader(leader) => Some(hint.take().unwrap_or(leader)),
            Route::Nobody => hint.take(),
        };
        if let Some(target) = target {
            submitted.waiter.hand_over(true);
            match forward(&core, target, &submitted).await {
                Forwarded::Done(outcome) => return submitted.waiter.answer(outcome),
                Forwarded::Undone { hint: other } => {
                    submitted.waiter.hand_over(false);
                    // The hint is followed at once, but not in circles.
                    let is_news = other.is_some_and(|other| other != target);
                    if is_news && other != Some(core.peers.me()) {
                        hint = other;
                    }
                }
            }
        }
        core.leader_changed(pauses.next(left)).await;
    }
}

/// One attempt through the leader. It counts as done only when this node has
/// applied the entry as well, so that whoever proposed here reads it here.
async fn forward(core: &Core, leader: u64, submitted: &Submitted) -> Forwarded {
    let limit = core.time_left(submitted.deadline);
    let question = Question {
        service: Service::Propose,
        payload: encode_propose(&submitted.change, limit),
        limit,
    };
    match core.peers.ask(leader, question, read_proposed).await {
        Ok(Proposed::Applied { index, outcome }) => {
            let left = core.time_left(submitted.deadline);
            let is_applied = core.machine.wait_applied(index, left).await;
            Forwarded::Done(if is_applied {
                Ok(Committed { index, outcome })
            } else {
                Err(ProposeError::TimedOut)
            })
        }
        Ok(Proposed::Unknown) => Forwarded::Done(Err(ProposeError::TimedOut)),
        Err(AskError::Denied(Denial::NotLeader { hint })) => Forwarded::Undone { hint },
        Err(error) if error.is_undone() => {
            tracing::debug!(leader, %error, "a proposal did not reach the leader");
            Forwarded::Undone { hint: None }
        }
        Err(error) => {
            tracing::debug!(leader, %error, "the outcome of a proposal is unknown");
            Forwarded::Done(Err(ProposeError::TimedOut))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_and_end_with_the_time_left() {
        let mut pauses = Pauses::default();
        let hour = Duration::from_secs(3600);
        let grown: Vec<_> = (0..7).map(|_| pauses.next(hour).as_millis()).collect();
        assert_eq!(grown, [10, 20, 40, 80, 160, 250, 250]);
        assert_eq!(pauses.next(Duration::from_millis(3)).as_millis(), 3);
    }
}
