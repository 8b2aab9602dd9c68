//! Consensus as a shard sees it: propose, read, ask for the newest.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use crate::base::Clock;
use crate::base::limits::ENTRY_BYTES_MAX;
use crate::base::units::to_usize;
use crate::journal::Generation;
use crate::metadata::{Command, Outcome, Proposal, Repeat};
use crate::runtime;
use crate::telemetry::{Metrics, ProposalEnd};

use super::barrier::Barrier;
use super::core::Request;
use super::mark::{MARK_END, Mark, Standing, TURN};
use super::members::{Members, MembersError};
use super::options::Options;
use super::proposal::{Committed, ProposeError, Submitted, Waiter, Waiting};
use super::read_rounds::Reader;
use super::status::Status;
use super::view::StateView;

/// Beyond the time that the raft core gives a proposal: its answer comes first.
const ANSWER_SLACK: Duration = Duration::from_millis(500);

/// Handle of consensus. Made by [`super::start`], cloned to every shard; its
/// methods run on the executor that calls them.
#[derive(Clone)]
pub struct Handle(Arc<Shared>);

struct Shared {
    requests: mpsc::Sender<Request>,
    generation: watch::Receiver<Generation>,
    status: watch::Receiver<Status>,
    memberships: watch::Receiver<Arc<Members>>,
    waiting: Waiting,
    mark: Arc<Mark>,
    propose_timeout: Duration,
    read_timeout: Duration,
    metrics: Arc<Metrics>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

/// Why a read cannot be shown to see the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No leader confirmed it; answered 503.
    #[error("no quorum confirms what is newest")]
    Unavailable,
}

impl Handle {
    pub(super) fn new(
        requests: mpsc::Sender<Request>,
        generation: watch::Receiver<Generation>,
        (status, memberships): (watch::Receiver<Status>, watch::Receiver<Arc<Members>>),
        (options, mark): (&Options, &Arc<Mark>),
    ) -> Self {
        Self(Arc::new(Shared {
            requests,
            generation,
            status,
            memberships,
            waiting: Waiting::new(Arc::clone(&options.metrics)),
            mark: Arc::clone(mark),
            propose_timeout: options.propose_timeout,
            read_timeout: options.read_timeout,
            metrics: Arc::clone(&options.metrics),
        }))
    }

    /// Commits a change and returns what applying it said.
    ///
    /// It is durable on a majority and visible to every [`Handle::view`] taken on
    /// this node after this returns, whichever node leads. Changes proposed at the
    /// same time share one sync. A change that meets an election is held.
    ///
    /// - Errors: after `TimedOut` the change may or may not be applied, now or
    ///   later, and repeating is safe; after every other error it is not proposed.
    /// - Cancel: as after `TimedOut`.
    pub async fn propose(&self, command: Command) -> Result<Outcome, ProposeError> {
        Ok(self.commit(command).await?.outcome)
    }

    /// As [`Handle::propose`], and says which entry it was.
    pub async fn commit(&self, command: Command) -> Result<Committed, ProposeError> {
        let clock = Clock::system();
        self.commit_at(command, clock.unix_ms()).await
    }

    /// As [`Handle::propose`], with a time of the caller's choice in
    /// milliseconds since the Unix epoch.
    pub async fn propose_at(
        &self,
        command: Command,
        time_ms: u64,
    ) -> Result<Outcome, ProposeError> {
        Ok(self.commit_at(command, time_ms).await?.outcome)
    }

    async fn commit_at(&self, command: Command, time_ms: u64) -> Result<Committed, ProposeError> {
        let clock = Clock::system();
        let started = clock.now();
        let repeat = command.repeat();
        let change = Bytes::from(Proposal { time_ms, command }.encode());
        let outcome = self.submit(change, repeat).await;
        let counted = &self.0.metrics.journal;
        counted.proposal_seconds.observe(clock.now() - started);
        counted.proposals.of(end_of(&outcome)).count();
        outcome
    }

    async fn submit(&self, change: Bytes, repeat: Repeat) -> Result<Committed, ProposeError> {
        if change.len() > to_usize(ENTRY_BYTES_MAX) {
            return Err(ProposeError::TooLarge {
                bytes: change.len(),
            });
        }
        let deadline = Clock::system().now() + self.0.propose_timeout;
        let mut place = self.0.waiting.enter().ok_or(ProposeError::Busy)?;
        let reserving = self.0.waiting.reserve(&mut place, change.len());
        let reserved = runtime::timeout(self.0.propose_timeout, reserving).await;
        reserved.map_err(|_| ProposeError::Busy)?;
        let (waiter, answered) = Waiter::new(Some(place));
        let request = Request::Propose(Submitted {
            change,
            deadline,
            repeat,
            waiter,
        });
        self.0
            .requests
            .try_send(request)
            .map_err(|refused| match refused {
                mpsc::error::TrySendError::Full(_) => ProposeError::Busy,
                mpsc::error::TrySendError::Closed(_) => ProposeError::Unavailable,
            })?;
        let left = deadline.saturating_duration_since(Clock::system().now());
        match runtime::timeout(left + ANSWER_SLACK, answered).await {
            Ok(Ok(outcome)) => outcome,
            // The core always answers, unless its executor is gone.
            Ok(Err(_)) | Err(_) => Err(ProposeError::TimedOut),
        }
    }

    /// Commits a change that changes nothing: shows that the journal works.
    pub async fn probe(&self) -> Result<(), ProposeError> {
        self.propose(Command::Probe).await.map(drop)
    }

    /// The state as of now, without a hop. Take it after [`Handle::read_index`]
    /// where the newest is promised.
    #[must_use]
    pub fn view(&self) -> StateView {
        StateView(self.0.generation.borrow().view())
    }

    /// Returns when every view taken from now on sees all that was acknowledged
    /// before, by any node. A sole voter knows that without asking anyone; on
    /// other nodes everybody who asks at the same time shares one round.
    ///
    /// - Errors: `Unavailable` when no quorum confirms it in the time that a read has.
    pub async fn read_index(&self) -> Result<(), ReadError> {
        self.read_index_by(self.read_deadline()).await
    }

    /// When a read that begins now is given up, however many waits it is made of.
    #[must_use]
    pub fn read_deadline(&self) -> Instant {
        Clock::system().now() + self.0.read_timeout
    }

    /// As [`Handle::read_index`], for a read that has waited before: until `deadline`.
    pub async fn read_index_by(&self, deadline: Instant) -> Result<(), ReadError> {
        if self.0.status.borrow().is_sole_leader() {
            return Ok(());
        }
        let (answer, answered) = oneshot::channel();
        let left = deadline.saturating_duration_since(Clock::system().now());
        let request = Request::ReadIndex(Reader { answer, deadline });
        let asked = self.0.requests.try_send(request);
        asked.map_err(|_| ReadError::Unavailable)?;
        match runtime::timeout(left, answered).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) | Err(_) => Err(ReadError::Unavailable),
        }
    }

    /// Whether a view taken from now on may serve what is named by digest, without
    /// asking anyone: nothing in it was deleted before, as far as a delete is
    /// acknowledged. Costs a look at the clock; [`Handle::refresh`] otherwise.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        let now = Clock::system().now();
        match self.0.mark.standing(now) {
            Standing::Trusted => true,
            Standing::Ageing => {
                self.ask_round(now);
                true
            }
            Standing::Unknown => self.0.status.borrow().is_sole_leader(),
        }
    }

    /// Waits for what [`Handle::is_fresh`] asks for, with everybody else who does. Says
    /// whether every view taken from now on sees all that was acknowledged before, as
    /// after [`Handle::read_index`]: if not, what is here may be served, and no more.
    ///
    /// - Errors: `Unavailable` when by `deadline` this node lags behind a quorum that it
    ///   reaches, or does not know yet that it reaches none.
    pub async fn refresh(&self, deadline: Instant) -> Result<bool, ReadError> {
        let clock = Clock::system();
        let mut moves = self.0.mark.moves();
        let since = clock.now();
        let mut now = since;
        while !self.is_fresh() {
            let left = deadline.saturating_duration_since(now);
            if left.is_zero() || !self.0.status.borrow().is_running {
                return Err(ReadError::Unavailable);
            }
            if self.0.mark.takes_turn(now) {
                self.ask_round(now);
            }
            // Whatever happened, it looks again.
            drop(runtime::timeout(left.min(TURN), moves.changed()).await);
            now = clock.now();
        }
        Ok(self.0.mark.is_confirmed_since(since))
    }

    /// Asks for a round that nobody waits for; a core that is busy is asked again soon.
    fn ask_round(&self, now: Instant) {
        let (answer, _) = oneshot::channel();
        let deadline = now + self.0.read_timeout;
        let request = Request::ReadIndex(Reader { answer, deadline });
        drop(self.0.requests.try_send(request));
    }

    /// Returns when no node that reaches a quorum serves, by digest, what the committed
    /// entry at `index` deleted: when all that could have applied it, or a second after.
    pub async fn seen_everywhere(&self, index: u64) {
        let clock = Clock::system();
        let deadline = clock.now() + MARK_END;
        let (answer, answered) = oneshot::channel();
        let request = Request::Barrier(Barrier {
            index,
            deadline,
            is_own: true,
            answer,
        });
        let asked = async {
            self.0.requests.send(request).await.ok()?;
            answered.await.ok()
        };
        if matches!(runtime::timeout(MARK_END, asked).await, Ok(Some(true))) {
            return;
        }
        let left = deadline.saturating_duration_since(clock.now());
        runtime::sleep(left).await;
    }

    /// Returns once this node has caught up with what was committed before its
    /// start, or after `limit`. Until then a local hit may be older than what
    /// this node itself served before.
    pub async fn recovered(&self, limit: Duration) -> bool {
        let mut status = self.0.status.clone();
        let recovered = status.wait_for(|status| status.is_recovered || !status.is_running);
        let outcome = runtime::timeout(limit, recovered).await;
        matches!(outcome, Ok(Ok(status)) if status.is_recovered)
    }

    /// Who belongs to the cluster and how far they are, as the leader knows it.
    ///
    /// - Errors: `NoLeader`; [`Handle::membership`] says what this node knows.
    pub async fn members(&self) -> Result<Members, MembersError> {
        let (answer, answered) = oneshot::channel();
        self.ask(Request::Members(answer), answered).await
    }

    /// Who belongs to the cluster, as far as this node knows.
    #[must_use]
    pub fn membership(&self) -> Arc<Members> {
        Arc::clone(&self.0.memberships.borrow())
    }

    /// Waits until the membership that this node knows is as wished.
    pub(super) async fn wait_for_membership(
        &self,
        limit: Duration,
        mut is_so: impl FnMut(&Members) -> bool,
    ) -> bool {
        let mut memberships = self.0.memberships.clone();
        let waiting = memberships.wait_for(|members| is_so(members));
        matches!(runtime::timeout(limit, waiting).await, Ok(Ok(_)))
    }

    /// Makes a voter lead, the one with the most of the log when none is named.
    /// It does within an election's time, if it can; changes wait for it.
    ///
    /// - Errors: `NoLeader`; `NoVoter` when there is nobody else; `NotVoter` and `Behind`
    ///   for a node that was named.
    pub async fn transfer_leader(&self, to: Option<u64>) -> Result<(), MembersError> {
        let (answer, answered) = oneshot::channel();
        self.ask(Request::Transfer(to, answer), answered).await
    }

    /// Gives a node its vote whatever blobs it lacks, if it is to have one: the leader
    /// does so as soon as it can.
    ///
    /// - Errors: `NoLeader`; `Behind`.
    pub(super) async fn excuse(&self, node: u64) -> Result<(), MembersError> {
        let (answer, answered) = oneshot::channel();
        self.ask(Request::Promote(node, answer), answered).await
    }

    async fn ask<T>(
        &self,
        request: Request,
        answered: oneshot::Receiver<Result<T, MembersError>>,
    ) -> Result<T, MembersError> {
        let asked = self.0.requests.try_send(request);
        asked.map_err(|_| MembersError::NoLeader)?;
        match runtime::timeout(self.0.read_timeout, answered).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) | Err(_) => Err(MembersError::NoLeader),
        }
    }

    /// What consensus says about itself; a few microseconds old.
    #[must_use]
    pub fn status(&self) -> Status {
        *self.0.status.borrow()
    }

    /// Ends consensus and closes the journal: everything is on disk when this
    /// returns. A leader lets another node lead first. Proposals that wait get
    /// `Unavailable`.
    pub async fn shutdown(&self) {
        let (told, ended) = oneshot::channel();
        if self.0.requests.send(Request::Shutdown(told)).await.is_ok() {
            drop(ended.await);
        }
    }

    /// Returns when consensus has ended, whoever asked for it; [`Status::is_removed`]
    /// says whether the cluster did.
    pub async fn closed(&self) {
        self.0.requests.closed().await;
        let mut status = self.0.status.clone();
        drop(status.wait_for(|status| !status.is_running).await);
    }
}

fn end_of(outcome: &Result<Committed, ProposeError>) -> ProposalEnd {
    match outcome {
        Ok(_) => ProposalEnd::Applied,
        Err(ProposeError::Busy) => ProposalEnd::Busy,
        Err(ProposeError::NoLeader) => ProposalEnd::NoLeader,
        Err(ProposeError::Unavailable) => ProposalEnd::Unavailable,
        Err(ProposeError::TimedOut) => ProposalEnd::TimedOut,
        Err(ProposeError::TooLarge { .. }) => ProposalEnd::TooLarge,
    }
}
