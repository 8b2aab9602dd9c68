//! The blob store as one shard sees it.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::custody::{self, Custody, ToJanitor};
use super::desk::{Claim, Desk, Letter, Question, Refusal};
use super::errors::UploadError;
use super::layout::Layout;
use super::open::Shared;
use super::popularity::Popularity;
use super::progress::Progress;
use super::record::{RECORD_BYTES_MAX, Record};
use super::table::Standing;
use super::tap::{RestingTaps, Tap};
use super::upload::Upload;
use super::upload_id::UploadId;
use crate::base::Clock;
use crate::base::limits::UPLOAD_IDLE_MAX;
use crate::base::units::to_u64;
use crate::disk::{Directories, read_small_file, write_small_file};
use crate::memory::{Buffer, Pool};
use crate::oci::{Algorithm, Digest, Repository};
use crate::runtime::{Task, sleep, spawn_bulk, spawn_prompt, timeout};
use crate::telemetry::{Metrics, UploadEnd};

/// A request waits this long for another one to let go of a session: a client that
/// hung up and came back is faster than the end of its old connection.
const BUSY_WAIT: Duration = Duration::from_secs(2);
/// How often idle sessions are looked for.
const PURGE_PERIOD: Duration = Duration::from_secs(60);

/// Begins, resumes and reads blobs on one shard; `Clone` is another handle on the
/// same shard. Made once per shard; its tasks end with the last handle.
#[derive(Clone)]
pub struct Store(Rc<Inner>);

struct Inner {
    shared: Shared,
    shard: u16,
    pool: Pool,
    directories: Directories,
    clock: Clock,
    metrics: Arc<Metrics>,
    desk: Desk,
    janitor: ToJanitor,
    popularity: RefCell<Popularity>,
    taps: RefCell<RestingTaps>,
    /// The desk's inbox, the janitor and the purge; dropped with the store.
    _tasks: [Task<()>; 3],
}

/// What a shard lends to its store.
#[derive(Debug, Clone)]
pub struct Machinery {
    /// Buffers of the shard.
    pub pool: Pool,
    /// Renames and syncs of the shard.
    pub directories: Directories,
    /// Time.
    pub clock: Clock,
    /// Counters of the process.
    pub metrics: Arc<Metrics>,
}

impl Store {
    /// The store of the data shard numbered `shard`, from 0. Runs on that shard's
    /// executor.
    ///
    /// - Panics: when `shard` is not below the `shards` the store was opened for.
    #[must_use]
    pub fn new(shared: Shared, shard: u16, machinery: Machinery) -> Self {
        let Machinery {
            pool,
            directories,
            clock,
            metrics,
        } = machinery;
        let (owner, (outbox, inbox)) = shared.desk(shard);
        assert_eq!(owner, usize::from(shard), "every shard has its own desk");
        let desk = Desk::new(outbox.clone(), inbox.clone(), clock.clone());
        let (janitor, closings) = flume::unbounded();
        let tasks = [
            spawn_prompt(desk.clone().serve()),
            spawn_prompt(custody::clean(closings, directories.clone())),
            spawn_bulk(purge(
                desk.clone(),
                shared.layout().clone(),
                directories.clone(),
                Arc::clone(&metrics),
            )),
        ];
        Self(Rc::new(Inner {
            shared,
            shard,
            pool,
            directories,
            clock,
            metrics,
            desk,
            janitor,
            popularity: RefCell::new(Popularity::new()),
            taps: RefCell::default(),
            _tasks: tasks,
        }))
    }

    /// Begins a session that further requests continue. Nothing is written yet: the
    /// id itself is the proof that the session was begun.
    ///
    /// - Errors: `TooMany`.
    pub fn begin(
        &self,
        repository: &Repository,
        announced: Option<Algorithm>,
    ) -> Result<UploadId, UploadError> {
        let id = self.mint(Some(repository));
        let standing = Standing {
            held_bytes: 0,
            algorithm: announced.unwrap_or(Algorithm::Sha256),
        };
        let entered = self.0.desk.enter(id, standing);
        entered.map_err(|_| UploadError::TooMany)?;
        self.0.metrics.blob.uploads_begun.count();
        Ok(id)
    }

    /// An upload that this request brings to its end, without a session: for a POST
    /// with the whole body. Dropped, nothing is left of it.
    #[must_use]
    pub fn receive(&self, repository: &Repository, algorithm: Algorithm) -> Upload {
        self.0.metrics.blob.uploads_begun.count();
        self.receive_for(Some(repository), algorithm)
    }

    /// Bytes that another node sends while it receives them, of a blob whose digest is
    /// said at the end. Dropped, nothing is left of it.
    #[must_use]
    pub fn take(&self, algorithm: Algorithm) -> Upload {
        self.receive_for(None, algorithm)
    }

    /// As [`Store::receive`], for whomever.
    pub(super) fn receive_for(
        &self,
        repository: Option<&Repository>,
        algorithm: Algorithm,
    ) -> Upload {
        let id = self.mint(repository);
        let data = self.0.shared.layout().upload_data(&id);
        let custody = Custody::of_file(data, self.0.janitor.clone());
        let progress = Progress::new(algorithm);
        Upload::new(self.clone(), id, repository.cloned(), custody, progress)
    }

    /// Takes a session up where it was acknowledged last. Until the upload ends,
    /// every other request for it waits, on any shard.
    ///
    /// - Errors: `Unknown` for an id that is not of this node and repository, or
    ///   whose session has ended; `Busy` when another request does not let go.
    /// - Cancel: the session is free again.
    pub async fn resume(
        &self,
        repository: &Repository,
        id: &UploadId,
    ) -> Result<Upload, UploadError> {
        let question = self.question(repository, id)?;
        let claim = self.check_out(question).await?;
        let standing = claim.standing();
        let custody = Custody::of_session(claim, self.0.janitor.clone());
        let progress = Progress::new(standing.algorithm);
        let repository = Some(repository.clone());
        let upload = Upload::new(self.clone(), *id, repository, custody, progress);
        if standing.held_bytes == 0 {
            return Ok(upload);
        }
        let tap = self.0.taps.borrow_mut().take(id);
        let record = self.read_record(id).await?;
        self.regain(&record).await?;
        let mut upload = upload.with_record(Box::new(record));
        upload.tap = tap;
        Ok(upload)
    }

    /// Bytes of a session that were acknowledged, also while a request works on it.
    ///
    /// - Errors: as [`Store::resume`], but never `Busy`.
    pub async fn held(&self, repository: &Repository, id: &UploadId) -> Result<u64, UploadError> {
        let question = self.question(repository, id)?;
        let (owner, (outbox, _)) = self.0.shared.desk(id.fields().shard);
        let held_bytes = if owner == usize::from(self.0.shard) {
            self.0.desk.held_bytes(question)
        } else {
            let (reply, answer) = flume::bounded(1);
            let asked = outbox.send(Letter::Held { question, reply });
            asked.map_err(|_| UploadError::Stopping)?;
            answer
                .recv_async()
                .await
                .map_err(|_| UploadError::Stopping)?
        };
        held_bytes.ok_or(UploadError::Unknown)
    }

    /// Sessions that this shard owns.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.0.desk.count()
    }

    /// Pooled memory of this shard.
    #[must_use]
    pub fn pool_bytes(&self) -> u64 {
        self.0.pool.usage().total_bytes
    }

    /// Pooled memory now, or not at all. Never overtakes somebody who waits.
    #[must_use]
    pub fn try_buffer(&self, bytes: u32) -> Option<Buffer> {
        self.0.pool.try_acquire(bytes)
    }

    async fn check_out(&self, question: Question) -> Result<Claim, UploadError> {
        let (owner, (outbox, _)) = self.0.shared.desk(question.id.fields().shard);
        let (reply, answer) = flume::bounded(1);
        if owner == usize::from(self.0.shard) {
            self.0.desk.check_out(question, reply);
        } else {
            let asked = outbox.send(Letter::CheckOut { question, reply });
            asked.map_err(|_| UploadError::Stopping)?;
        }
        match timeout(BUSY_WAIT, answer.recv_async()).await {
            Ok(Ok(Ok(claim))) => Ok(claim),
            Ok(Ok(Err(Refusal::Unknown))) => Err(UploadError::Unknown),
            Ok(Ok(Err(Refusal::Busy))) | Err(_) => Err(UploadError::Busy),
            Ok(Err(_)) => Err(UploadError::Stopping),
        }
    }

    /// Checks that this node made the id for this repository.
    fn question(&self, repository: &Repository, id: &UploadId) -> Result<Question, UploadError> {
        let minter = self.0.shared.minter();
        if !minter.is_authentic(id, repository) {
            return Err(UploadError::Unknown);
        }
        let created_s = u64::from(id.fields().created_s);
        let age_s = (self.0.clock.unix_ms() / 1000).saturating_sub(created_s);
        Ok(Question {
            id: *id,
            may_revive: !minter.is_of_this_boot(id) && age_s <= UPLOAD_IDLE_MAX.as_secs(),
        })
    }

    fn mint(&self, repository: Option<&Repository>) -> UploadId {
        let now_s = u32::try_from(self.0.clock.unix_ms() / 1000).unwrap_or(u32::MAX);
        self.0.shared.minter().mint(repository, self.0.shard, now_s)
    }

    async fn read_record(&self, id: &UploadId) -> Result<Record, UploadError> {
        let path = self.0.shared.layout().upload_session(id);
        let content = read_small_file(&path, RECORD_BYTES_MAX).await?;
        let record = content.map(|content| Record::decode(&content)).transpose();
        match record {
            Ok(Some(record)) if record.id == *id => Ok(record),
            Ok(_) => Err(UploadError::Record { path, source: None }),
            Err(error) => Err(UploadError::Record {
                path,
                source: Some(error),
            }),
        }
    }

    /// Gives a session its own bytes again that were sealed when the process was
    /// killed, and were left in their place because other nodes may count on them.
    async fn regain(&self, record: &Record) -> Result<(), UploadError> {
        let Some((digest, generation)) = record.sealing else {
            return Ok(());
        };
        let layout = self.0.shared.layout();
        let (sealed, data) = (
            layout.blob(&digest, generation),
            layout.upload_data(&record.id),
        );
        if record.data_bytes() == 0 {
            return Ok(());
        }
        let copied = self.0.directories.copy_unless_there(&sealed, &data).await;
        copied.map_err(|error| {
            if error.is_missing() {
                UploadError::Unknown
            } else {
                error.into()
            }
        })
    }

    pub(super) async fn write_record(&self, record: &Record) -> Result<(), UploadError> {
        let path = self.0.shared.layout().upload_session(&record.id);
        Ok(write_small_file(&path, record.encode()).await?)
    }

    /// Notes that a blob is opened; whether that happened often lately.
    pub(super) fn is_popular(&self, digest: &Digest) -> bool {
        let now = self.0.clock.now();
        self.0.popularity.borrow_mut().note(digest, now)
    }

    /// Keeps where the bytes of a session go besides its file, until the session is
    /// taken up here again.
    pub(super) fn rest_tap(&self, id: UploadId, tap: Tap) {
        self.0.taps.borrow_mut().put(id, tap);
    }

    pub(super) fn count_received(&self, bytes: u64) {
        self.0.metrics.blob.uploaded_bytes.add(bytes);
    }

    pub(super) fn janitor(&self) -> ToJanitor {
        self.0.janitor.clone()
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.0.shared
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.0.pool
    }

    pub(super) fn directories(&self) -> &Directories {
        &self.0.directories
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store(shard {})", self.0.shard)
    }
}

/// Ends idle sessions, again and again. A task of the owner shard.
async fn purge(desk: Desk, layout: Layout, directories: Directories, metrics: Arc<Metrics>) {
    loop {
        sleep(PURGE_PERIOD).await;
        let ended = purge_once(&desk, &layout, &directories).await;
        let expired = metrics.blob.uploads_ended.of(UploadEnd::Expired);
        expired.add(to_u64(ended));
    }
}

/// Ends the sessions that nobody uses any more. Returns how many.
async fn purge_once(desk: &Desk, layout: &Layout, directories: &Directories) -> usize {
    let idle_ms = u64::try_from(UPLOAD_IDLE_MAX.as_millis()).unwrap_or(u64::MAX);
    let ended = desk.purge(idle_ms);
    for id in &ended {
        // The record first: bytes without one are known to be a leftover.
        let files: [&Path; 2] = [&layout.upload_session(id), &layout.upload_data(id)];
        for path in files {
            custody::remove(directories, path).await;
        }
        tracing::debug!(upload = %id, "an idle upload session ends");
    }
    ended.len()
}

#[cfg(test)]
#[path = "store_test.rs"]
mod tests;
