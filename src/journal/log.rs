//! The log database: records, vote and purge point in one keyspace, so that
//! one flush of its memory table never separates what one batch joined.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use fjall::{Database, Keyspace, PersistMode};

use super::error::JournalError;
use super::group::{Change, TAIL_KEY};
use super::options::{Options, WORKER_THREADS, keyspace_options};
use super::record::{self, Record};
use super::tail::Tail;

/// Name of the one keyspace.
const KEYSPACE: &str = "log";

/// The open log database. Cheap to clone; only the journal thread writes.
#[derive(Clone)]
pub(super) struct LogDatabase {
    database: Database,
    keyspace: Keyspace,
    is_synced: bool,
}

impl LogDatabase {
    /// Folder of the database below the journal's folder.
    pub(super) fn path(directory: &Path) -> PathBuf {
        directory.join("log")
    }

    /// Opens or makes the database. Its worker threads inherit the caller's CPUs.
    pub(super) fn open(options: &Options) -> fjall::Result<Self> {
        let database = Database::builder(Self::path(&options.directory))
            .manual_journal_persist(true)
            .worker_threads(WORKER_THREADS)
            .cache_size(options.log_cache_bytes)
            .open()?;
        let memtable_bytes = options.memtable_bytes;
        let keyspace = database.keyspace(KEYSPACE, || {
            keyspace_options(memtable_bytes).expect_point_read_hits(true)
        })?;
        Ok(Self {
            database,
            keyspace,
            is_synced: options.is_synced,
        })
    }

    /// Writes one batch; with `sync` it is on disk when this returns.
    pub(super) fn commit(&self, changes: Vec<Change>, sync: bool) -> fjall::Result<()> {
        let mode = if sync && self.is_synced {
            PersistMode::SyncData
        } else {
            PersistMode::Buffer
        };
        let mut batch = self.database.batch().durability(Some(mode));
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(&self.keyspace, key, value),
                None => batch.remove(&self.keyspace, key),
            }
        }
        batch.commit()
    }

    /// Whether synced batches really are; `false` is the negative control.
    pub(super) const fn is_synced(&self) -> bool {
        self.is_synced
    }

    /// Syncs everything that was written, by this process or the one before.
    pub(super) fn persist(&self) -> fjall::Result<()> {
        if self.is_synced {
            self.database.persist(PersistMode::SyncAll)
        } else {
            self.database.persist(PersistMode::Buffer)
        }
    }

    /// The value under a key that is not a record's.
    pub(super) fn value(&self, key: &[u8]) -> fjall::Result<Option<Bytes>> {
        Ok(self.keyspace.get(key)?.map(Bytes::from_owner))
    }

    /// The tail as written by the newest group.
    pub(super) fn tail(&self) -> Result<Option<Tail>, JournalError> {
        let found = self.value(TAIL_KEY).map_err(reading)?;
        let decoded = found.map(|bytes| Tail::decode(&bytes)).transpose();
        decoded.map_err(|source| JournalError::Damaged {
            what: "the tail",
            source,
        })
    }

    /// One record.
    pub(super) fn record(&self, index: u64) -> Result<Record, JournalError> {
        let sealed = self.value(&record::key(index)).map_err(reading)?;
        let sealed = sealed.ok_or(JournalError::Missing { index })?;
        unseal(&sealed)
    }

    /// Walks the records from `first` up to before `end`, until `visit` says stop.
    pub(super) fn scan<E: From<JournalError>>(
        &self,
        first: u64,
        end: u64,
        mut visit: impl FnMut(u64, &Bytes) -> Result<bool, E>,
    ) -> Result<(), E> {
        let range = record::key(first)..record::key(end);
        for entry in self.keyspace.range(range) {
            let (key, value) = entry.into_inner().map_err(reading)?;
            let Some(index) = record::index_of_key(&key) else {
                continue;
            };
            if !visit(index, &Bytes::from_owner(value))? {
                break;
            }
        }
        Ok(())
    }
}

/// Opens a sealed record for a reader of the running journal.
pub(super) fn unseal(sealed: &Bytes) -> Result<Record, JournalError> {
    record::unseal(sealed).map_err(|source| JournalError::Damaged {
        what: "a log record",
        source,
    })
}

fn reading(source: fjall::Error) -> JournalError {
    JournalError::Database {
        operation: "read the log",
        source,
    }
}
