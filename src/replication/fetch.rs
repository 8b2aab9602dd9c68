//! One attempt at a blob, from one source.

use std::convert::Infallible;
use std::num::NonZeroU64;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_lite::future::or;

use super::attempt::{Ended, Urgency};
use super::blob_file::BlobFile;
use super::feed::Stage;
use super::letter::{Fetch, Letter};
use super::replicator::Worker;
use crate::base::limits::EXTENT_BYTES;
use crate::base::units::to_u64;
use crate::blob::{Import, ImportError, SealError, UploadError};
use crate::runtime::sleep;
use crate::telemetry::{FetchEnd, FetchFailure};
use crate::transfer::{TransferError, TransferRefusal, TransferRequest};

/// Time spent waiting for a source within which at least an extent must come, when
/// another source could do better. Less than an extent would also be less than what is
/// kept when the source changes, so that the blob might never come.
const SLOW_WAIT_MAX: Duration = Duration::from_secs(20);

/// Why a fetch did not bring the whole blob.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("the source failed")]
    Source(#[from] TransferError),
    #[error("the source is slower than another might be")]
    Slow,
    #[error("the source has {found_bytes} bytes of a blob of {size_bytes}")]
    Size { size_bytes: u64, found_bytes: u64 },
    #[error("the source sent wrong bytes")]
    Import(#[from] ImportError),
    #[error("make the copy durable")]
    Seal(#[from] SealError),
}

impl From<UploadError> for FetchError {
    fn from(error: UploadError) -> Self {
        Self::Import(error.into())
    }
}

impl FetchError {
    /// What the plan makes of it, and the reason as a label.
    fn classify(&self, has_moved: bool) -> (Ended, FetchFailure) {
        let failed = Ended::SourceFailed { has_moved };
        match self {
            Self::Source(error) => match error {
                TransferError::Unreachable(_) => (failed, FetchFailure::Unreachable),
                TransferError::Lost(_) | TransferError::Cut { .. } => {
                    (failed, FetchFailure::Broken)
                }
                TransferError::Stalled => (failed, FetchFailure::Stalled),
                TransferError::Header(_) | TransferError::WrongRange | TransferError::OutOfTurn => {
                    (failed, FetchFailure::Protocol)
                }
                TransferError::Refused(refusal) => match refusal {
                    TransferRefusal::Busy => (Ended::SourceLacks, FetchFailure::Busy),
                    TransferRefusal::NotHere => (Ended::SourceLacks, FetchFailure::Lacks),
                    TransferRefusal::NoSuchRange => (Ended::SourceLied, FetchFailure::Protocol),
                    TransferRefusal::Failed => (Ended::SourceLied, FetchFailure::Broken),
                },
            },
            Self::Slow => (failed, FetchFailure::Slow),
            Self::Size { .. } => (Ended::SourceLied, FetchFailure::Protocol),
            Self::Import(ImportError::Corrupt { .. }) => {
                (Ended::SourceLied, FetchFailure::Checksum)
            }
            Self::Seal(SealError::DigestMismatch { .. }) => {
                (Ended::SourceLied, FetchFailure::Digest)
            }
            Self::Import(ImportError::Upload(UploadError::NoSpace { .. }))
            | Self::Seal(SealError::Upload(UploadError::NoSpace { .. })) => {
                (Ended::LocalFailed, FetchFailure::NoSpace)
            }
            Self::Import(ImportError::Upload(_)) | Self::Seal(_) => {
                (Ended::LocalFailed, FetchFailure::Disk)
            }
        }
    }
}

/// Tells the coordinator how a fetch ended, whatever becomes of it.
struct Report {
    worker: Rc<Worker>,
    file: BlobFile,
    how: Ended,
}

impl Drop for Report {
    fn drop(&mut self) {
        let label = match self.how {
            Ended::Sealed => FetchEnd::Sealed,
            Ended::SourceFailed { .. } => FetchEnd::SourceFailed,
            Ended::SourceLacks => FetchEnd::SourceLacks,
            Ended::SourceLied => FetchEnd::SourceLied,
            Ended::LocalFailed => FetchEnd::LocalFailed,
            Ended::GivenUp => FetchEnd::GivenUp,
        };
        let shared = &self.worker.shared;
        shared.metrics().replication.fetches.of(label).count();
        let letter = Letter::Ended {
            file: self.file,
            how: self.how,
        };
        // Without a coordinator the process ends.
        drop(shared.letters().0.send(letter));
    }
}

/// Carries out one order, until `is_stopped` has no sender any more.
pub(super) async fn run(
    worker: Rc<Worker>,
    order: Box<Fetch>,
    is_stopped: flume::Receiver<Infallible>,
) {
    let mut report = Report {
        worker: Rc::clone(&worker),
        file: order.file(),
        // What a panic leaves.
        how: Ended::LocalFailed,
    };
    let began = worker.clock.now();
    let stopped = async {
        let _ = is_stopped.recv_async().await;
        Ended::GivenUp
    };
    report.how = or(Box::pin(fetch(&worker, &order)), stopped).await;
    let took = worker.clock.now() - began;
    let metrics = &worker.shared.metrics().replication;
    metrics.fetch_seconds.observe(took);
}

async fn fetch(worker: &Rc<Worker>, order: &Fetch) -> Ended {
    let file = order.file();
    let parked = worker.parked.borrow_mut().take(&file);
    let mut import = match parked {
        Some(import) => import,
        None => worker.store.import(order.expected.clone()).await,
    };
    let from_bytes = import.held_bytes();
    let received = receive(worker, order, &mut import).await;
    let has_moved = import.held_bytes() - from_bytes >= u64::from(EXTENT_BYTES);
    let outcome = match received {
        Ok(()) => import.seal().await.map_err(FetchError::from),
        Err(error) => {
            park(worker, file, import, &error).await;
            Err(error)
        }
    };
    let Err(error) = outcome else {
        order.feed.tell(Stage::Sealed);
        return Ended::Sealed;
    };
    let (how, reason) = error.classify(has_moved);
    worker
        .shared
        .metrics()
        .replication
        .fetch_failures
        .of(reason)
        .count();
    match &error {
        FetchError::Seal(SealError::DigestMismatch { .. }) => order.feed.tell(Stage::Corrupt),
        _ if how == Ended::LocalFailed => order.feed.tell(Stage::Unwritable),
        _ => {}
    }
    log(order, &error, how);
    how
}

fn log(order: &Fetch, error: &FetchError, how: Ended) {
    let (digest, source) = (&order.expected.digest, order.source.id);
    let error = error as &dyn std::error::Error;
    match how {
        Ended::SourceLied => {
            tracing::warn!(%digest, source, error, "a node has a damaged copy of a blob");
        }
        Ended::LocalFailed => tracing::error!(%digest, error, "a copy of a blob cannot be stored"),
        _ => tracing::debug!(%digest, source, error, "a blob was not fetched"),
    }
}

/// Keeps what is right of an import for the next source.
async fn park(worker: &Worker, file: BlobFile, mut import: Import, error: &FetchError) {
    let is_writable = !matches!(error, FetchError::Import(ImportError::Upload(_)));
    if is_writable && import.rewind().await.is_ok() && import.held_bytes() > 0 {
        worker.parked.borrow_mut().put(file, import);
    }
}

/// Takes in what the source sends, up to the last byte.
async fn receive(worker: &Worker, order: &Fetch, import: &mut Import) -> Result<(), FetchError> {
    let Fetch { expected, feed, .. } = order;
    let size_bytes = expected.size_bytes;
    let request = TransferRequest {
        digest: expected.digest,
        generation: expected.generation,
        offset: import.held_bytes(),
        bytes: size_bytes - import.held_bytes(),
    };
    let mut incoming = worker.transfers.fetch(&order.source, &request).await?;
    if incoming.size() != size_bytes {
        let found_bytes = incoming.size();
        return Err(FetchError::Size {
            size_bytes,
            found_bytes,
        });
    }
    let metrics = &worker.shared.metrics().replication;
    let limit = worker.shared.options().fetch_bytes_per_second();
    let limit = limit.filter(|_| order.urgency == Urgency::Background);
    let mut pace = Pace::new(order.has_others, limit, worker.clock.now());
    while !import.is_whole() {
        let space = import.space().await?;
        let asked = worker.clock.now();
        let count = incoming.read(space).await?;
        let waited = worker.clock.now() - asked;
        metrics.received_bytes.add(to_u64(count));
        import.advance(count).await?;
        feed.tell(Stage::Building {
            id: import.id(),
            readable_bytes: import.readable_bytes()?,
        });
        if pace.note(to_u64(count), waited) {
            return Err(FetchError::Slow);
        }
        if let Some(early) = pace.early_by(worker.clock.now())
            && !feed.is_heard()
        {
            sleep(early).await;
        }
    }
    Ok(())
}

/// How fast a source is, and how fast it may be.
struct Pace {
    /// Bytes and waiting since the source was judged last.
    bytes: u64,
    waited: Duration,
    /// Whether another source could take over.
    is_judged: bool,
    /// Bytes in a second that are not exceeded, since when, and how many came.
    limit: Option<NonZeroU64>,
    began: Instant,
    total_bytes: u64,
}

impl Pace {
    const fn new(is_judged: bool, limit: Option<NonZeroU64>, began: Instant) -> Self {
        Self {
            bytes: 0,
            waited: Duration::ZERO,
            is_judged,
            limit,
            began,
            total_bytes: 0,
        }
    }

    /// Notes what came and how long it was waited for; whether the source is too slow.
    fn note(&mut self, bytes: u64, waited: Duration) -> bool {
        self.total_bytes += bytes;
        self.bytes += bytes;
        self.waited += waited;
        if self.bytes >= u64::from(EXTENT_BYTES) {
            (self.bytes, self.waited) = (0, Duration::ZERO);
        }
        self.is_judged && self.waited > SLOW_WAIT_MAX
    }

    /// How long to wait when more came than may.
    fn early_by(&self, now: Instant) -> Option<Duration> {
        let due_ms = self.total_bytes.saturating_mul(1000) / self.limit?;
        let due = self.began + Duration::from_millis(due_ms);
        Some(due.saturating_duration_since(now)).filter(|early| !early.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Clock;
    use crate::base::units::MIB;

    #[test]
    fn a_source_is_too_slow_when_an_extent_takes_too_long_to_come_and_others_have_it() {
        let now = Clock::hand_moved().now();
        let half = u64::from(EXTENT_BYTES / 2);
        let mut pace = Pace::new(true, None, now);
        for _ in 0..10 {
            assert!(!pace.note(half, SLOW_WAIT_MAX / 2));
        }
        assert!(!pace.note(half - 1, SLOW_WAIT_MAX / 2));
        assert!(pace.note(0, SLOW_WAIT_MAX));
        let mut only = Pace::new(false, None, now);
        assert!(!only.note(1, SLOW_WAIT_MAX * 10));
    }

    #[test]
    fn a_limited_fetch_waits_for_its_time() {
        let clock = Clock::hand_moved();
        let mut pace = Pace::new(true, NonZeroU64::new(u64::from(MIB)), clock.now());
        pace.note(u64::from(MIB / 2), Duration::ZERO);
        let early = pace.early_by(clock.now());
        assert_eq!(early, Some(Duration::from_millis(500)));
        clock.advance(Duration::from_millis(500));
        assert_eq!(pace.early_by(clock.now()), None);
        assert_eq!(
            Pace::new(true, None, clock.now()).early_by(clock.now()),
            None
        );
    }
}
