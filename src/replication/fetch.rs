//! One attempt at a blob, from the sources that are known at its beginning.

use std::convert::Infallible;
use std::rc::Rc;

use futures_lite::future::or;

use super::attempt::{Ended, Urgency};
use super::blob_file::BlobFile;
use super::feed::Stage;
use super::letter::{Fetch, Letter};
use super::replicator::Worker;
use super::sources::Sources;
use crate::base::limits::EXTENT_BYTES;
use crate::blob::{Import, ImportError, SealError, UploadError};
use crate::telemetry::{FetchEnd, FetchFailure};
use crate::transfer::{TransferError, TransferRefusal};

/// Why a fetch did not bring the whole blob.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("the source failed")]
    Source(#[from] TransferError),
    #[error("the source is slower than another might be")]
    Slow,
    #[error("the source is slower than the others are")]
    Outdone,
    #[error("the source sends nothing, and another one might")]
    Silent,
    #[error("the source has {found_bytes} bytes of a blob of {size_bytes}")]
    Size { size_bytes: u64, found_bytes: u64 },
    #[error("the source sent wrong bytes")]
    Import(#[from] ImportError),
    #[error("make the copy durable")]
    Seal(#[source] Box<SealError>),
}

impl From<SealError> for FetchError {
    fn from(error: SealError) -> Self {
        Self::Seal(error.into())
    }
}

impl From<UploadError> for FetchError {
    fn from(error: UploadError) -> Self {
        Self::Import(error.into())
    }
}

impl FetchError {
    /// What the plan makes of it, and the reason as a label.
    pub(super) fn classify(&self, has_moved: bool) -> (Ended, FetchFailure) {
        let failed = Ended::SourceFailed { has_moved };
        let lacks = Ended::SourceLacks { has_moved };
        let busy = Ended::SourceBusy { has_moved };
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
                    TransferRefusal::Busy => (busy, FetchFailure::Busy),
                    TransferRefusal::NotHere => (lacks, FetchFailure::Lacks),
                    TransferRefusal::NoSuchRange => (Ended::SourceLied, FetchFailure::Protocol),
                    TransferRefusal::Failed => (Ended::SourceLied, FetchFailure::Broken),
                },
            },
            Self::Slow | Self::Outdone => (failed, FetchFailure::Slow),
            Self::Silent => (failed, FetchFailure::Stalled),
            Self::Size { .. } => (Ended::SourceLied, FetchFailure::Protocol),
            Self::Import(ImportError::Corrupt { .. }) => {
                (Ended::SourceLied, FetchFailure::Checksum)
            }
            Self::Import(ImportError::Upload(UploadError::NoSpace { .. })) => {
                (Ended::LocalFailed, FetchFailure::NoSpace)
            }
            Self::Import(ImportError::Upload(_)) => (Ended::LocalFailed, FetchFailure::Disk),
            Self::Seal(error) => match **error {
                SealError::DigestMismatch { .. } => (Ended::SourceLied, FetchFailure::Digest),
                SealError::Upload(UploadError::NoSpace { .. }) => {
                    (Ended::LocalFailed, FetchFailure::NoSpace)
                }
                _ => (Ended::LocalFailed, FetchFailure::Disk),
            },
        }
    }
}

/// The end of a fetch from one source, as a label.
pub(super) const fn label(how: Ended) -> FetchEnd {
    match how {
        Ended::Sealed => FetchEnd::Sealed,
        Ended::SourceFailed { .. } => FetchEnd::SourceFailed,
        Ended::SourceLacks { .. } | Ended::SourceBusy { .. } => FetchEnd::SourceLacks,
        Ended::SourceLied => FetchEnd::SourceLied,
        Ended::LocalFailed => FetchEnd::LocalFailed,
        Ended::GivenUp => FetchEnd::GivenUp,
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
        let shared = &self.worker.shared;
        shared
            .metrics()
            .replication
            .fetches
            .of(label(self.how))
            .count();
        let letter = Letter::Ended {
            file: self.file,
            how: self.how,
        };
        // Without a coordinator the process ends.
        drop(shared.letters().0.send(letter));
    }
}

/// Counts a fetch that somebody waits for.
struct Urgent<'a>(&'a Worker);

impl<'a> Urgent<'a> {
    fn count(worker: &'a Worker, urgency: Urgency) -> Option<Self> {
        (urgency == Urgency::OnDemand).then(|| {
            worker.urgent.set(worker.urgent.get() + 1);
            Self(worker)
        })
    }
}

impl Drop for Urgent<'_> {
    fn drop(&mut self) {
        self.0.urgent.set(self.0.urgent.get() - 1);
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
    let _urgent = Urgent::count(&worker, order.urgency);
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
    let sources = Sources::new(worker, order, &import);
    let received = Box::pin(sources.receive(&mut import)).await;
    let has_moved = import.held_bytes() - from_bytes >= u64::from(EXTENT_BYTES);
    let outcome = match received {
        Ok(()) => {
            let sealed = import.seal().await;
            sealed.map_err(|error| (order.source.id, error.into()))
        }
        Err((source, error)) => {
            park(worker, file, import, &error).await;
            Err((source, error))
        }
    };
    let Err((source, error)) = outcome else {
        order.feed.tell(Stage::Sealed);
        return Ended::Sealed;
    };
    let (how, reason) = error.classify(has_moved);
    worker.shared.metrics().replication.failed(source, reason);
    match reason {
        FetchFailure::Digest => order.feed.tell(Stage::Corrupt),
        _ if how == Ended::LocalFailed => order.feed.tell(Stage::Unwritable),
        _ => {}
    }
    log(order, source, &error, how);
    how
}

/// Says of a source how it failed.
pub(super) fn log(order: &Fetch, source: u64, error: &FetchError, how: Ended) {
    let digest = &order.expected.digest;
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
