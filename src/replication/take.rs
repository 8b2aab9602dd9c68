//! Takes bytes of uploads that other nodes pass on while they come.

use super::attempt::Ended;
use super::blob_file::BlobFile;
use super::letter::Letter;
use super::message::Hold;
use super::replicator::Worker;
use crate::base::CodecError;
use crate::base::limits::MOVE_BYTES_MIN;
use crate::base::units::{index_of, to_u64, to_usize};
use crate::blob::{SealError, Upload, UploadError};
use crate::telemetry::TeeEnd;
use crate::transfer::{
    Arriving, ServeTransferError, TakeRequest, Taking, TransferRefusal, TransferServer,
};

/// Uploads that one shard takes at a time fit, each with its smallest buffer, into one
/// part in this many of the pool; another node holds them then.
const TAKING_SHARES: u64 = 4;

/// Why an upload of another node does not become a blob here.
#[derive(Debug, thiserror::Error)]
enum TakeError {
    #[error("the other node")]
    Peer(#[from] ServeTransferError),
    #[error("write the bytes")]
    Upload(#[from] UploadError),
    #[error("what came is not what it is said to be")]
    Other,
    #[error("read what it is said to be")]
    End(#[from] CodecError),
    #[error("make it durable")]
    Seal(#[from] SealError),
}

/// Counts an upload among those taken, and its end, whatever it is.
struct Place<'a> {
    worker: &'a Worker,
    end: TeeEnd,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.worker.taking.set(self.worker.taking.get() - 1);
        let takes = &self.worker.shared.metrics().replication.takes;
        takes.of(self.end).count();
    }
}

/// Tells the coordinator that a blob is being made durable, so that it is not fetched
/// as well; and how that ended, whatever becomes of it.
struct Coming<'a> {
    worker: &'a Worker,
    file: BlobFile,
    how: Ended,
}

impl<'a> Coming<'a> {
    fn tell(worker: &'a Worker, hold: &Hold) -> Self {
        let file = BlobFile {
            digest: hold.expected.digest,
            generation: hold.expected.generation,
        };
        let letter = Letter::Coming {
            file,
            size_bytes: hold.expected.size_bytes,
            source: hold.origin,
        };
        // Without a coordinator the process ends.
        drop(worker.shared.letters().0.send(letter));
        Self {
            worker,
            file,
            how: Ended::GivenUp,
        }
    }
}

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        let letter = Letter::Came {
            file: self.file,
            how: self.how,
        };
        drop(self.worker.shared.letters().0.send(letter));
    }
}

/// Serves one take request; an error ends the connection.
pub(super) async fn take(
    worker: &Worker,
    server: &mut TransferServer,
    request: &TakeRequest,
) -> Result<(), ServeTransferError> {
    let has_place = worker.taking.get() < taking_max(worker.store.pool_bytes());
    if !has_place || !worker.shared.has_room() {
        let takes = &worker.shared.metrics().replication.takes;
        takes.of(TeeEnd::Refused).count();
        return server.refuse(TransferRefusal::Busy).await;
    }
    worker.taking.set(worker.taking.get() + 1);
    let mut place = Place {
        worker,
        end: TeeEnd::Failed,
    };
    let node = server.peer();
    let mut taking = server.take().await?;
    let upload = worker.store.take(request.algorithm);
    match Box::pin(receive(worker, node, &mut taking, upload)).await {
        Ok(()) => {
            place.end = TeeEnd::Held;
            taking.held().await
        }
        Err(TakeError::Peer(error)) => {
            place.end = TeeEnd::Abandoned;
            Err(error)
        }
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "an upload of another node is not taken");
            taking.refuse(TransferRefusal::Failed).await
        }
    }
}

/// Uploads taken at a time with a pool of `pool_bytes`.
fn taking_max(pool_bytes: u64) -> usize {
    index_of(pool_bytes / TAKING_SHARES / u64::from(MOVE_BYTES_MIN)).max(1)
}

/// Returns when everything came and is durable.
async fn receive(
    worker: &Worker,
    node: u64,
    taking: &mut Taking<'_>,
    mut upload: Upload,
) -> Result<(), TakeError> {
    let metrics = &worker.shared.metrics().replication;
    let end = loop {
        let mut left_bytes = match taking.next().await? {
            Arriving::Bytes(bytes) => to_usize(bytes),
            Arriving::End(end) => break end,
        };
        while left_bytes > 0 {
            let count = taking.read(upload.space().await?).await?;
            metrics.received(node, to_u64(count));
            upload.advance(count).await?;
            left_bytes -= count;
        }
    };
    let hold = Hold::decode(&end)?;
    if !upload.is(&hold.expected) {
        return Err(TakeError::Other);
    }
    let mut coming = Coming::tell(worker, &hold);
    match upload.seal_taken(&hold.expected).await {
        Ok(()) => {
            coming.how = Ended::Sealed;
            Ok(())
        }
        Err(error) => {
            if !matches!(error, SealError::DigestMismatch { .. }) {
                coming.how = Ended::LocalFailed;
            }
            Err(error.into())
        }
    }
}
