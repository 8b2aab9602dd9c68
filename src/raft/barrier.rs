//! Barriers: a delete is acknowledged when no node that reaches a quorum serves what
//! it deleted. Why a node could is in `mark`.
//!
//! The leader knows which nodes were given a read index lately (`grants`). It asks
//! each of them, all at once, to answer when the entry is applied there; one that does
//! not answer is outlasted, until what it was given is too old to be trusted. So a
//! delete takes a round trip more where nodes are in use, nothing more where they are
//! idle, and about a second while one does not answer that was in use just before.
//!
//! Who gives a read index later gives a newer one: a later leader has the entry, and an
//! earlier one gets no quorum to confirm any. A node that the leader never gave any has
//! nothing to trust. And when no leader answers, the time since the commit is enough.
//!
//! One round is under way on a node at a time; who comes meanwhile shares the next.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use futures_util::future::join_all;
use openraft::ServerState;
use tokio::sync::oneshot;

use crate::peer::Service;
use crate::runtime;

use super::carry::Pauses;
use super::core::{Core, Route};
use super::mark::MARK_END;
use super::message_request::ClusterRequest;
use super::peers::Question;

/// Somebody waits behind it until every node sees an entry.
#[derive(Debug)]
pub(super) struct Barrier {
    /// Index of the entry, which is committed.
    pub index: u64,
    /// Then it needs no answer any more.
    pub deadline: Instant,
    /// Whether another leader may be sought: for another node that one does it itself.
    pub is_own: bool,
    /// Told whether every node sees it.
    pub answer: oneshot::Sender<bool>,
}

/// All those of this node. Lives on the raft core.
#[derive(Debug, Default)]
pub(super) struct Barriers {
    waiting: RefCell<Vec<Barrier>>,
    is_out: Cell<bool>,
}

impl Barriers {
    /// Takes one more, and starts a round unless one is under way.
    pub(super) fn join(core: &Rc<Core>, barrier: Barrier) {
        let barriers = &core.barriers;
        barriers.waiting.borrow_mut().push(barrier);
        if !barriers.is_out.replace(true) {
            runtime::spawn(run(Rc::clone(core))).detach();
        }
    }
}

/// Makes rounds until nobody waits.
async fn run(core: Rc<Core>) {
    let mut pauses = Pauses::default();
    loop {
        let waiting = core.barriers.waiting.take();
        let Some(index) = waiting.iter().map(|barrier| barrier.index).max() else {
            core.barriers.is_out.set(false);
            return;
        };
        let is_seen = round(&core, index).await;
        for barrier in waiting {
            let is_over = core.time_left(barrier.deadline).is_zero();
            if is_seen || is_over || !barrier.is_own {
                // Whoever asked may be gone; nobody else wants the answer.
                let _ = barrier.answer.send(is_seen);
            } else {
                core.barriers.waiting.borrow_mut().push(barrier);
            }
        }
        if is_seen {
            pauses = Pauses::default();
        } else {
            core.leader_changed(pauses.next(MARK_END)).await;
        }
    }
}

/// Whether every node sees the entry.
async fn round(core: &Core, index: u64) -> bool {
    match core.route() {
        Route::Here => see_off(core, index).await,
        Route::Leader(leader) => {
            let question = Question {
                service: Service::Cluster,
                payload: ClusterRequest::Barrier { index }.encode(),
                limit: MARK_END,
            };
            let asked = core.peers.ask(leader, question, |_| Ok(())).await;
            if let Err(error) = &asked {
                tracing::debug!(leader, %error, "the leader does not say who lags");
            }
            asked.is_ok()
        }
        Route::Nobody | Route::Stopped => false,
    }
}

/// As [`round`], on the leader.
async fn see_off(core: &Core, index: u64) -> bool {
    // It serves as well; and only an entry that it has is older than what it gives.
    if !core.machine.wait_applied(index, MARK_END).await {
        return false;
    }
    let Some(term) = leading_term(core).await else {
        return false;
    };
    let outstanding = core.grants.outstanding(term, core.clock.now());
    let nodes = outstanding.nodes.into_iter();
    let seen = nodes.map(|(node, until)| outlast(core, node, index, until));
    join_all(seen).await;
    if let Some(until) = outstanding.any_until {
        runtime::sleep(core.time_left(until)).await;
    }
    true
}

/// Returns when a node has applied the entry, or trusts no older state any more.
async fn outlast(core: &Core, node: u64, index: u64, until: Instant) {
    let question = Question {
        service: Service::Cluster,
        payload: ClusterRequest::Seen { index }.encode(),
        limit: core.time_left(until),
    };
    if let Err(error) = core.peers.ask(node, question, |_| Ok(())).await {
        tracing::debug!(node, %error, "a node is outlasted by a delete");
        runtime::sleep(core.time_left(until)).await;
    }
}

/// The term in which this node leads, by the word of consensus itself: what it publishes
/// may be a moment old.
async fn leading_term(core: &Core) -> Option<u64> {
    let asked = core.raft.with_raft_state(|state| {
        let leads = state.server_state == ServerState::Leader;
        leads.then(|| state.vote_ref().leader_id.term)
    });
    asked.await.ok()?
}
