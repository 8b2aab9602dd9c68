//! A file that cannot be read here, of a blob that other nodes have.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::blob_file::BlobFile;
use super::leaving::Leaving;
use super::letter::{Letter, Want};
use super::replicator::Worker;
use crate::blob::{OpenFile, ReadError};
use crate::metadata::{self, BlobRecord, Command, Outcome, StateError, YIELD_FILE_LEVEL};
use crate::raft::StateView;
use crate::runtime::{spawn_prompt, timeout};

/// A reader waits so long for the state to say whether a file may go; without a quorum
/// it says nothing.
const VERDICT_MAX: Duration = Duration::from_secs(1);

/// What a reader does after its file failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The file is out of service: the blob is opened again, as one that is not here.
    Replaced,
    /// It stays for now, and another node has the bytes.
    Elsewhere,
    /// It stays, and nobody else is known to have it.
    Kept,
}

/// Files that a shard is giving up; each once, however many read it.
#[derive(Debug, Default)]
pub(super) struct Flights(BTreeMap<BlobFile, Flight>);

#[derive(Debug, Clone)]
struct Flight {
    began: Instant,
    /// Whether the file has gone, as soon as that is known.
    has_gone: watch::Receiver<Option<bool>>,
}

/// Forgets a flight at its end, whatever that is.
struct Landing<'a>(&'a Worker, &'a BlobFile);

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.0.flights.borrow_mut().0.remove(self.1);
    }
}

impl Worker {
    /// Takes a file out of service after a read of it failed, if another node holds
    /// the blob, and has it fetched anew. `failed` is the file, when it could be opened.
    ///
    /// Where nobody else holds it, a bad file is better than none: it stays, and is
    /// looked at again from time to time.
    ///
    /// - Cancel: the file may go all the same.
    pub(super) async fn replace(
        self: &Rc<Self>,
        file: &BlobFile,
        failed: Option<OpenFile>,
        failure: &ReadError,
    ) -> Verdict {
        let digest = &file.digest;
        if !failure.is_of_the_file() {
            let error = failure as &dyn std::error::Error;
            tracing::error!(%digest, error, "a blob cannot be read just now");
            return Verdict::Kept;
        }
        let now = self.clock.now();
        if self.doubts.borrow().is_resting(file, now) {
            tracing::debug!(%digest, %failure, "a blob cannot be read here, still");
            let verdict = self.without(file);
            // Where nobody was known to have it, somebody may be by now.
            if verdict == Verdict::Kept || self.doubts.borrow().is_asked(file) {
                return verdict;
            }
        }
        tracing::error!(%digest, %failure, "a blob cannot be read here");
        let flight = self.give_up(file, failed);
        let spent = now.saturating_duration_since(flight.began);
        let landing = landed(flight);
        match timeout(VERDICT_MAX.saturating_sub(spent), landing).await {
            Ok(true) => Verdict::Replaced,
            Ok(false) | Err(_) => self.without(file),
        }
    }

    /// As [`Worker::replace`], for nobody who waits.
    pub(super) fn repair(
        self: &Rc<Self>,
        file: &BlobFile,
        failed: Option<OpenFile>,
        failure: &ReadError,
    ) {
        let is_resting = self.doubts.borrow().is_resting(file, self.clock.now());
        if failure.is_of_the_file() && !is_resting {
            drop(self.give_up(file, failed));
        }
    }

    /// Size of a blob by the state, as far as that knows it yet.
    pub(super) fn size_of(&self, file: &BlobFile) -> Option<u64> {
        let known = record_of(&self.shared.journal().view(), file);
        known.ok().flatten().map(|blob| blob.size_bytes)
    }

    /// What is left to a reader whose file stays.
    pub(super) fn without(&self, file: &BlobFile) -> Verdict {
        let view = self.shared.journal().view();
        if self.is_held_elsewhere(&view, file) {
            Verdict::Elsewhere
        } else {
            Verdict::Kept
        }
    }

    /// Begins to give a file up, unless that is under way. It goes on when nobody waits.
    fn give_up(self: &Rc<Self>, file: &BlobFile, failed: Option<OpenFile>) -> Flight {
        if let Some(flight) = self.flights.borrow().0.get(file) {
            return flight.clone();
        }
        let (tell, has_gone) = watch::channel(None);
        let flight = Flight {
            began: self.clock.now(),
            has_gone,
        };
        self.flights.borrow_mut().0.insert(*file, flight.clone());
        let (worker, file) = (Rc::clone(self), *file);
        let giving_up = async move {
            let landing = Landing(&worker, &file);
            let has_gone = worker.has_gone(&file, failed).await;
            drop(landing);
            // Who waited may have gone on with another node.
            tell.send_replace(Some(has_gone));
            if has_gone {
                worker.fetch_anew(&file).await;
            }
        };
        spawn_prompt(giving_up).detach();
        flight
    }

    /// Gives a file up; whether it is out of service.
    async fn has_gone(&self, file: &BlobFile, failed: Option<OpenFile>) -> bool {
        let digest = &file.digest;
        if !self.is_held_elsewhere(&self.shared.journal().view(), file) {
            tracing::error!(%digest, "a bad file stays, because no other node is known to hold the blob");
            self.doubt(file, false);
            return false;
        }
        let Some(mut leaving) = Leaving::begin(self, file).await else {
            tracing::warn!(%digest, "a bad file stays, because nothing can be written down");
            self.doubt(file, true);
            return false;
        };
        if !self.may_go(file).await {
            tracing::error!(%digest, "a bad file stays in service for now");
            self.doubt(file, true);
            return false;
        }
        let moved = self
            .store
            .set_aside(digest, file.generation, failed.as_ref());
        match moved.await {
            // Another shard may have done it.
            Ok(_) => {
                tracing::error!(%digest, "a bad file is out of service; the blob comes from another node");
                leaving.has_moved = true;
                self.trust(file);
                true
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(%digest, error, "a bad file stays in service");
                self.doubt(file, true);
                false
            }
        }
    }

    /// Looks at a file again that failed before; says whether nothing more is to be
    /// done about it.
    pub(super) async fn is_settled(self: &Rc<Self>, file: &BlobFile) -> bool {
        let view = self.shared.journal().view();
        let blob = match record_of(&view, file) {
            Ok(Some(blob)) => blob,
            // Nobody may read it any more.
            Ok(None) => return true,
            Err(_) => return false,
        };
        let is_alone = !self.is_held_elsewhere(&view, file);
        let known = metadata::extent_checksums(&view, &file.digest);
        drop(view);
        let now = self.clock.now();
        if is_alone && !self.doubts.borrow_mut().may_read(file, now) {
            return false;
        }
        let BlobFile { digest, generation } = file;
        let opened = self.store.reader(digest, *generation, blob.size_bytes);
        let (failed, read) = match opened.await {
            Ok(reader) => {
                let checksums = known.ok().flatten().unwrap_or_default();
                let read = self.store.is_sound(&reader, &checksums).await;
                (Some(reader.open_file()), read)
            }
            Err(failure) => (None, Err(failure)),
        };
        match read {
            Ok(true) => {
                // A question whose answer was lost may have been granted.
                drop(self.shared.letters().0.send(Letter::Sound(*file)));
                return true;
            }
            Ok(false) => tracing::error!(%digest, "a blob that failed is something else now"),
            Err(ReadError::Missing) => return true,
            Err(failure) if !failure.is_of_the_file() => return false,
            Err(failure) => tracing::debug!(%digest, %failure, "a blob cannot be read, still"),
        }
        !is_alone && landed(self.give_up(file, failed)).await
    }

    async fn fetch_anew(&self, file: &BlobFile) {
        let blob = record_of(&self.shared.journal().view(), file);
        if let Ok(Some(blob)) = blob {
            // The plan keeps what the state has.
            drop(self.shared.want(Want::of(file, blob.size_bytes)).await);
        }
    }

    /// Whether the state lets this node give its file up, and counts on it no more.
    async fn may_go(&self, file: &BlobFile) -> bool {
        if !is_asked_first(&self.shared.journal().view()) {
            return true;
        }
        let command = Command::YieldFile {
            node: self.shared.options().node,
            digest: file.digest,
            generation: file.generation,
        };
        match self.shared.journal().propose(command).await {
            Ok(outcome) => outcome == Outcome::Applied,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "nobody says whether a bad file may go");
                false
            }
        }
    }

    /// Whether the state names another node of the cluster that holds a blob.
    fn is_held_elsewhere(&self, view: &StateView, file: &BlobFile) -> bool {
        let holders = metadata::holders(view, &file.digest);
        let others = self.shared.peers().others(self.shared.options().node);
        holders.is_ok_and(|holders| {
            let is_other = |holder: &u64| others.iter().any(|peer| peer.node.id == *holder);
            holders.iter().any(is_other)
        })
    }
}

/// Whether all nodes know the question.
fn is_asked_first(view: &StateView) -> bool {
    let level: Result<u32, StateError> = metadata::format_level(view);
    level.is_ok_and(|level| level >= YIELD_FILE_LEVEL)
}

/// The record of a blob, when it is of this generation.
fn record_of(view: &StateView, file: &BlobFile) -> Result<Option<BlobRecord>, StateError> {
    let blob = metadata::blob(view, &file.digest)?;
    Ok(blob.filter(|blob| blob.generation == file.generation))
}

/// Waits for the end of a flight; whether the file has gone.
async fn landed(mut flight: Flight) -> bool {
    let told = flight.has_gone.wait_for(Option::is_some).await;
    told.is_ok_and(|has_gone| *has_gone == Some(true))
}
