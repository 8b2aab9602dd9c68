//! The bytes of a blob for a client, whether they are here or still come.

use std::fmt;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::blob_file::BlobFile;
use super::feed::{Listener, Stage};
use super::lent::Lent;
use super::letter::{Answer, Interest, Want};
use super::repair::Verdict;
use super::replicator::{Replicator, Worker};
use crate::base::limits::EXTENT_BYTES;
use crate::base::units::to_u64;
use crate::blob::{Chunk, Following, Piece, ReadError, Reader, Store, UploadId};
use crate::runtime::timeout;
use crate::telemetry::Metrics;

/// Files of one blob that may fail while it is read once: the one that was here, and
/// the one that came instead. After that the disk is to blame.
const REPAIRS_MAX: u32 = 2;

/// Why the bytes of a blob do not come.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// The file cannot be read.
    #[error("read a blob")]
    Read(#[from] ReadError),
    /// All of it came from other nodes, and it is something else. What was read is
    /// worthless: cut the connection.
    #[error("other nodes have something else under the digest")]
    Corrupt,
    /// Nothing came for too long: no node that has it can be reached.
    #[error("no node gives the blob")]
    Stalled,
    /// This node cannot write what comes.
    #[error("this node cannot write the blob")]
    Unwritable,
    /// Too many blobs are waited for.
    #[error("too many blobs are waited for")]
    Busy,
    /// It was condemned meanwhile.
    #[error("the blob is not there any more")]
    Gone,
    /// The node stops.
    #[error("the node is stopping")]
    Stopping,
}

/// Bytes of a blob, in order: from its file, or as far as it has come from another
/// node. The last extent only comes after the digest was checked.
///
/// Owned by the request that asked for it.
pub struct Content {
    worker: Rc<Worker>,
    file: BlobFile,
    size_bytes: u64,
    /// Nothing after a file that failed was set aside.
    source: Option<Source>,
    /// Files of this blob that failed meanwhile.
    repairs: u32,
    /// First byte not given out yet.
    position: u64,
    end: u64,
}

enum Source {
    Stored(Box<Reader>),
    Fetched(Box<Fetched>),
    Lent(Box<Lent>),
}

/// A blob that is being fetched.
struct Fetched {
    file: BlobFile,
    size_bytes: u64,
    store: Store,
    listener: Listener,
    /// The file under construction, as soon as something is to be read of it.
    following: Option<(UploadId, Following)>,
    stall_max: Duration,
    _interest: Interest,
    _counted: Counted,
}

/// Counts a reader of a blob that is being fetched.
struct Counted(Arc<Metrics>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.replication.followers.fall();
    }
}

/// What a wait for a fetch came to.
enum Progress {
    /// It may be read up to here.
    Readable(u64),
    /// It is here.
    Sealed,
}

impl Replicator {
    /// Opens the bytes `range` of a blob that the state has. What is not here is fetched
    /// with priority, and returned as it comes; the first byte has come when this
    /// returns.
    ///
    /// - Panics: when the range is not within the blob.
    pub async fn content(
        &self,
        file: &BlobFile,
        size_bytes: u64,
        range: Range<u64>,
    ) -> Result<Content, ContentError> {
        assert!(
            range.start <= range.end && range.end <= size_bytes,
            "{range:?} of {size_bytes}"
        );
        let mut content = Content {
            worker: Rc::clone(self.worker()),
            file: *file,
            size_bytes,
            source: None,
            repairs: 0,
            position: range.start,
            end: range.end,
        };
        content.open().await?;
        Ok(content)
    }
}

impl Content {
    /// Opens the blob where it is, or has it fetched and waits for its first byte.
    async fn open(&mut self) -> Result<(), ContentError> {
        // Twice at most: a file that is found between the two is not missed by both.
        loop {
            let (store, file) = (&self.worker.store, &self.file);
            let reader = store.reader(&file.digest, file.generation, self.size_bytes);
            match reader.await {
                Ok(reader) => {
                    self.go_on_with(reader);
                    return Ok(());
                }
                Err(ReadError::Missing) => {}
                Err(failure) => {
                    self.replace(None, failure).await?;
                    if self.source.is_some() {
                        return Ok(());
                    }
                }
            }
            let want = Want::of(&self.file, self.size_bytes);
            let (interest, listener) = match self.worker.shared.want(want).await {
                Some(Answer::Here) => continue,
                Some(Answer::Coming(interest, listener)) => (interest, listener),
                Some(Answer::Busy) => return Err(ContentError::Busy),
                Some(Answer::NoRoom) => return self.borrow(ContentError::Unwritable).await,
                None => return Err(ContentError::Stopping),
            };
            let metrics = Arc::clone(self.worker.shared.metrics());
            metrics.replication.followers.rise();
            let mut fetched = Fetched {
                file: self.file,
                size_bytes: self.size_bytes,
                store: self.worker.store.clone(),
                listener,
                following: None,
                stall_max: self.worker.shared.options().follow_timeout,
                _interest: interest,
                _counted: Counted(metrics),
            };
            let begun = if self.position < self.end {
                fetched.wait(self.position).await.map(drop)
            } else {
                Ok(())
            };
            return match begun {
                Err(ContentError::Unwritable) => self.borrow(ContentError::Unwritable).await,
                begun => {
                    self.source = Some(Source::Fetched(Box::new(fetched)));
                    begun
                }
            };
        }
    }

    /// Takes the bytes that are left from another node and keeps none of them: where the
    /// disk is full, pulls go on.
    ///
    /// - Errors: `otherwise`, when the state does not know what the blob consists of.
    async fn borrow(&mut self, otherwise: ContentError) -> Result<(), ContentError> {
        let lent = Lent::begin(&self.worker, &self.file, self.size_bytes);
        let mut lent = lent.ok_or(otherwise)?;
        if self.position < self.end {
            lent.reach(self.position).await?;
        }
        self.source = Some(Source::Lent(Box::new(lent)));
        Ok(())
    }

    /// Takes the bytes that are left from a file.
    fn go_on_with(&mut self, mut reader: Reader) {
        reader.range(self.position, self.end);
        self.source = Some(Source::Stored(Box::new(reader)));
    }

    /// Has a file set aside that failed, so that the blob comes from another node. As
    /// long as it may not go, the bytes that are left come from there, and are not kept.
    ///
    /// - Errors: `failure` itself when that is not possible.
    async fn replace(
        &mut self,
        failed: Option<Box<Reader>>,
        failure: ReadError,
    ) -> Result<(), ContentError> {
        self.repairs += 1;
        let is_worth_it = self.repairs <= REPAIRS_MAX;
        // Not the reader: it holds memory.
        let failed = failed.map(|reader| reader.open_file());
        let verdict = if is_worth_it {
            let replacing = self.worker.replace(&self.file, failed, &failure);
            replacing.await
        } else {
            self.worker.without(&self.file)
        };
        if verdict == Verdict::Replaced {
            return Ok(());
        }
        if verdict == Verdict::Elsewhere {
            return self.borrow(failure.into()).await;
        }
        Err(failure.into())
    }

    /// The next piece, or `None` at the end of the range.
    ///
    /// - Errors: nothing more can be sent; cut the connection.
    /// - Cancel: the bytes stay next.
    pub async fn next(&mut self) -> Result<Option<Piece>, ContentError> {
        if self.position >= self.end {
            return Ok(None);
        }
        loop {
            let piece = match &mut self.source {
                Some(Source::Stored(reader)) => match reader.next().await {
                    Ok(piece) => piece,
                    Err(failure) => {
                        let failed = match self.source.take() {
                            Some(Source::Stored(reader)) => Some(reader),
                            Some(Source::Fetched(_) | Source::Lent(_)) | None => None,
                        };
                        self.replace(failed, failure).await?;
                        continue;
                    }
                },
                Some(Source::Fetched(fetched)) => {
                    let chunk = match fetched.next(self.position, self.end).await {
                        Err(ContentError::Unwritable) => {
                            self.borrow(ContentError::Unwritable).await?;
                            continue;
                        }
                        chunk => chunk?,
                    };
                    let Some(chunk) = chunk else {
                        let reader = fetched.sealed().await?;
                        self.go_on_with(reader);
                        continue;
                    };
                    Some(Piece::Memory(chunk))
                }
                Some(Source::Lent(lent)) => {
                    let chunk = lent.next(self.position, self.end).await?;
                    Some(Piece::Memory(chunk))
                }
                None => {
                    self.open().await?;
                    continue;
                }
            };
            self.position += match &piece {
                Some(Piece::Resident { bytes, .. }) => *bytes,
                Some(Piece::Memory(chunk)) => to_u64(chunk.len()),
                None => 0,
            };
            return Ok(piece);
        }
    }

    /// Goes back over the last `bytes` given out, for a sender that gave its buffer
    /// away before they were sent.
    pub fn give_back(&mut self, bytes: usize) {
        self.position -= to_u64(bytes);
        if let Some(Source::Stored(reader)) = &mut self.source {
            reader.rewind(self.position);
        }
    }
}

impl Fetched {
    /// The next bytes from `position` before `end`; `None` when the whole is here.
    async fn next(&mut self, position: u64, end: u64) -> Result<Option<Chunk>, ContentError> {
        loop {
            let readable_bytes = match self.wait(position).await? {
                Progress::Readable(bytes) => bytes,
                Progress::Sealed => return Ok(None),
            };
            match self.follow().await {
                Ok(following) => {
                    following.seek(position);
                    let chunk = following.next(end.min(readable_bytes)).await?;
                    return Ok(Some(chunk));
                }
                // It has its final name, or the fetch begins again with another file:
                // either is told.
                Err(ReadError::Missing) => self.changed().await?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits until the byte at `position` may be read.
    async fn wait(&mut self, position: u64) -> Result<Progress, ContentError> {
        loop {
            let stage = *self.listener.borrow_and_update();
            match stage {
                Stage::Sealed => return Ok(Progress::Sealed),
                Stage::Corrupt => return Err(ContentError::Corrupt),
                Stage::Unwritable => return Err(ContentError::Unwritable),
                Stage::Building { readable_bytes, .. } => {
                    let readable_bytes = readable_bytes.min(tail_start(self.size_bytes));
                    if position < readable_bytes {
                        return Ok(Progress::Readable(readable_bytes));
                    }
                }
                Stage::Waiting => {}
            }
            self.changed().await?;
        }
    }

    async fn changed(&mut self) -> Result<(), ContentError> {
        let changed = timeout(self.stall_max, self.listener.changed()).await;
        let told = changed.map_err(|_| ContentError::Stalled)?;
        told.map_err(|_| ContentError::Gone)
    }

    /// The file under construction, opened.
    async fn follow(&mut self) -> Result<&mut Following, ReadError> {
        let stage = *self.listener.borrow();
        let Stage::Building { id, .. } = stage else {
            return Err(ReadError::Missing);
        };
        if self.following.as_ref().is_none_or(|(open, _)| *open != id) {
            self.following = None;
            let following = self.store.following(&id, self.size_bytes).await?;
            self.following = Some((id, following));
        }
        match &mut self.following {
            Some((_, following)) => Ok(following),
            None => Err(ReadError::Missing),
        }
    }

    /// The file under its final name.
    async fn sealed(&self) -> Result<Reader, ContentError> {
        let BlobFile { digest, generation } = &self.file;
        let reader = self.store.reader(digest, *generation, self.size_bytes);
        Ok(reader.await?)
    }
}

/// Start of the last extent, which is held back until the digest is checked: nobody
/// has the whole of a blob before.
const fn tail_start(size_bytes: u64) -> u64 {
    size_bytes.saturating_sub(1) / EXTENT_BYTES as u64 * EXTENT_BYTES as u64
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content")
            .field("is_here", &matches!(self.source, Some(Source::Stored(_))))
            .field("position", &self.position)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}
