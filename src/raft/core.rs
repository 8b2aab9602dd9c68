//! The raft core: takes what shards ask for and keeps consensus going.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use openraft::ServerState;
use openraft::async_runtime::WatchReceiver;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::base::Clock;
use crate::base::limits::WAITING_PROPOSALS_MAX;
use crate::journal::Journal;
use crate::runtime::{self, InFlight};

use super::barrier::{Barrier, Barriers};
use super::belonging::{Told, belong};
use super::candidates::{self, follow};
use super::carry::{self, Numbers};
use super::catching_up::CatchingUp;
use super::grants::Grants;
use super::handle::Handle;
use super::hearsay::{Asked, Hearsay};
use super::identity::Identity;
use super::keeper::keep;
use super::log_store::LogStore;
use super::mark::Mark;
use super::members::{Members, MembersError};
use super::membership;
use super::observer::observe;
use super::options::Options;
use super::peers::Peers;
use super::proposal::{ProposeError, Submitted};
use super::read_rounds::{ReadRounds, Reader};
use super::snapshot_receive::SnapshotReceiver;
use super::snapshot_send::Needed;
use super::stall::watch_journal;
use super::start::{HEARTBEAT_MS, QUORUM_LOSS_MS};
use super::state_machine::StateMachine;
use super::status::Status;
use super::steward::tend;
use super::types::Raft;

/// Requests other than proposals that may wait: one per shard and some more.
const OTHER_REQUESTS_MAX: usize = 1024;
/// A leader that ends waits this long for the next one, and for what it has
/// appended itself.
const HAND_OVER_LIMIT: Duration = Duration::from_secs(2);
const HAND_OVER_LOOK_PERIOD: Duration = Duration::from_millis(50);
/// A leader that no quorum answers for so long proposes nothing.
const QUORUM_LOST_AFTER: Duration = Duration::from_millis(QUORUM_LOSS_MS);
/// After that it stays for two heartbeats of the next leader: then every node knows
/// whom to ask, and no change meets a node that ends in the middle of it.
const HAND_OVER_STAY: Duration = Duration::from_millis(2 * HEARTBEAT_MS);

/// What a handle asks the core for.
#[derive(Debug)]
pub(super) enum Request {
    /// Put a change into the log.
    Propose(Submitted),
    /// Confirm that what is applied here by then is the newest.
    ReadIndex(Reader),
    /// Say when no node serves what an entry deleted.
    Barrier(Barrier),
    /// Say who belongs to the cluster, as the leader knows it.
    Members(oneshot::Sender<Result<Members, MembersError>>),
    /// Hand leadership over, to anybody when nobody is named.
    Transfer(Option<u64>, oneshot::Sender<Result<(), MembersError>>),
    /// Give a node its vote whatever blobs it lacks.
    Promote(u64, oneshot::Sender<Result<(), MembersError>>),
    /// End, with everything on disk.
    Shutdown(oneshot::Sender<()>),
}

/// Where a proposal or a read index is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// On this node: it leads.
    Here,
    /// On this node, as far as is known here.
    Leader(u64),
    /// There is no leader.
    Nobody,
    /// Consensus has ended on this node.
    Stopped,
}

/// Everything of consensus that never leaves its executor.
pub(super) struct Core {
    pub raft: Raft,
    pub log: LogStore,
    pub machine: StateMachine,
    pub peers: Rc<Peers>,
    pub receiver: SnapshotReceiver,
    pub needed: Rc<Needed>,
    pub reads: ReadRounds,
    pub barriers: Barriers,
    /// Whom this node gave a read index lately.
    pub grants: Rc<Grants>,
    /// How new the state is; read by every shard.
    pub mark: Arc<Mark>,
    pub options: Options,
    /// Told when the membership may not be what the state wishes.
    pub wishes: Rc<Notify>,
    /// How far nodes are that are to vote, while this one leads …
    pub catching_up: RefCell<CatchingUp>,
    /// … and told when some of them are to be asked.
    pub candidates: Notify,
    pub journal: Journal,
    pub clock: Clock,
    pub started_at: Instant,
    /// Changes of other nodes that are being proposed here.
    pub proposals: InFlight,
    /// Numbers of changes of this node that take effect once.
    pub numbers: Rc<Numbers>,
    /// Set when this node ends: it takes no more of them, since it may not answer.
    pub is_ending: Cell<bool>,
    /// Who leads, as another node says, while no leader speaks to this one.
    pub hearsay: Hearsay,
    status: watch::Receiver<Status>,
}

/// What the core is made of.
pub(super) struct Parts {
    pub raft: Raft,
    pub log: LogStore,
    pub machine: StateMachine,
    pub peers: Rc<Peers>,
    pub receiver: SnapshotReceiver,
    pub needed: Rc<Needed>,
    pub journal: Journal,
    pub options: Options,
}

impl Core {
    /// Starts the core's tasks and returns it with the handle to them.
    pub(super) fn spawn(parts: Parts, told: Told) -> (Handle, Rc<Self>) {
        let (requests, asked) = mpsc::channel(WAITING_PROPOSALS_MAX + OTHER_REQUESTS_MAX);
        let status = Status::of(&parts.raft.metrics().borrow_watched());
        let (status, statuses) = watch::channel(status);
        let (members, memberships) = watch::channel(Arc::new(Members::default()));
        let clock = Clock::system();
        let core = Rc::new(Self {
            wishes: parts.machine.wishes(),
            raft: parts.raft,
            log: parts.log,
            machine: parts.machine,
            peers: parts.peers,
            receiver: parts.receiver,
            needed: parts.needed,
            reads: ReadRounds::default(),
            barriers: Barriers::default(),
            grants: Rc::default(),
            mark: Arc::new(Mark::new(clock.now())),
            options: parts.options,
            catching_up: RefCell::default(),
            candidates: Notify::new(),
            journal: parts.journal,
            started_at: clock.now(),
            proposals: InFlight::new(),
            numbers: Rc::new(Numbers::new(clock.unix_ms())),
            is_ending: Cell::new(false),
            hearsay: Hearsay::default(),
            clock,
            status: statuses.clone(),
        });
        let published = core.machine.published();
        let watched = (statuses, memberships);
        let known = (&core.options, &core.mark);
        let handle = Handle::new(requests, published, watched, known);
        runtime::spawn(observe(Rc::clone(&core), status, members)).detach();
        let tasks = [
            runtime::spawn(keep(Rc::clone(&core))),
            runtime::spawn(tend(Rc::clone(&core))),
            runtime::spawn(follow(Rc::clone(&core))),
            runtime::spawn(watch_journal(Rc::clone(&core))),
            runtime::spawn(belong(Rc::clone(&core), told)),
        ];
        let serving = Rc::clone(&core);
        let serving = async move {
            let mut asked = asked;
            let ended = serving.serve(&mut asked).await;
            drop(tasks);
            serving.end(ended).await;
            // `Handle::closed` returns with this, and the executor may end then.
            drop(asked);
        };
        runtime::spawn(serving).detach();
        (handle, core)
    }

    /// Serves until somebody asks for the end, or this node was removed; says
    /// whom to tell.
    async fn serve(
        self: &Rc<Self>,
        asked: &mut mpsc::Receiver<Request>,
    ) -> Option<oneshot::Sender<()>> {
        let mut removal = self.peers.removal();
        loop {
            let removed = async {
                drop(removal.wait_for(|is_removed| *is_removed).await);
                tracing::warn!(
                    node = self.peers.me(),
                    "this node was removed from the cluster and ends; \
                     it comes back with an empty data directory only"
                );
                None
            };
            match futures_lite::future::or(asked.recv(), removed).await {
                Some(Request::Propose(submitted)) => carry::propose(self, submitted).await,
                Some(Request::ReadIndex(reader)) => ReadRounds::join(self, reader),
                Some(Request::Barrier(barrier)) => Barriers::join(self, barrier),
                Some(Request::Members(answer)) => {
                    let core = Rc::clone(self);
                    let asking = async move { answer.send(membership::members(&core).await) };
                    runtime::spawn(async move { drop(asking.await) }).detach();
                }
                Some(Request::Transfer(to, answer)) => {
                    let core = Rc::clone(self);
                    let asking = async move { answer.send(membership::transfer(&core, to).await) };
                    runtime::spawn(async move { drop(asking.await) }).detach();
                }
                Some(Request::Promote(node, answer)) => {
                    let core = Rc::clone(self);
                    let asking = async move { answer.send(candidates::promote(&core, node).await) };
                    runtime::spawn(async move { drop(asking.await) }).detach();
                }
                // What still waits is dropped with the receiver: not proposed.
                Some(Request::Shutdown(ended)) => return Some(ended),
                None => return None,
            }
        }
    }

    /// Where changes and read indexes are decided now.
    pub(super) fn route(&self) -> Route {
        let metrics = self.raft.metrics();
        let seen = metrics.borrow_watched();
        if seen.running_state.is_err() {
            return Route::Stopped;
        }
        if seen.state == ServerState::Leader {
            return Route::Here;
        }
        let told = self.hearsay.leader(seen.current_term);
        match told.or(seen.current_leader) {
            Some(leader) if leader != seen.id => Route::Leader(leader),
            Some(_) | None => Route::Nobody,
        }
    }

    /// Whether nodes other than this one vote.
    pub(super) fn has_others(&self) -> bool {
        let metrics = self.raft.metrics();
        let seen = metrics.borrow_watched();
        let mut voters = seen.membership_config.voter_ids();
        voters.any(|voter| voter != self.peers.me())
    }

    /// Whether this node leads and could commit: what a leader without a quorum puts into
    /// its log may be committed an hour later, long after it was given up.
    pub(super) fn could_commit(&self) -> bool {
        matches!(self.route(), Route::Here)
            && !(self.has_others() && self.is_cut_off(QUORUM_LOST_AFTER))
    }

    /// Begins a question to another node about who leads.
    pub(super) fn ask_about_leader(&self) -> Asked {
        let metrics = self.raft.metrics();
        self.hearsay.ask(metrics.borrow_watched().current_term)
    }

    /// Whether this node has caught up since its start.
    pub(super) fn is_recovered(&self) -> bool {
        self.status.borrow().is_recovered
    }

    /// Index of the last entry that is applied here.
    pub(super) fn applied_index(&self) -> u64 {
        self.status.borrow().applied_index.unwrap_or_default()
    }

    /// Whether entries that are known as committed wait to be applied here.
    pub(super) fn lags(&self) -> bool {
        let metrics = self.raft.metrics();
        let seen = metrics.borrow_watched();
        seen.last_applied < seen.local_committed
    }

    /// Time until a deadline.
    pub(super) fn time_left(&self, deadline: Instant) -> Duration {
        deadline.saturating_duration_since(self.clock.now())
    }

    /// Waits until another node leads, or this one does, or `limit` is over.
    pub(super) async fn leader_changed(&self, limit: Duration) {
        let mut status = self.status.clone();
        let before = status.borrow_and_update().leadership();
        let changed = status.wait_for(|status| status.leadership() != before);
        // Whatever happened, the caller looks again.
        drop(runtime::timeout(limit, changed).await);
    }

    /// Why a change that was held was not proposed.
    pub(super) fn why_no_leader(&self) -> ProposeError {
        let metrics = self.raft.metrics();
        let seen = metrics.borrow_watched();
        let is_near = self
            .peers
            .reaches_quorum(seen.membership_config.voter_ids());
        if seen.running_state.is_ok() && is_near {
            ProposeError::NoLeader
        } else {
            ProposeError::Unavailable
        }
    }

    /// Whether this node has not been in contact with a leader, or as a leader
    /// with a quorum, for longer than `limit`. Who leads since just now has heard of the
    /// leader before, and who leads no more had a quorum until then.
    pub(super) fn is_cut_off(&self, limit: Duration) -> bool {
        let metrics = self.raft.metrics();
        let seen = metrics.borrow_watched();
        let since_start = self.clock.now().saturating_duration_since(self.started_at);
        let acked = seen.last_quorum_acked.as_ref().map(|at| at.elapsed());
        let silence = acked.into_iter().chain(self.peers.unled_for()).min();
        seen.running_state.is_err() || silence.unwrap_or(since_start) > limit
    }

    /// The voter that is best able to lead in place of this node.
    pub(super) fn successor(&self) -> Option<u64> {
        let metrics = self.raft.metrics();
        let seen = metrics.borrow_watched();
        membership::successor(&seen, |node| self.peers.is_near(node))
    }

    /// Ends consensus, syncs and closes the journal.
    async fn end(&self, told: Option<oneshot::Sender<()>>) {
        if *self.peers.removal().borrow()
            && let Err(error) = Identity::mark_removed(&self.options.data_directory)
        {
            // Then the next start learns it again from the others.
            tracing::warn!(%error, "the removal of this node was not noted");
        }
        self.is_ending.set(true);
        self.hand_over().await;
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "raft did not end in order");
        }
        if let Err(error) = self.close().await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the journal did not close in order"
            );
        }
        if let Some(told) = told {
            // Whoever asked may be gone; the end is the same.
            let _ = told.send(());
        }
    }

    /// A leader that ends lets another node lead first, so that nobody waits for
    /// an election, and learns what became of its last entries.
    async fn hand_over(&self) {
        let Some(successor) = self.successor() else {
            return;
        };
        if self
            .raft
            .trigger()
            .transfer_leader(successor)
            .await
            .is_err()
        {
            return;
        }
        let deadline = self.clock.now() + HAND_OVER_LIMIT;
        // It may be ending, too; then it says so by not being there.
        while self.status.borrow().is_leader()
            && self.peers.is_near(successor)
            && !self.time_left(deadline).is_zero()
        {
            self.leader_changed(HAND_OVER_LOOK_PERIOD).await;
        }
        // What other nodes had proposed here until then is committed by the next leader,
        // and answered from here: without an answer they would not know.
        let last_index = self.raft.metrics().borrow_watched().last_log_index;
        let left = self.time_left(deadline);
        self.machine
            .wait_applied(last_index.unwrap_or(0), left)
            .await;
        let left = self.time_left(deadline);
        if runtime::timeout(left, self.proposals.wait_zero())
            .await
            .is_err()
        {
            tracing::warn!("changes of other nodes were not answered before the end");
        }
        runtime::sleep(HAND_OVER_STAY).await;
    }

    async fn close(&self) -> std::io::Result<()> {
        let journal = &self.journal;
        self.log
            .save_committed_now()
            .await
            .map_err(std::io::Error::other)?;
        self.machine.persist().await?;
        let (sender, closed) = oneshot::channel();
        let done = Box::new(move |outcome| drop(sender.send(outcome)));
        journal.close(done).await.map_err(std::io::Error::other)?;
        let outcome = closed.await.map_err(std::io::Error::other)?;
        outcome.map_err(std::io::Error::other)
    }
}
