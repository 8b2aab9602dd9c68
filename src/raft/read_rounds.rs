//! Read indexes: one round at a time confirms for everybody who waited when it
//! began. Whoever asks while a round is out waits for the next one.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use openraft::ReadPolicy;
use tokio::sync::oneshot;

use crate::base::Clock;
use crate::peer::Service;
use crate::runtime;

use super::carry::Pauses;
use super::core::{Core, Route};
use super::handle::ReadError;
use super::message_request::{WITHHELD_ID, encode_read_index, read_index};
use super::peers::{AskError, Question};
use super::reply::Denial;
use super::start::HEARTBEAT_MS;

/// A round: the leader asks a quorum, this node applies what it lacks.
const ROUND_LIMIT: Duration = Duration::from_secs(2);
/// A quorum of which nothing was seen for so long is lost: ten heartbeats, in which a
/// leader finds a node that had been away.
const LOST_AFTER: Duration = Duration::from_millis(10 * HEARTBEAT_MS);

/// Rounds further apart than this do not follow each other.
const GAP_MAX: Duration = Duration::from_secs(1);

/// Somebody who waits for a confirmation.
#[derive(Debug)]
pub(super) struct Reader {
    /// Where the confirmation goes.
    pub answer: oneshot::Sender<Result<(), ReadError>>,
    /// It is of no use after this.
    pub deadline: Instant,
}

/// The readers of this node. Lives on the raft core.
#[derive(Debug, Default)]
pub(super) struct ReadRounds {
    waiting: RefCell<Vec<Reader>>,
    is_out: Cell<bool>,
    missed: Missed,
}

/// Since when nothing shows that there is a quorum.
#[derive(Debug, Default)]
struct Missed {
    /// When the first round began of those that did not find it, one after the other.
    since: Cell<Option<Instant>>,
    /// When the last one of them ended.
    until: Cell<Option<Instant>>,
    /// When a leader said something new, which one without a quorum has not.
    news_at: Cell<Option<Instant>>,
}

impl Missed {
    /// Notes a round that missed it, from when to when; says whether it is lost.
    fn is_lost(&self, began: Instant, now: Instant) -> bool {
        let is_next = |until: Instant| began.saturating_duration_since(until) < GAP_MAX;
        let since = self
            .since
            .get()
            .filter(|_| self.until.get().is_some_and(is_next));
        let since = since.unwrap_or(began);
        let since = self.news_at.get().map_or(since, |at| at.max(since));
        // A process that stood still has seen nothing in all that time.
        let stood_still = now.saturating_duration_since(began) > ROUND_LIMIT + GAP_MAX;
        let since = if stood_still { now } else { since };
        self.since.set(Some(since));
        self.until.set(Some(now));
        now.saturating_duration_since(since) >= LOST_AFTER
    }
}

/// How a round ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Everything committed when it began is applied here.
    Confirmed,
    /// A quorum was found, and this node lags behind it.
    Behind,
    /// No quorum was found.
    Missed,
}

impl ReadRounds {
    /// Takes a reader, and starts a round unless one is out.
    pub(super) fn join(core: &Rc<Core>, reader: Reader) {
        let rounds = &core.reads;
        rounds.waiting.borrow_mut().push(reader);
        if !rounds.is_out.replace(true) {
            runtime::spawn(run(Rc::clone(core))).detach();
        }
    }

    /// Notes that a leader said something new.
    pub(super) fn hear_news(core: &Core) {
        core.reads.missed.news_at.set(Some(core.clock.now()));
        core.mark.end_excuse();
    }
}

/// Makes rounds until nobody waits.
async fn run(core: Rc<Core>) {
    let rounds = &core.reads;
    let clock = Clock::system();
    let mut pauses = Pauses::default();
    loop {
        let readers = rounds.waiting.take();
        if readers.is_empty() {
            rounds.is_out.set(false);
            return;
        }
        let began = clock.now();
        let end = round(&core).await;
        if end == End::Confirmed {
            core.mark.confirm(began, core.applied_index());
            rounds.missed.since.set(None);
            pauses = Pauses::default();
            for reader in readers {
                // The reader may be gone; nobody else wants the answer.
                let _ = reader.answer.send(Ok(()));
            }
            continue;
        }
        // What came in meanwhile is looked at before anything is made of it: a process
        // that was stopped finds its timers at their end and a leader at the door.
        core.leader_changed(pauses.next(ROUND_LIMIT)).await;
        let now = clock.now();
        if end == End::Behind || core.lags() {
            rounds.missed.since.set(None);
        } else if rounds.missed.is_lost(began, now) {
            core.mark.excuse(now);
        }
        // An election is waited out, a quorum that has long been lost is not.
        let is_hopeless = core.is_cut_off(core.options.read_timeout);
        for reader in readers {
            if is_hopeless || reader.deadline <= now {
                let _ = reader.answer.send(Err(ReadError::Unavailable));
            } else {
                rounds.waiting.borrow_mut().push(reader);
            }
        }
    }
}

/// Confirms the leader with a quorum, and waits until everything committed by
/// then is applied here.
async fn round(core: &Core) -> End {
    core.options.metrics.journal.read_rounds.count();
    let index = match core.route() {
        Route::Here => confirmed_index(core).await,
        Route::Leader(leader) => {
            // One that leads no more may never answer.
            let deposed = async {
                core.leader_changed(ROUND_LIMIT).await;
                Err(())
            };
            futures_lite::future::or(given_index(core, leader), deposed).await
        }
        Route::Nobody | Route::Stopped => Err(()),
    };
    let Ok(index) = index else {
        return End::Missed;
    };
    // There is a quorum.
    core.mark.end_excuse();
    if index == WITHHELD_ID {
        return End::Behind;
    }
    if core.machine.wait_applied(index, ROUND_LIMIT).await {
        End::Confirmed
    } else {
        End::Behind
    }
}

/// Index of what must be applied before a read, as the leader gives it; of the one that it
/// names when it leads no more.
async fn given_index(core: &Core, leader: u64) -> Result<u64, ()> {
    let ask = async |leader: u64| {
        let question = Question {
            service: Service::ReadIndex,
            payload: encode_read_index(),
            limit: ROUND_LIMIT,
        };
        let asked = core.peers.ask(leader, question, read_index).await;
        asked.inspect_err(|error| {
            tracing::debug!(leader, %error, "the leader gave no read index");
        })
    };
    let given = match ask(leader).await {
        Err(AskError::Denied(Denial::NotLeader { hint: Some(next) }))
            if next != leader && next != core.peers.me() =>
        {
            ask(next).await
        }
        given => given,
    };
    given.map_err(drop)
}

/// Index of what must be applied before a read, confirmed by a quorum. Only the
/// leader learns it.
async fn confirmed_index(core: &Core) -> Result<u64, ()> {
    let asked = core.raft.get_read_linearizer(ReadPolicy::ReadIndex);
    let confirmed = asked.await.map_err(|error| {
        tracing::debug!(%error, "no quorum confirms a read index");
    });
    Ok(confirmed?.read_log_id().index())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quorum_is_lost_when_it_was_missed_for_long_and_no_leader_brought_news() {
        let start = Clock::system().now();
        let at = |ms| start + Duration::from_millis(ms);
        let missed = Missed::default();
        assert!(!missed.is_lost(at(0), at(10)));
        assert!(!missed.is_lost(at(800), at(999)));
        assert!(missed.is_lost(at(900), at(1000)));
        // A round that was stuck while a leader came.
        missed.news_at.set(Some(at(1500)));
        assert!(!missed.is_lost(at(1010), at(2499)));
        assert!(missed.is_lost(at(2490), at(2500)));
        missed.since.set(None);
        assert!(!missed.is_lost(at(2510), at(3500)));
        assert!(missed.is_lost(at(3510), at(3520)));
        // Nobody tried for a while.
        assert!(!missed.is_lost(at(4520), at(4530)));
        assert!(!missed.is_lost(at(5000), at(5510)));
        assert!(missed.is_lost(at(5510), at(5520)));
        // It was stopped in the middle of a round.
        assert!(!missed.is_lost(at(5530), at(9000)));
        assert!(!missed.is_lost(at(9010), at(9990)));
        assert!(missed.is_lost(at(9990), at(10_000)));
    }
}
