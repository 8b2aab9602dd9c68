//! Barriers: a delete is acknowledged when no node that reaches a quorum serves what
//! it deleted. Why a node could is in `mark`.
//!
//! The leader knows which nodes were given a read index lately (`grants`). It asks
//! each of them and all others that it hears of, all at once, to answer when the entry
//! is applied there or nothing older is trusted; one that does not answer is outlasted,
//! until what it was given is too old to be trusted. So a delete takes a round trip
//! more, however far a node lags, and about a second, once, when one does not answer
//! that was in use just before. That one gets no read index until it answers, for it may
//! ask on where only the way to it is broken, and every delete would have to outlast it.
//!
//! Who gives a read index later gives a newer one: a later leader has the entry, and an
//! earlier one gets no quorum to confirm any. A node that the leader never gave any has
//! nothing to trust. And when no leader answers, the time since the commit is enough.
//!
//! One round is under way on a node at a time; who comes meanwhile shares the next.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use openraft::ServerState;
use openraft::async_runtime::WatchReceiver as _;
use tokio::sync::oneshot;

use crate::peer::Service;
use crate::runtime;

use super::carry::Pauses;
use super::core::{Core, Route};
use super::mark::MARK_END;
use super::message_request::ClusterRequest;
use super::peers::{AskError, Question};

/// An entry that is committed is applied by then on a node that keeps up.
const APPLY_WAIT: Duration = Duration::from_millis(200);
/// A node that was given nothing may trust nothing: it is told all the same, in case that
/// it serves without a quorum, and waited for no longer than this.
const COURTESY: Duration = Duration::from_millis(100);
/// A node that does not answer for so long does not hear: twice what one may take that
/// lags, and some round trips.
const DEAF_AFTER: Duration = Duration::from_millis(500);
const _: () = assert!(DEAF_AFTER.as_millis() >= 2 * APPLY_WAIT.as_millis());

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
        let newest = waiting.iter().map(|barrier| barrier.index).max();
        let (Some(index), false) = (newest, matches!(core.route(), Route::Stopped)) else {
            // Where consensus has ended, whoever waits is told by what is dropped here.
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
    let Some(term) = leading_term(core, index).await else {
        return false;
    };
    // It serves as well.
    see(core, index).await;
    let outstanding = core.grants.outstanding(term, core.clock.now());
    let near = near(core).into_iter();
    let mut nodes: BTreeMap<u64, Option<Instant>> = near.map(|node| (node, None)).collect();
    nodes.extend(
        outstanding
            .nodes
            .into_iter()
            .map(|(node, until)| (node, Some(until))),
    );
    let seen = nodes
        .into_iter()
        .map(|(node, until)| outlast(core, node, index, until));
    join_all(seen).await;
    if let Some(until) = outstanding.any_until {
        runtime::sleep(core.time_left(until)).await;
    }
    true
}

/// The other nodes that this one hears of, and that hear it.
fn near(core: &Core) -> Vec<u64> {
    let metrics = core.raft.metrics();
    let seen = metrics.borrow_watched();
    let nodes = seen.membership_config.membership().nodes();
    let others = nodes
        .map(|(node, _)| *node)
        .filter(|node| *node != core.peers.me());
    let hears = |node: &u64| core.peers.is_near(*node) && !core.peers.is_deaf(*node);
    others.filter(hears).collect()
}

/// Returns when a node sees the entry, or trusts no older state any more: it may until
/// the time that is given.
async fn outlast(core: &Core, node: u64, index: u64, until: Option<Instant>) {
    let limit = until.map_or(COURTESY, |until| core.time_left(until));
    let question = Question {
        service: Service::Cluster,
        payload: ClusterRequest::Seen { index }.encode(),
        limit,
    };
    if let Err(error) = core.peers.ask(node, question, |_| Ok(())).await {
        tracing::debug!(node, %error, "a node is outlasted by a delete");
        let is_waited_for = limit >= DEAF_AFTER || !matches!(error, AskError::TimedOut);
        if until.is_some() && error.is_unheard() && is_waited_for {
            core.peers.find_deaf(node);
        }
        runtime::sleep(until.map_or(Duration::ZERO, |until| core.time_left(until))).await;
    }
}

/// Returns when this node serves nothing any more that the entry deleted: when it is
/// applied, or soon, and then what is applied is not trusted until a round says so.
pub(super) async fn see(core: &Core, index: u64) {
    if !core.machine.wait_applied(index, APPLY_WAIT).await {
        core.mark.revoke(core.clock.now(), index);
    }
}

/// The term in which this node leads and knows the entry as committed, by the word of
/// consensus itself: what it publishes may be a moment old. One that was deposed and has
/// not heard of it yet knows of no such entry.
async fn leading_term(core: &Core, index: u64) -> Option<u64> {
    let asked = core.raft.with_raft_state(move |state| {
        let leads = state.server_state == ServerState::Leader;
        let has = state.local_committed().is_some_and(|id| id.index >= index);
        (leads && has).then(|| state.vote_ref().leader_id.term)
    });
    asked.await.ok()?
}
