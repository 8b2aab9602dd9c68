//! Reads what is in force, and reads it again when a file changes.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use flume::RecvTimeoutError;
use tokio::sync::watch;

use super::book::Book;
use super::error::KeeperError;
use super::fetch_keys::check_files;
use super::hasher::Hasher;
use super::issuer_keys::{Ages, Generation, Source};
use super::options::{IssuerKeys, KeysFrom, Mode, Options};
use super::robots::Robots;
use crate::runtime::Background;
use crate::telemetry::Metrics;

/// How often files are looked at. They are read when two looks agree, so that whoever
/// writes one is done: half a list of rules or claims may give more than the whole.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

/// What every shard needs to guard its door. Cheap to clone; crosses threads.
#[derive(Clone)]
pub struct Shared {
    pub(super) options: Arc<Options>,
    pub(super) books: watch::Receiver<Arc<Book>>,
    /// Where there are passwords.
    pub(super) hasher: Option<Hasher>,
    /// Issuers whose keys are fetched, as the book counts them.
    pub(super) sources: Arc<[Source]>,
    /// Of their keys.
    pub(super) generation: Generation,
    pub(super) robots: Robots,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    /// Whether anybody is asked who they are.
    #[must_use]
    pub fn is_asking(&self) -> bool {
        !matches!(self.options.mode, Mode::None)
    }
}

/// Watches the files of rules, users and keys. Owned by the node; its thread ends
/// when it is dropped.
#[derive(Debug)]
pub struct Keeper {
    stop: Option<flume::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What tells one state of a file from another.
type Trace = Option<(i64, i64, u64, u64)>;

/// What was seen of the files, and what of that was read.
#[derive(Debug)]
struct Looks {
    seen: Vec<Trace>,
    read: Vec<Trace>,
}

impl Looks {
    /// Files that were read when they looked like this.
    fn of(traces: Vec<Trace>) -> Self {
        Self {
            seen: traces.clone(),
            read: traces,
        }
    }

    /// Whether to read the files, which look like this now: when they have changed and
    /// look as they did before.
    fn is_due(&mut self, now: Vec<Trace>) -> bool {
        let before = std::mem::replace(&mut self.seen, now);
        let is_due = self.seen == before && self.seen != self.read;
        if is_due {
            self.read.clone_from(&self.seen);
        }
        is_due
    }
}

impl Keeper {
    /// Reads everything and starts to watch. Blocks.
    ///
    /// - Errors: something is not in order; a node does not start on half of its rules.
    pub fn start(
        options: Options,
        robots: Robots,
        metrics: &Arc<Metrics>,
        background: &Background,
    ) -> Result<(Self, Shared), KeeperError> {
        let files = files_of(&options);
        let traces = traces(&files);
        let book = Arc::new(Book::read(&options)?);
        announce(&options, &book);
        let (sender, books) = watch::channel(book);
        let hasher = match &options.mode {
            Mode::Users(_) => Some(Hasher::start(background)?),
            Mode::None | Mode::Token(_) => None,
        };
        let generation = Generation::default();
        let sources = start_sources(&options, &generation, metrics, background)?;
        let options = Arc::new(options);
        let shared = Shared {
            options: Arc::clone(&options),
            books,
            hasher,
            sources,
            generation,
            robots,
        };
        if files.is_empty() {
            let (stop, thread) = (None, None);
            return Ok((Self { stop, thread }, shared));
        }
        let (stop, stopped) = flume::bounded(0);
        let thread = background.spawn("access-files", move || {
            let mut looks = Looks::of(traces);
            while stopped.recv_timeout(LOOK_PERIOD) == Err(RecvTimeoutError::Timeout) {
                if looks.is_due(self::traces(&files)) {
                    refresh(&options, &sender);
                }
            }
        })?;
        let (stop, thread) = (Some(stop), Some(thread));
        Ok((Self { stop, thread }, shared))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that watches rules and users panicked");
        }
    }
}

/// Starts to fetch keys; whoever publishes them may be down.
fn start_sources(
    options: &Options,
    generation: &Generation,
    metrics: &Arc<Metrics>,
    background: &Background,
) -> Result<Arc<[Source]>, KeeperError> {
    let fetched = options.fetched();
    let ages = Ages::of(fetched.len());
    let start = |(keys, place): (IssuerKeys, usize)| {
        check_files(&keys).map_err(|source| KeeperError::Keys {
            issuer: keys.issuer.clone(),
            source,
        })?;
        let (generation, metrics) = (generation.clone(), Arc::clone(metrics));
        let age = (ages.clone(), place);
        Ok(Source::start(keys, generation, age, metrics, background)?)
    };
    fetched.into_iter().zip(0..).map(start).collect()
}

/// Reads again; what is not in order leaves everything as it was.
fn refresh(options: &Options, books: &watch::Sender<Arc<Book>>) {
    match Book::read(options) {
        Ok(book) => {
            announce(options, &book);
            books.send_replace(Arc::new(book));
        }
        Err(error) => {
            tracing::error!(%error, "rules, users and keys stay as they were: what changed cannot be used");
        }
    }
}

fn announce(options: &Options, book: &Book) {
    let (rules, users) = (book.rules.count(), book.users.count());
    match &options.mode {
        Mode::None => {}
        Mode::Token(server) => {
            tracing::info!(rules, issuer = %server.issuer, "callers need tokens of the token server");
        }
        Mode::Users(own) => {
            let other = own.other.as_ref().map(|server| &*server.issuer);
            tracing::info!(rules, users, other, "callers need passwords or tokens");
        }
    }
}

fn files_of(options: &Options) -> Vec<PathBuf> {
    let more = match &options.mode {
        Mode::None => Vec::new(),
        Mode::Token(server) => server.keys.files().to_vec(),
        Mode::Users(own) => {
            let other = own.other.iter().map(|one| &one.keys);
            let identities = own.identities.iter().map(|one| &one.keys);
            let keys = other.chain(identities).flat_map(KeysFrom::files);
            own.users_file.iter().chain(keys).cloned().collect()
        }
    };
    options.rules_file.iter().cloned().chain(more).collect()
}

fn traces(files: &[PathBuf]) -> Vec<Trace> {
    files.iter().map(|path| trace(path)).collect()
}

fn trace(path: &Path) -> Trace {
    let metadata = fs::metadata(path).ok()?;
    Some((
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.len(),
        metadata.ino(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_once_they_rest() {
        let look = |bytes: u64| vec![Some((1, 0, bytes, 7)), None];
        let mut looks = Looks::of(look(10));
        assert!(!looks.is_due(look(10)));
        // Somebody writes: emptied, half, whole.
        for bytes in [0, 4, 12] {
            assert!(!looks.is_due(look(bytes)));
        }
        assert!(looks.is_due(look(12)));
        assert!(!looks.is_due(look(12)), "once");
        // There and back again: nothing to read.
        assert!(!looks.is_due(look(0)) && !looks.is_due(look(12)) && !looks.is_due(look(12)));
    }
}
