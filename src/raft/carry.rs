//! Carries a proposal to where it is decided: into this node's log when it leads,
//! else to the leader. What meets an election is held until there is a leader; so is what
//! a leader had when it died, if proposing it again can do no harm.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_lite::future::or;
use openraft::error::ClientWriteError;

use crate::base::random_bytes;
use crate::metadata::{self, ChangeId, ONCE_LEVEL, ONCE_SLOTS, Outcome, Proposal, Refusal, Repeat};
use crate::peer::Service;
use crate::runtime;

use super::core::{Core, Route};
use super::message_request::{Proposed, encode_propose, read_proposed};
use super::peers::{AskError, Question};
use super::proposal::{Committed, ProposalResponder, ProposeError, Submitted, WriteResult};
use super::reply::Denial;
use super::types::Change;
use super::view::StateView;

/// Pauses between attempts that reached nobody who decides, shortest and longest.
/// A change of leader ends a pause at once.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// A node that makes no more changes in a millisecond gives no number twice, also
/// when it starts again.
const NUMBERS_PER_MS: u64 = 1000;

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

/// Numbers of this node's changes that take effect once: they grow, also over restarts
/// unless the clock goes back, and of those on their way no two share a place.
#[derive(Debug)]
pub(super) struct Numbers {
    run: u64,
    next: Cell<u64>,
    /// Places of those on their way.
    taken: RefCell<BTreeSet<u64>>,
}

impl Numbers {
    /// Begins where no process before this one has come.
    pub(super) fn new(unix_ms: u64) -> Self {
        Self {
            run: u64::from_le_bytes(random_bytes()),
            next: Cell::new(unix_ms.saturating_mul(NUMBERS_PER_MS)),
            taken: RefCell::default(),
        }
    }

    /// The next number whose place is free; `None` when none is.
    fn take(self: &Rc<Self>) -> Option<Number> {
        let mut taken = self.taken.borrow_mut();
        let numbers = (self.next.get()..).take(usize::from(ONCE_SLOTS));
        let value = numbers
            .into_iter()
            .find(|number| !taken.contains(&place(*number)))?;
        taken.insert(place(value));
        self.next.set(value.saturating_add(1));
        let numbers = Rc::clone(self);
        Some(Number { numbers, value })
    }

    /// Goes on behind every number that an earlier process has given, of which `newest`
    /// is the newest in its place.
    fn catch_up(&self, newest: u64) {
        let behind = newest.saturating_add(u64::from(ONCE_SLOTS));
        self.next.set(self.next.get().max(behind));
    }
}

fn place(number: u64) -> u64 {
    number % u64::from(ONCE_SLOTS)
}

/// A number in use.
#[derive(Debug)]
struct Number {
    numbers: Rc<Numbers>,
    value: u64,
}

impl Drop for Number {
    fn drop(&mut self) {
        let mut taken = self.numbers.taken.borrow_mut();
        taken.remove(&place(self.value));
    }
}

/// A change while it is carried.
struct Journey {
    submitted: Submitted,
    /// Its number, if it takes effect once.
    number: Option<Number>,
    /// Whether it may be proposed again when its outcome is unknown.
    may_repeat: bool,
    /// Whether it may be committed.
    may_be_done: bool,
}

impl Journey {
    /// What may be proposed again only as a change that takes effect once becomes one,
    /// as soon as all nodes know such changes. A sole voter asks nobody.
    fn begin(core: &Core, submitted: Submitted) -> Self {
        let is_once = submitted.repeat == Repeat::Once && core.has_others() && core.knows_once();
        let number = is_once.then(|| core.numbers.take()).flatten();
        let may_repeat = submitted.repeat == Repeat::Safe || number.is_some();
        let mut journey = Self {
            submitted,
            number,
            may_repeat,
            may_be_done: false,
        };
        if let Some(Number { value, .. }) = &journey.number {
            let id = ChangeId {
                node: core.peers.me(),
                run: core.numbers.run,
                number: *value,
            };
            let once = Proposal::once(&journey.submitted.change, id);
            journey.submitted.change = Bytes::from(once);
        }
        journey
    }

    /// From here on it may be committed, until [`Journey::note`] says otherwise.
    const fn hand_over(&mut self) {
        self.submitted.waiter.hand_over(true);
    }

    /// An attempt has ended without an outcome; whether it may have been committed.
    const fn note(&mut self, may_be_done: bool) {
        self.may_be_done |= may_be_done;
        self.submitted.waiter.hand_over(self.may_be_done);
    }

    /// Ends it with an outcome.
    fn end(self, core: &Core, outcome: Committed) {
        if let Outcome::Refused(Refusal::Outdated { newest }) = outcome.outcome {
            tracing::warn!(
                newest,
                "this node gave higher numbers to changes before: its clock went back"
            );
            core.numbers.catch_up(newest);
            return self.fail(ProposeError::Unavailable);
        }
        let is_removed = outcome.outcome == Outcome::Refused(Refusal::NodeRemoved);
        if is_removed && self.number.is_some() {
            // What came of an earlier copy is forgotten with this node.
            return self.fail(ProposeError::Unavailable);
        }
        self.submitted.waiter.answer(Ok(outcome));
    }

    /// Ends it without one.
    fn fail(self, error: ProposeError) {
        let error = if self.may_be_done {
            ProposeError::TimedOut
        } else {
            error
        };
        self.submitted.waiter.answer(Err(error));
    }
}

/// What became of an attempt to hand a change to the leader.
enum Forwarded {
    Done(Committed),
    /// Nobody knows, or it is committed and not applied here in time.
    Unknown,
    /// It is not proposed; another node may lead.
    Undone {
        hint: Option<u64>,
    },
}

/// Proposes here at once when this node leads; else carries the change on in a
/// task of its own.
pub(super) async fn propose(core: &Rc<Core>, submitted: Submitted) {
    let journey = Journey::begin(core, submitted);
    if core.could_commit() {
        write(core, journey).await;
    } else {
        runtime::spawn(carry(Rc::clone(core), journey, Pauses::default())).detach();
    }
}

/// Hands a change to openraft, which batches what comes together.
async fn write(core: &Rc<Core>, mut journey: Journey) {
    let change = Change {
        bytes: journey.submitted.change.clone(),
    };
    journey.hand_over();
    let finishing = Rc::clone(core);
    let responder = ProposalResponder::new(move |written| finish(finishing, journey, written));
    let handed = core.raft.client_write_ff(change, Some(responder));
    if let Err(error) = handed.await {
        tracing::debug!(%error, "a proposal was not taken");
    }
}

/// Answers whoever waits, or carries on what was never appended, and what may be
/// proposed again.
fn finish(core: Rc<Core>, mut journey: Journey, written: WriteResult) {
    let may_be_done = match written {
        Ok(written) => {
            let index = written.log_id.index;
            let committed = |outcome| Committed { index, outcome };
            return match written.data.outcome.map(committed) {
                Some(committed) => journey.end(&core, committed),
                None => journey.fail(ProposeError::Unavailable),
            };
        }
        Err(ClientWriteError::ForwardToLeader(_)) => false,
        // The entry was cut from this log; another leader's may hold it.
        Err(ClientWriteError::LogEntryDiscarded(_)) => true,
        Err(error) => {
            tracing::warn!(%error, "a proposal was refused");
            return journey.fail(ProposeError::Unavailable);
        }
    };
    journey.note(may_be_done);
    if may_be_done && !journey.may_repeat {
        return journey.fail(ProposeError::TimedOut);
    }
    let paused = async move {
        let mut pauses = Pauses::default();
        core.leader_changed(pauses.next(PAUSE_MAX)).await;
        carry(core, journey, pauses).await;
    };
    runtime::spawn(paused).detach();
}

/// Seeks whoever decides until the deadline, as long as nothing was proposed, or may be
/// proposed again.
async fn carry(core: Rc<Core>, mut journey: Journey, mut pauses: Pauses) {
    let mut hint = None;
    loop {
        let left = core.time_left(journey.submitted.deadline);
        if left.is_zero() {
            return journey.fail(core.why_no_leader());
        }
        let target = match core.route() {
            Route::Stopped => return journey.fail(ProposeError::Unavailable),
            Route::Here if core.could_commit() => return write(&core, journey).await,
            // It may reach a quorum again, or hear of the next leader.
            Route::Here => None,
            Route::Leader(leader) => Some(hint.take().unwrap_or(leader)),
            Route::Nobody => hint.take(),
        };
        if let Some(target) = target {
            journey.hand_over();
            match forward(&core, target, &journey).await {
                Forwarded::Done(committed) => return journey.end(&core, committed),
                Forwarded::Unknown => {
                    journey.note(true);
                    if !journey.may_repeat {
                        return journey.fail(ProposeError::TimedOut);
                    }
                }
                Forwarded::Undone { hint: other } => {
                    journey.note(false);
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
async fn forward(core: &Core, leader: u64, journey: &Journey) -> Forwarded {
    let deadline = journey.submitted.deadline;
    let limit = core.time_left(deadline);
    let question = Question {
        service: Service::Propose,
        payload: encode_propose(&journey.submitted.change, limit),
        limit,
    };
    let asked = core.peers.ask(leader, question, read_proposed);
    // A leader that is cut off answers nobody; the next one will.
    let left_behind = async {
        if journey.may_repeat {
            core.leader_changed(limit).await;
        } else {
            pending::<()>().await;
        }
        Err(AskError::Lost)
    };
    match or(asked, left_behind).await {
        Ok(Proposed::Applied { index, outcome }) => {
            let left = core.time_left(deadline);
            if core.machine.wait_applied(index, left).await {
                Forwarded::Done(Committed { index, outcome })
            } else {
                Forwarded::Unknown
            }
        }
        Ok(Proposed::Unknown) => Forwarded::Unknown,
        Err(AskError::Denied(Denial::NotLeader { hint })) => Forwarded::Undone { hint },
        Err(error) if error.is_undone() => {
            tracing::debug!(leader, %error, "a proposal did not reach the leader");
            Forwarded::Undone { hint: None }
        }
        Err(error) => {
            tracing::debug!(leader, %error, "the outcome of a proposal is unknown");
            Forwarded::Unknown
        }
    }
}

impl Core {
    /// Whether every node knows changes that take effect once.
    fn knows_once(&self) -> bool {
        let level = metadata::format_level(&StateView(self.machine.view()));
        level.is_ok_and(|level| level >= ONCE_LEVEL)
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

    #[test]
    fn no_two_numbers_on_their_way_share_a_place() {
        let numbers = Rc::new(Numbers::new(7));
        let first = numbers.take().unwrap();
        assert_eq!(first.value, 7000);
        let slots = u64::from(ONCE_SLOTS);
        // One that takes long keeps its place, and nobody else's.
        for number in 1..3 * slots {
            let next = numbers.take().unwrap();
            assert_ne!(place(next.value), place(first.value));
            assert!(next.value >= 7000 + number);
        }
        let others: Vec<_> = (1..slots).map(|_| numbers.take().unwrap()).collect();
        assert!(numbers.take().is_none(), "every place is taken");
        drop(first);
        assert_eq!(place(numbers.take().unwrap().value), place(7000));
        drop(others);
        // Of 1..=n an earlier process has left the last ones in the places.
        numbers.catch_up(1_000_000);
        assert_eq!(numbers.take().unwrap().value, 1_000_000 + slots);
        numbers.catch_up(5);
        assert_eq!(numbers.take().unwrap().value, 1_000_001 + slots);
    }
}
