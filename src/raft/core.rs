//! The raft core: takes what shards ask for and keeps consensus going.

use std::rc::Rc;
use std::sync::Arc;

use openraft::ReadPolicy;
use openraft::async_runtime::WatchReceiver;
use tokio::sync::{mpsc, oneshot, watch};

use crate::base::limits::WAITING_PROPOSALS_MAX;
use crate::journal::Journal;
use crate::runtime;
use crate::telemetry::Metrics;

use super::handle::{Handle, ReadError};
use super::keeper::keep;
use super::log_store::LogStore;
use super::options::Options;
use super::proposal::Submitted;
use super::state_machine::StateMachine;
use super::status::Status;
use super::types::{Change, Raft};

/// Requests other than proposals that may wait: one per shard and some more.
const OTHER_REQUESTS_MAX: usize = 1024;

/// What a handle asks the core for.
#[derive(Debug)]
pub(super) enum Request {
    /// Put a change into the log.
    Propose(Submitted),
    /// Confirm that what is applied here by then is the newest.
    ReadIndex(oneshot::Sender<Result<(), ReadError>>),
    /// End, with everything on disk.
    Shutdown(oneshot::Sender<()>),
}

/// Everything of consensus that never leaves its executor.
pub(super) struct Core {
    pub raft: Raft,
    pub log: LogStore,
    pub machine: StateMachine,
    journal: Journal,
    pub options: Options,
}

impl Core {
    /// Starts the core's tasks and returns the handle to them.
    pub(super) fn spawn(
        raft: Raft,
        log: LogStore,
        machine: StateMachine,
        journal: Journal,
        options: Options,
    ) -> Handle {
        let (requests, mut asked) = mpsc::channel(WAITING_PROPOSALS_MAX + OTHER_REQUESTS_MAX);
        let status = Status::of(&raft.metrics().borrow_watched());
        let (status, statuses) = watch::channel(status);
        let handle = Handle::new(requests, machine.published(), statuses, &options);
        let core = Rc::new(Self {
            raft,
            log,
            machine,
            journal,
            options,
        });
        let metrics = Arc::clone(&core.options.metrics);
        runtime::spawn(observe(core.raft.clone(), status, metrics)).detach();
        let keeper = runtime::spawn(keep(Rc::clone(&core)));
        let serving = async move {
            let ended = core.serve(&mut asked).await;
            drop(keeper);
            core.end(ended).await;
            // `Handle::closed` returns with this, and the executor may end then.
            drop(asked);
        };
        runtime::spawn(serving).detach();
        handle
    }

    /// Serves until somebody asks for the end; says whom to tell.
    async fn serve(&self, asked: &mut mpsc::Receiver<Request>) -> Option<oneshot::Sender<()>> {
        while let Some(request) = asked.recv().await {
            match request {
                Request::Propose(submitted) => self.propose(submitted).await,
                Request::ReadIndex(answer) => {
                    let confirming = confirm(self.raft.clone(), answer);
                    runtime::spawn(confirming).detach();
                }
                // What still waits is dropped with the receiver: not proposed.
                Request::Shutdown(ended) => return Some(ended),
            }
        }
        None
    }

    /// Hands a proposal to openraft, which batches what comes together. An
    /// error drops the responder, which tells the shard.
    async fn propose(&self, submitted: Submitted) {
        let change = Change {
            bytes: submitted.change,
        };
        let handed = self.raft.client_write_ff(change, Some(submitted.responder));
        if let Err(error) = handed.await {
            tracing::debug!(%error, "a proposal was not taken");
        }
    }

    /// Ends consensus, syncs and closes the journal.
    async fn end(&self, told: Option<oneshot::Sender<()>>) {
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

/// Confirms leadership with a quorum and waits until everything committed by
/// then is applied here.
async fn confirm(raft: Raft, answer: oneshot::Sender<Result<(), ReadError>>) {
    let confirmed = match raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
        Ok(linearizer) => linearizer.await_ready(&raft).await.is_ok(),
        Err(_) => false,
    };
    let outcome = if confirmed {
        Ok(())
    } else {
        Err(ReadError::Unavailable)
    };
    // The reader may be gone; nobody else wants the answer.
    let _ = answer.send(outcome);
}

/// Publishes what openraft says about itself, and ends the process when it
/// stopped for any reason but our asking.
async fn observe(raft: Raft, status: watch::Sender<Status>, metrics: Arc<Metrics>) {
    let mut changes = raft.metrics();
    drop(raft);
    loop {
        let now = {
            let seen = changes.borrow_and_update();
            if let Err(openraft::error::Fatal::StorageError(error)) = &seen.running_state {
                runtime::end_process(&format!("consensus lost its storage: {error}"));
            }
            if let Err(openraft::error::Fatal::Panicked) = &seen.running_state {
                runtime::end_process("consensus panicked");
            }
            Status::of(&seen)
        };
        metrics.journal.term.set(now.term);
        metrics.journal.is_leader.set(u64::from(now.is_leader));
        metrics.journal.last_index.set(now.last_index.unwrap_or(0));
        status.send_if_modified(|status| std::mem::replace(status, now) != now);
        if changes.changed().await.is_err() {
            break;
        }
    }
    status.send_modify(|status| status.is_running = false);
}
