//! The state database: what the log has been applied to, in generations.
//!
//! A generation is one keyspace. It holds the state machine's keys and, below
//! them, the identity of the last applied record, so that one flush of its
//! memory table never separates the two. Nothing here is synced per change:
//! what a power cut takes is replayed from the log. A received snapshot fills a
//! new generation, which replaces the old one in one synced step.

use std::fmt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::base::codec::{CodecError, Reader, Writer};

use super::error::JournalError;
use super::options::{Options, WORKER_THREADS, keyspace_options};
use super::view::{APPLIED_KEY, MEMBERSHIP_KEY, StateView};
use super::worker::Worker;

/// Keyspace that names the current generation.
const META_KEYSPACE: &str = "meta";
/// Its only key.
const GENERATION_KEY: &str = "generation";
/// Keyspaces of generations are named so, and then by number.
const GENERATION_PREFIX: &str = "state-";
/// fjall makes a committer sleep at four; the sleep must not hit an executor.
const SEALED_MEMTABLES_MAX: usize = 2;

/// Identity of an applied record: its index and what raft calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Index of the record.
    pub index: u64,
    /// Raft's name for it, opaque here.
    pub id: Bytes,
}

impl Applied {
    fn encode(&self) -> Vec<u8> {
        let mut record = Writer::with_capacity(16 + self.id.len());
        record.u64(self.index).bytes(&self.id);
        record.finish()
    }

    pub(super) fn decode(record: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(record);
        let applied = Self {
            index: reader.u64()?,
            id: reader.owned()?,
        };
        reader.end()?;
        Ok(applied)
    }
}

/// What one step of the state machine changes. All of it becomes visible and
/// survives together.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// Keys and their new values, `None` to delete. A key appears once and
    /// does not start with a zero byte.
    pub entries: Vec<(Bytes, Option<Bytes>)>,
    /// The last record of the step.
    pub applied: Option<Applied>,
    /// The membership, when the step changed it.
    pub membership: Option<Bytes>,
}

/// The open state database. Cheap to clone, usable on any thread.
#[derive(Clone)]
pub struct State {
    database: Database,
    meta: Keyspace,
    worker: Worker,
    memtable_bytes: u64,
    is_synced: bool,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").finish_non_exhaustive()
    }
}

/// Takes an entry of a generation that is being filled.
pub type Put<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<(), JournalError>;

/// A keyspace of the state database that holds the state from some record on.
#[derive(Clone)]
pub struct Generation {
    database: Database,
    keyspace: Keyspace,
    number: u64,
}

impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generation")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

impl Generation {
    /// The state at this moment.
    #[must_use]
    pub fn view(&self) -> StateView {
        StateView::new(self.database.snapshot(), self.keyspace.clone())
    }

    /// Makes `changes` visible in one step. Survives the process, not a power cut.
    /// Blocks for the disk when [`Generation::is_behind`], and while the state is
    /// being synced.
    pub fn commit(&self, changes: Changes) -> Result<(), JournalError> {
        write(self, changes, PersistMode::Buffer)
    }

    /// Whether the disk has fallen behind, so that a commit may sleep.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.keyspace.sealed_memtable_count() >= SEALED_MEMTABLES_MAX
    }

    /// Counts up with every received snapshot.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }
}

impl State {
    /// Folder of the database below the journal's folder.
    pub(super) fn path(directory: &Path) -> PathBuf {
        directory.join("state")
    }

    /// Opens or makes the database. Its worker threads inherit the caller's CPUs.
    pub(super) fn open(options: &Options, worker: Worker) -> fjall::Result<Self> {
        let database = Database::builder(Self::path(&options.directory))
            .manual_journal_persist(true)
            .worker_threads(WORKER_THREADS)
            .cache_size(options.state_cache_bytes)
            .open()?;
        let meta = database.keyspace(META_KEYSPACE, KeyspaceCreateOptions::default)?;
        Ok(Self {
            database,
            meta,
            worker,
            memtable_bytes: options.memtable_bytes,
            is_synced: options.is_synced,
        })
    }

    /// The generation in force; none where that was noted and is lost.
    pub(super) fn current(&self) -> fjall::Result<Option<Generation>> {
        let number = match self.meta.get(GENERATION_KEY)? {
            Some(bytes) => Reader::new(&bytes).u64().ok(),
            // The first one is in force without a note, and goes with the next one's.
            None => (self.numbers().is_empty() || self.numbers().contains(&0)).then_some(0),
        };
        number.map(|number| self.generation(number)).transpose()
    }

    /// Deletes the generations beside `current`: what a crash left of an install. Blocks.
    pub(super) fn sweep(&self, current: &Generation) -> fjall::Result<()> {
        let kept = name_of(current.number);
        for name in self.database.list_keyspace_names() {
            if name.starts_with(GENERATION_PREFIX) && *name != *kept {
                tracing::info!(%name, "a state that never came into force, or was replaced, is deleted");
                let options = || keyspace_options(self.memtable_bytes);
                let left = self.database.keyspace(&name, options)?;
                self.database.delete_keyspace(left)?;
            }
        }
        Ok(())
    }

    /// Numbers of the generations on disk.
    pub(super) fn numbers(&self) -> Vec<u64> {
        let names = self.database.list_keyspace_names();
        let numbers = names.iter().filter_map(|name| {
            let number = name.strip_prefix(GENERATION_PREFIX)?;
            number.parse().ok()
        });
        numbers.collect()
    }

    /// Loses the note which generation is in force.
    #[cfg(test)]
    pub(super) fn lose_current(&self) {
        self.meta.remove(GENERATION_KEY).unwrap();
    }

    fn generation(&self, number: u64) -> fjall::Result<Generation> {
        let keyspace = self
            .database
            .keyspace(&name_of(number), || keyspace_options(self.memtable_bytes))?;
        Ok(Generation {
            database: self.database.clone(),
            keyspace,
            number,
        })
    }

    /// Makes everything committed so far durable.
    pub async fn persist(&self) -> Result<(), JournalError> {
        self.run_blocking(Self::persist_now).await
    }

    /// As [`State::persist`], blocking.
    pub fn persist_now(&self) -> Result<(), JournalError> {
        let persisted = self.database.persist(self.durable());
        persisted.map_err(|source| JournalError::Database {
            operation: "sync the applied state",
            source,
        })
    }

    const fn durable(&self) -> PersistMode {
        if self.is_synced {
            PersistMode::SyncAll
        } else {
            PersistMode::Buffer
        }
    }

    /// Runs work of the state machine on the worker thread, in the order of the calls.
    ///
    /// - Errors: `Poisoned` when it panicked, beside its own.
    /// - Cancel: the work is done all the same.
    pub async fn run_blocking<T: Send + 'static, E: From<JournalError> + Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        let state = self.clone();
        let answer = self.worker.run(move || work(&state)).await;
        answer.unwrap_or_else(|| Err(JournalError::Poisoned.into()))
    }

    /// Replaces `current` by a generation of which `fill` hands over the entries, in
    /// the order of their keys. Durable when it returns. Blocks.
    ///
    /// The entries go into tables at once, past the journal and the memory table:
    /// memory stays the same however many they are.
    ///
    /// - Errors: those of `fill`, and entries out of order; nothing has changed then.
    pub fn install(
        &self,
        current: &Generation,
        (applied, membership): (Option<Applied>, &[u8]),
        fill: impl FnOnce(Put<'_>) -> Result<(), JournalError>,
    ) -> Result<Generation, JournalError> {
        let next = self.fill_next(current, fill)?;
        self.enforce(&next, applied, membership)?;
        Ok(next)
    }

    /// Fills the generation after `current`. It is not in force, and a crash
    /// forgets it: what one left of an earlier attempt is deleted first.
    pub(super) fn fill_next(
        &self,
        current: &Generation,
        fill: impl FnOnce(Put<'_>) -> Result<(), JournalError>,
    ) -> Result<Generation, JournalError> {
        let number = current.number + 1;
        let mut next = self.generation(number).map_err(installing)?;
        if !next.keyspace.is_empty().map_err(installing)? {
            self.delete(next)?;
            next = self.generation(number).map_err(installing)?;
        }
        let filled = ingest(&next.keyspace, fill);
        if let Err(error) = filled {
            self.delete(next)?;
            return Err(error);
        }
        Ok(next)
    }

    /// Puts a filled generation in force.
    fn enforce(
        &self,
        generation: &Generation,
        applied: Option<Applied>,
        membership: &[u8],
    ) -> Result<(), JournalError> {
        let mut batch = self.database.batch();
        let keyspace = &generation.keyspace;
        if let Some(applied) = applied {
            batch.insert(keyspace, APPLIED_KEY, applied.encode());
        }
        batch.insert(keyspace, MEMBERSHIP_KEY, membership);
        let number = generation.number.to_le_bytes();
        batch.insert(&self.meta, GENERATION_KEY, number.to_vec());
        let durable = Some(self.durable());
        batch.durability(durable).commit().map_err(installing)
    }

    /// Deletes a generation that was replaced. Readers that still hold it are
    /// undisturbed. Blocks.
    pub fn delete(&self, generation: Generation) -> Result<(), JournalError> {
        let deleted = self.database.delete_keyspace(generation.keyspace);
        deleted.map_err(installing)
    }
}

/// Name of a generation's keyspace.
fn name_of(number: u64) -> String {
    format!("{GENERATION_PREFIX}{number}")
}

/// Writes entries into tables of an empty keyspace; they appear together.
fn ingest(
    keyspace: &Keyspace,
    fill: impl FnOnce(Put<'_>) -> Result<(), JournalError>,
) -> Result<(), JournalError> {
    let mut ingestion = keyspace.start_ingestion().map_err(installing)?;
    let mut last = Vec::new();
    let mut put = |key: &[u8], value: &[u8]| {
        // Keys from 0 on are the journal's, and every other key is above the
        // key of no byte.
        if key.first() == Some(&0) || key <= last.as_slice() {
            return Err(JournalError::Damaged {
                what: "the order of a received state",
                source: CodecError::Invalid { field: "key" },
            });
        }
        last.clear();
        last.extend_from_slice(key);
        ingestion.write(key, value).map_err(installing)
    };
    fill(&mut put)?;
    ingestion.finish().map_err(installing)
}

fn write(generation: &Generation, changes: Changes, mode: PersistMode) -> Result<(), JournalError> {
    let keyspace = &generation.keyspace;
    let mut batch = generation.database.batch().durability(Some(mode));
    for (key, value) in changes.entries {
        assert!(key.first() != Some(&0), "keys from 0 on are the journal's");
        match value {
            Some(value) => batch.insert(keyspace, key.as_ref(), value.as_ref()),
            None => batch.remove(keyspace, key.as_ref()),
        }
    }
    if let Some(applied) = changes.applied {
        batch.insert(keyspace, APPLIED_KEY, applied.encode());
    }
    if let Some(membership) = changes.membership {
        batch.insert(keyspace, MEMBERSHIP_KEY, membership.as_ref());
    }
    batch.commit().map_err(|source| JournalError::Database {
        operation: "commit changes of the state",
        source,
    })
}

fn installing(source: fjall::Error) -> JournalError {
    JournalError::Database {
        operation: "install a received state",
        source,
    }
}
