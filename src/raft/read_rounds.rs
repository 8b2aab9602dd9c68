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
use super::message_request::{encode_read_index, read_index};
use super::peers::Question;

/// A round: the leader asks a quorum, this node applies what it lacks.
const ROUND_LIMIT: Duration = Duration::from_secs(2);

/// Somebody who waits for a confirmation.
#[derive(Debug)]
pub(super) struct Reader {
    /// Where the confirmation goes.
    pub answer: oneshot::Sender<Result<(), ReadError>>,
    /// It is of no use after this.
    pub deadline: Instant,
    /// Whether it waits until then even where a quorum has long been lost: a node that
    /// stood still for a while has lost nothing.
    pub is_patient: bool,
}

/// The readers of this node. Lives on the raft core.
#[derive(Debug, Default)]
pub(super) struct ReadRounds {
    waiting: RefCell<Vec<Reader>>,
    is_out: Cell<bool>,
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
        let is_confirmed = round(&core).await;
        if is_confirmed {
            core.mark.confirm(began);
            pauses = Pauses::default();
            for reader in readers {
                // The reader may be gone; nobody else wants the answer.
                let _ = reader.answer.send(Ok(()));
            }
            continue;
        }
        // An election is waited out, a quorum that has long been lost is not.
        let is_hopeless = core.is_cut_off(core.options.read_timeout);
        let now = clock.now();
        for reader in readers {
            if (is_hopeless && !reader.is_patient) || reader.deadline <= now {
                let _ = reader.answer.send(Err(ReadError::Unavailable));
            } else {
                rounds.waiting.borrow_mut().push(reader);
            }
        }
        core.leader_changed(pauses.next(ROUND_LIMIT)).await;
    }
}

/// Confirms the leader with a quorum, and waits until everything committed by
/// then is applied here.
async fn round(core: &Core) -> bool {
    core.options.metrics.journal.read_rounds.count();
    let index = match core.route() {
        Route::Here => confirmed_index(core).await,
        Route::Leader(leader) => {
            let question = Question {
                service: Service::ReadIndex,
                payload: encode_read_index(),
                limit: ROUND_LIMIT,
            };
            let asked = core.peers.ask(leader, question, read_index);
            asked.await.map_err(|error| {
                tracing::debug!(leader, %error, "the leader gave no read index");
            })
        }
        Route::Nobody | Route::Stopped => Err(()),
    };
    match index {
        Ok(index) => core.machine.wait_applied(index, ROUND_LIMIT).await,
        Err(()) => false,
    }
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
