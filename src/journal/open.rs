//! Opens both databases, checks the log against its witnesses, starts the thread.

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use bytes::Bytes;

use crate::base::CodecError;

use super::ahead::Ahead;
use super::check::Check;
use super::error::{JournalError, OpenError};
use super::group::VOTE_KEY;
use super::handle::Journal;
use super::log::LogDatabase;
use super::mark::{Mark, MarkFile};
use super::options::{Options, QUEUE_OPERATIONS_MAX};
use super::state::{Applied, Generation, State};
use super::tail::Tail;
use super::thread::JournalThread;
use super::torn;
use super::worker::Worker;

/// A journal whose log passed the full check.
#[derive(Debug)]
pub struct Opened {
    /// The log.
    pub journal: Journal,
    /// The applied state.
    pub state: State,
    /// Its generation in force.
    pub generation: Generation,
    /// What the check found.
    pub recovered: Recovered,
}

/// What is in the journal, all of it durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// Index of the first record that is not purged.
    pub first: u64,
    /// Index after the last record.
    pub next: u64,
    /// Payload of the last record, unless all are purged.
    pub last: Option<Bytes>,
    /// Payload bytes of all records.
    pub log_bytes: u64,
    /// Last record the state has applied.
    pub applied: Option<Applied>,
}

/// Whether a journal was made in `directory`, whole or not.
#[must_use]
pub fn is_made(directory: &Path) -> bool {
    mark_path(directory).exists() || LogDatabase::path(directory).exists()
}

/// Opens the journal and checks every record of the log, about a gigabyte per
/// second, before anyone can act on it.
///
/// Blocks. The threads it starts (fjall's, the journal thread, the state
/// worker) inherit the CPUs of the calling thread: call it on a background one.
pub fn open(options: &Options) -> Result<Opened, OpenError> {
    let directory = &options.directory;
    fs::create_dir_all(directory).map_err(|source| files("create", directory, source))?;
    let (mut mark_file, mark) = open_mark(directory)?;
    mend(directory, mark)?;
    let log = guarded("log", &LogDatabase::path(directory), || {
        LogDatabase::open(options)
    })?;
    let worker =
        Worker::spawn().map_err(|source| files("start a thread for", directory, source))?;
    let state_path = State::path(directory);
    let (state, generation) = guarded("state", &state_path, || {
        let state = State::open(options, worker)?;
        let generation = state.current()?;
        Ok((state, generation))
    })?;
    let generation = generation.ok_or(OpenError::Damaged {
        what: "the note which state is in force",
        source: CodecError::Invalid {
            field: "generation",
        },
    })?;
    let (tail, recovered) = check(directory, &log, mark, &generation)?;

    // What a process that died left in the page cache counts from now on.
    let database = |database, source| unusable(database, directory, source);
    log.persist().map_err(|source| database("log", source))?;
    state
        .persist_now()
        .map_err(|error| of_journal(directory, error))?;
    guarded("state", &state_path, || state.sweep(&generation))?;
    let marked = mark_file.write(Mark::of(&tail));
    let marked = marked.and_then(|()| mark_file.sync());
    marked.map_err(|source| files("write", &mark_path(directory), source))?;

    let (sender, receiver) = flume::bounded(QUEUE_OPERATIONS_MAX);
    let owner = JournalThread {
        receiver,
        log: log.clone(),
        mark: mark_file,
        tail,
        ahead: Ahead::new(LogDatabase::path(directory)),
        on_failure: options.on_failure,
        metrics: Arc::clone(&options.metrics),
    };
    let spawned = thread::Builder::new()
        .name("journal".to_owned())
        .spawn(move || owner.run())
        .map_err(|source| files("start the thread of", directory, source))?;
    // Detached: it ends with its queue, and a failure in it ends the process.
    drop(spawned);
    Ok(Opened {
        journal: Journal::new(sender, log),
        state,
        generation,
        recovered,
    })
}

/// Cuts what a power cut left torn at the end of fjall's journals, unless what
/// would go was synced; then nothing is touched.
fn mend(directory: &Path, mark: Mark) -> Result<(), OpenError> {
    let mut torn = Vec::new();
    for database in [LogDatabase::path(directory), State::path(directory)] {
        let scanned = torn::scan_database(&database);
        let mut scans = scanned.map_err(|source| files("read", &database, source))?;
        let active = scans.pop();
        if let Some(sealed) = scans.into_iter().find(|sealed| sealed.is_torn) {
            return Err(OpenError::SealedDamaged {
                path: sealed.path,
                whole_bytes: sealed.whole_bytes,
            });
        }
        torn.extend(active.filter(|active| active.is_torn));
    }
    // Only the log has tails; the state is rebuilt from it, or refused where that no
    // longer goes back far enough.
    let tails = torn.iter().filter_map(|active| active.tail);
    if let Some(lost) = tails.into_iter().find(|tail| tail.group < mark.group) {
        return Err(OpenError::SyncedLost {
            synced: mark.group,
            synced_next: mark.next,
            found: lost.group,
            found_next: lost.next,
        });
    }
    for active in torn {
        tracing::info!(
            file = %active.path.display(),
            whole_bytes = active.whole_bytes,
            "cut the torn end of a journal that was never synced"
        );
        torn::cut(&active).map_err(|source| files("cut", &active.path, source))?;
    }
    Ok(())
}

/// Opens the mark, or makes it where there is no log yet.
fn open_mark(directory: &Path) -> Result<(MarkFile, Mark), OpenError> {
    let path = mark_path(directory);
    match MarkFile::open(&path) {
        Ok((file, Some(mark))) => Ok((file, mark)),
        Ok((_, None)) => Err(OpenError::MarkLost { path }),
        Err(source) if source.kind() == io::ErrorKind::NotFound => {
            if LogDatabase::path(directory).exists() {
                return Err(OpenError::MarkLost { path });
            }
            let file = MarkFile::create(&path).map_err(|source| files("create", &path, source))?;
            Ok((file, Mark::of(&Tail::EMPTY)))
        }
        Err(source) => Err(files("open", &path, source)),
    }
}

fn mark_path(directory: &Path) -> std::path::PathBuf {
    directory.join("mark")
}

/// Reads everything and holds it against the tail, the mark and the state.
fn check(
    directory: &Path,
    log: &LogDatabase,
    mark: Mark,
    generation: &Generation,
) -> Result<(Tail, Recovered), OpenError> {
    let refused = |error| of_journal(directory, error);
    let tail = log.tail().map_err(refused)?.unwrap_or(Tail::EMPTY);
    let mut check = Check::new(tail);
    let (mut last, mut log_bytes) = (None, 0);
    log.scan(tail.first, u64::MAX, |index, sealed| {
        check.record(index, sealed)?;
        let record = super::record::unseal(sealed);
        last = record.ok().map(|record| record.payload);
        log_bytes += crate::base::units::to_u64(sealed.len());
        Ok::<_, Walk>(true)
    })
    .map_err(|stopped| stopped.into_open_error(directory))?;
    let vote = log.value(VOTE_KEY);
    let vote = vote.map_err(|source| unusable("log", directory, source))?;
    check.finish(vote.as_ref(), mark)?;

    let applied = generation.view().applied().map_err(refused)?;
    let needed = applied.as_ref().map_or(0, |applied| applied.index + 1);
    // As after a received snapshot, and where the process died before its own sync of
    // what a majority had synced: the state has it, and raft starts the log anew there.
    if needed > tail.next {
        tracing::info!(
            applied = needed - 1,
            next = tail.next,
            "the state is ahead of the log, which goes on from there"
        );
    }
    if needed < tail.first {
        return Err(OpenError::StateBehind {
            needed,
            first: tail.first,
        });
    }
    let recovered = Recovered {
        first: tail.first,
        next: tail.next,
        last,
        log_bytes,
        applied,
    };
    Ok((tail, recovered))
}

/// Why the walk over the records stopped.
enum Walk {
    Refused(OpenError),
    Unreadable(JournalError),
}

impl Walk {
    fn into_open_error(self, directory: &Path) -> OpenError {
        match self {
            Self::Refused(error) => error,
            Self::Unreadable(error) => of_journal(directory, error),
        }
    }
}

impl From<OpenError> for Walk {
    fn from(error: OpenError) -> Self {
        Self::Refused(error)
    }
}

impl From<JournalError> for Walk {
    fn from(error: JournalError) -> Self {
        Self::Unreadable(error)
    }
}

/// Runs a call into fjall that may meet damaged files: a panic is a refusal.
fn guarded<T>(
    database: &'static str,
    path: &Path,
    call: impl FnOnce() -> fjall::Result<T>,
) -> Result<T, OpenError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(unusable(database, path, source)),
        Err(_) => Err(OpenError::Panicked {
            database,
            path: path.to_owned(),
        }),
    }
}

fn of_journal(directory: &Path, error: JournalError) -> OpenError {
    match error {
        JournalError::Database { source, .. } => unusable("journal", directory, source),
        JournalError::Damaged { what, source } => OpenError::Damaged { what, source },
        JournalError::Missing { index } => OpenError::Gap { expected: index },
        JournalError::File { operation, source } => files(operation, directory, source),
        JournalError::Poisoned | JournalError::Closed => OpenError::Panicked {
            database: "journal",
            path: directory.to_owned(),
        },
    }
}

fn unusable(database: &'static str, path: &Path, source: fjall::Error) -> OpenError {
    OpenError::Database {
        database,
        path: path.to_owned(),
        source,
    }
}

fn files(operation: &'static str, path: &Path, source: io::Error) -> OpenError {
    OpenError::Files {
        operation,
        path: path.to_owned(),
        source,
    }
}
