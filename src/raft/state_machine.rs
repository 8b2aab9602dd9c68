//! The applied state as openraft sees it: entries in, answers out.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, TryStreamExt};
use openraft::EntryPayload;
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine};
use tokio::sync::{Notify, watch};

use crate::base::{Clock, CodecError};
use crate::journal::{Applied, Changes, Generation, JournalError, Opened, Put, State};
use crate::metadata::{self, Command, Context, Overlay, Proposal, Remembered};
use crate::runtime;
use crate::telemetry::Metrics;

use super::blob_change::{BlobChange, BlobChanges};
use super::encoding;
use super::open::{Fitness, Unfit};
use super::snapshot::{SnapshotBuilder, SnapshotData};
use super::snapshot_file;
use super::types::{Answer, Entry, LogId, Snapshot, SnapshotMeta, StoredMembership, Types};
use super::view::StateView;

/// Entries applied in one batch: bounds its memory and the time without a yield.
const STEP_ENTRIES_MAX: usize = 256;
/// Proposal bytes after which a batch is carried out.
const STEP_BYTES_MAX: usize = 1024 * 1024;
/// Batches of more entries are applied on the state's thread, while this executor goes
/// on with consensus. To go there and back takes about as long as two entries.
const INLINE_ENTRIES_MAX: usize = 3;
/// So are batches of more proposal bytes.
const INLINE_BYTES_MAX: usize = 256 * 1024;

/// The state machine. Clones share everything. Lives on the raft core.
#[derive(Clone)]
pub(super) struct StateMachine(Rc<Shared>);

struct Shared {
    state: State,
    /// Where snapshot files pass through.
    directory: PathBuf,
    generation: RefCell<Generation>,
    applied: Cell<Option<LogId>>,
    membership: RefCell<StoredMembership>,
    /// Tells readers on other threads which generation to read.
    published: watch::Sender<Generation>,
    blob_changes: BlobChanges,
    fitness: Fitness,
    /// Index of the last applied entry, for those who wait for one.
    applied_index: watch::Sender<Option<u64>>,
    /// Told when the state wishes another membership.
    wishes: Rc<Notify>,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl fmt::Debug for StateMachine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateMachine")
            .field("applied", &self.0.applied.get())
            .finish_non_exhaustive()
    }
}

/// Entries that are applied together, and who waits for them.
#[derive(Default)]
struct Step {
    entries: Vec<Entry>,
    responders: Vec<Option<ApplyResponder<Types>>>,
    bytes: usize,
}

impl Step {
    fn push(&mut self, (entry, responder): EntryResponder<Types>) {
        if let EntryPayload::Normal(change) = &entry.payload {
            self.bytes += change.bytes.len();
        }
        self.entries.push(entry);
        self.responders.push(responder);
    }

    const fn is_quick(&self) -> bool {
        self.entries.len() <= INLINE_ENTRIES_MAX && self.bytes <= INLINE_BYTES_MAX
    }

    const fn is_full(&self) -> bool {
        self.entries.len() >= STEP_ENTRIES_MAX || self.bytes >= STEP_BYTES_MAX
    }
}

impl StateMachine {
    /// Takes over what was found at open.
    pub(super) fn new(
        opened: &Opened,
        directory: PathBuf,
        blob_changes: BlobChanges,
        fitness: Fitness,
        metrics: Arc<Metrics>,
    ) -> Result<Self, JournalError> {
        let view = opened.generation.view();
        let damaged = |source| JournalError::Damaged {
            what: "the applied state",
            source,
        };
        let applied = view
            .applied()?
            .map(|applied| encoding::decode_id(&applied.id));
        let membership = view
            .membership()?
            .map(|record| encoding::decode_stored(&record));
        let (published, _) = watch::channel(opened.generation.clone());
        let applied = applied.transpose().map_err(damaged)?;
        Ok(Self(Rc::new(Shared {
            applied_index: watch::Sender::new(applied.map(|id: LogId| id.index)),
            wishes: Rc::default(),
            state: opened.state.clone(),
            directory,
            generation: RefCell::new(opened.generation.clone()),
            applied: Cell::new(applied),
            membership: RefCell::new(membership.transpose().map_err(damaged)?.unwrap_or_default()),
            published,
            blob_changes,
            fitness,
            clock: Clock::system(),
            metrics,
        })))
    }

    /// Where readers learn which generation is in force.
    pub(super) fn published(&self) -> watch::Receiver<Generation> {
        self.0.published.subscribe()
    }

    /// Told when the state wishes another membership.
    pub(super) fn wishes(&self) -> Rc<Notify> {
        Rc::clone(&self.0.wishes)
    }

    /// A view of the state as of now.
    pub(super) fn view(&self) -> crate::journal::StateView {
        self.generation().view()
    }

    /// Waits until the entry at `index` is applied here; says whether it was in
    /// time.
    pub(super) async fn wait_applied(&self, index: u64, limit: Duration) -> bool {
        let mut applied = self.0.applied_index.subscribe();
        let waiting = applied.wait_for(|applied| *applied >= Some(index));
        matches!(runtime::timeout(limit, waiting).await, Ok(Ok(_)))
    }

    fn set_applied(&self, applied: Option<LogId>) {
        self.0.applied.set(applied);
        self.0
            .applied_index
            .send_replace(applied.map(|id| id.index));
    }

    /// Makes everything applied so far durable.
    pub(super) async fn persist(&self) -> io::Result<()> {
        self.0.state.persist().await.map_err(io::Error::other)?;
        self.0.metrics.journal.snapshots.count();
        Ok(())
    }

    fn meta(&self) -> SnapshotMeta {
        SnapshotMeta {
            last_log_id: self.0.applied.get(),
            last_membership: self.0.membership.borrow().clone(),
        }
    }

    fn generation(&self) -> Generation {
        self.0.generation.borrow().clone()
    }

    /// One batch: decided together, visible together, then answered.
    async fn carry_out(&self, step: Step) -> io::Result<()> {
        let Some(last) = step.entries.last().map(|entry| entry.log_id) else {
            return Ok(());
        };
        let started = self.0.clock.now();
        let (generation, changes) = (self.generation(), self.0.blob_changes.clone());
        let is_quick = step.is_quick() && !generation.is_behind();
        let fitness = self.0.fitness;
        let work = move |_: &State| {
            let mut decided = decide(&generation, &step.entries, fitness)?;
            let changed = carry_out(&generation, &changes, &mut decided, last)?;
            Ok((decided, changed))
        };
        let done = if is_quick {
            work(&self.0.state)
        } else {
            self.0.state.run_blocking(work).await
        };
        let (decided, changed) = match done {
            Err(ApplyError::Unfit(Unfit::Outdated(outdated))) => {
                runtime::end_unfit(&outdated.to_string())
            }
            done => done.map_err(io::Error::other)?,
        };

        self.0.blob_changes.tell(changed);
        self.set_applied(Some(last));
        if let Some(membership) = decided.membership {
            self.0.membership.replace(membership);
        }
        if decided.is_about_nodes {
            self.0.wishes.notify_one();
        }
        let took = self.0.clock.now() - started;
        self.0.metrics.journal.apply_seconds.observe(took);
        self.0.metrics.journal.applied_index.set(last.index);
        for (responder, answer) in step.responders.into_iter().zip(decided.answers) {
            if let Some(responder) = responder {
                responder.send(answer);
            }
        }
        Ok(())
    }

    /// Replaces the state by a file's and removes the file.
    async fn install(&self, meta: &SnapshotMeta, path: PathBuf) -> Result<(), JournalError> {
        let (expected, current) = (meta.clone(), self.generation());
        let installed = self.0.state.run_blocking(move |state| {
            let applied = expected.last_log_id.map(|id| Applied {
                index: id.index,
                id: encoding::encode_id(&id),
            });
            let membership = encoding::encode_stored(&expected.last_membership);
            let import = |put: Put<'_>| snapshot_file::import(&path, &expected, put);
            let next = state.install(&current, (applied, &membership), import)?;
            fs::remove_file(&path).map_err(|source| JournalError::File {
                operation: "remove an installed snapshot file",
                source,
            })?;
            Ok(next)
        });
        let next = installed.await?;
        if let Err(unfit) = self.0.fitness.check(&StateView(next.view())) {
            runtime::end_unfit(&unfit.to_string());
        }
        self.0.membership.replace(meta.last_membership.clone());
        let previous = self.0.generation.replace(next.clone());
        drop(self.0.published.send(next));
        self.set_applied(meta.last_log_id);
        self.0.blob_changes.tell([BlobChange::Everything]);
        let deleted = self
            .0
            .state
            .run_blocking(move |state| state.delete(previous));
        deleted.await
    }

    /// Writes a foreign view to a file, so that every install takes one path.
    /// Only two stores in one process meet this way: blocking is fine.
    fn export(
        &self,
        meta: &SnapshotMeta,
        view: &crate::journal::StateView,
    ) -> Result<PathBuf, JournalError> {
        let path = self.0.directory.join("view.snapshot");
        snapshot_file::export(view, meta, &path, &|| true)?;
        Ok(path)
    }
}

/// What a batch decides.
struct Decided {
    delta: metadata::Delta,
    membership: Option<StoredMembership>,
    answers: Vec<Answer>,
    is_about_nodes: bool,
}

/// Why an entry of the log cannot be applied. Nothing after it can be either.
#[derive(Debug, thiserror::Error)]
enum ApplyError {
    #[error("entry {index} of the log is not a proposal this build knows")]
    Proposal { index: u64, source: CodecError },
    #[error("entry {index} of the log meets a state it cannot read")]
    State {
        index: u64,
        source: metadata::StateError,
    },
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error("a record of a blob is not what this build writes")]
    Blob(#[from] CodecError),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Makes what was decided visible in one step; says whom to tell what. Blocks.
fn carry_out(
    generation: &Generation,
    blob_changes: &BlobChanges,
    decided: &mut Decided,
    last: LogId,
) -> Result<Vec<BlobChange>, ApplyError> {
    let changed = blob_changes.of(&decided.delta)?;
    let changes = Changes {
        entries: std::mem::take(&mut decided.delta).into_iter().collect(),
        applied: Some(Applied {
            index: last.index,
            id: encoding::encode_id(&last),
        }),
        membership: decided.membership.as_ref().map(encoding::encode_stored),
    };
    generation.commit(changes)?;
    Ok(changed)
}

/// Decides entries in order over one view; each sees what those before it changed.
///
/// - Errors: `Unfit` for the entry with which the cluster goes on to formats that this
///   build does not know; what it cannot read comes behind that one.
fn decide(
    generation: &Generation,
    entries: &[Entry],
    fitness: Fitness,
) -> Result<Decided, ApplyError> {
    let view = StateView(generation.view());
    let base = Remembered::new(&view);
    let mut overlay = Overlay::new(&base);
    let (mut membership, mut answers) = (None, Vec::new());
    let mut is_about_nodes = false;
    for entry in entries {
        let index = entry.log_id.index;
        let outcome = match &entry.payload {
            EntryPayload::Blank => None,
            EntryPayload::Membership(voters) => {
                let stored = StoredMembership::new(Some(entry.log_id), voters.clone());
                membership = Some(stored);
                None
            }
            EntryPayload::Normal(change) => {
                let proposal = Proposal::decode(&change.bytes)
                    .map_err(|source| ApplyError::Proposal { index, source })?;
                let is_about_node = matches!(proposal.command, Command::Node(_));
                is_about_nodes |= is_about_node;
                let context = Context {
                    index,
                    time_ms: proposal.time_ms,
                };
                let (outcome, delta) = metadata::apply(&overlay, context, &proposal.command)
                    .map_err(|source| ApplyError::State { index, source })?;
                overlay.absorb(delta);
                if is_about_node {
                    fitness.check(&overlay)?;
                }
                Some(outcome)
            }
        };
        answers.push(Answer { outcome });
    }
    Ok(Decided {
        delta: overlay.into_delta(),
        membership,
        answers,
        is_about_nodes,
    })
}

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let meta = self.meta();
        Ok((meta.last_log_id, meta.last_membership))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin,
    {
        let mut step = Step::default();
        while let Some(entry) = entries.try_next().await? {
            step.push(entry);
            if step.is_full() {
                self.carry_out(std::mem::take(&mut step)).await?;
            }
        }
        self.carry_out(step).await
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder {
            machine: self.clone(),
            meta: self.meta(),
            view: Arc::new(self.generation().view()),
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotData,
    ) -> io::Result<()> {
        let path = match snapshot {
            SnapshotData::File(path) => path,
            SnapshotData::View(view) => self.export(meta, &view).map_err(io::Error::other)?,
        };
        self.install(meta, path).await.map_err(io::Error::other)
    }

    /// The state itself: a view of now, which covers at least every snapshot
    /// that was built. At a start it is durable, the journal's open saw to that.
    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let meta = self.meta();
        if meta.last_log_id.is_none() {
            return Ok(None);
        }
        let view = Arc::new(self.generation().view());
        Ok(Some(Snapshot {
            meta,
            snapshot: SnapshotData::View(view),
        }))
    }
}
