//! Serves transfer connections: gives other nodes the bytes of blobs, or has theirs
//! taken.

use std::rc::Rc;

use super::blob_file::BlobFile;
use super::replicator::{Replicator, Worker};
use super::share::{Held, Holding};
use super::take::take;
use crate::blob::{Piece, ReadError, Reader};
use crate::peer::Link;
use crate::runtime::{Task, spawn_bulk, spawn_prompt};
use crate::telemetry::ServeEnd;
use crate::transfer::{
    Asked, ServeTransferError, TakeRequest, TransferAnswer, TransferRefusal, TransferRequest,
    TransferServer,
};

/// Blobs that one shard sends at a time; another node asks elsewhere then.
const SERVES_MAX: usize = 8;
/// Reads ahead of the socket.
const AHEAD_MOVES: usize = 1;

/// Why an answer did not come to its end.
#[derive(Debug, thiserror::Error)]
enum AnswerError {
    #[error("the other node")]
    Peer(#[from] ServeTransferError),
    #[error("read a blob")]
    Read(#[from] ReadError),
}

/// Counts a request among those being served.
struct Place<'a> {
    worker: &'a Worker,
    _held: Held,
}

impl<'a> Place<'a> {
    fn take(worker: &'a Worker) -> Option<Self> {
        let count = worker.serving.get();
        let held = worker.share.take(Holding::Serve);
        let held = held.filter(|_| count < SERVES_MAX)?;
        worker.serving.set(count + 1);
        Some(Self {
            worker,
            _held: held,
        })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.worker.serving.set(self.worker.serving.get() - 1);
    }
}

impl Replicator {
    /// Serves an accepted transfer connection, until the other node has no more
    /// requests or breaks off. Clients go first.
    ///
    /// - Cancel: closes the connection.
    pub async fn serve_transfer(&self, link: Link) {
        let serving = spawn_bulk(serve(Rc::clone(self.worker()), link));
        // A panic was logged by the task.
        drop(serving.await);
    }
}

async fn serve(worker: Rc<Worker>, link: Link) {
    let peer = link.peer();
    let mut server = TransferServer::new(link);
    let ended = loop {
        match server.next().await {
            Ok(Some(asked)) => {
                let served = match asked {
                    Asked::Content(request) => answer(&worker, &mut server, &request).await,
                    Asked::Take(request) => {
                        let taking = take_promptly(Rc::clone(&worker), server, request);
                        // A panic was logged by the task.
                        let Ok((back, taken)) = taking.await else {
                            return;
                        };
                        server = back;
                        taken
                    }
                };
                if let Err(error) = served {
                    break Err(error);
                }
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    if let Err(error) = ended {
        let error = &error as &dyn std::error::Error;
        tracing::debug!(peer, error, "a transfer connection ended");
    }
}

/// Has a take request served before what can wait, because a client waits for it.
fn take_promptly(
    worker: Rc<Worker>,
    mut server: TransferServer,
    request: TakeRequest,
) -> Task<(TransferServer, Result<(), ServeTransferError>)> {
    spawn_prompt(async move {
        let taken = take(&worker, &mut server, &request).await;
        (server, taken)
    })
}

/// Answers one request; an error ends the connection.
async fn answer(
    worker: &Rc<Worker>,
    server: &mut TransferServer,
    request: &TransferRequest,
) -> Result<(), ServeTransferError> {
    let serves = &worker.shared.metrics().replication.serves;
    let Some(_place) = Place::take(worker) else {
        serves.of(ServeEnd::Busy).count();
        return server.refuse(TransferRefusal::Busy).await;
    };
    let (digest, generation) = (&request.digest, request.generation);
    let Some(file_bytes) = worker.store.sealed_bytes(digest, generation).await else {
        serves.of(ServeEnd::Lacks).count();
        return server.refuse(TransferRefusal::NotHere).await;
    };
    let file = BlobFile {
        digest: *digest,
        generation,
    };
    // A copy may be here before the state knows the blob. A file that ends early says so
    // when it is opened for all of the blob.
    let known_bytes = worker.size_of(&file);
    let size_bytes = known_bytes.map_or(file_bytes, |known| known.max(file_bytes));
    let Some(bytes) = request.bytes_of(size_bytes) else {
        serves.of(ServeEnd::Failed).count();
        return server.refuse(TransferRefusal::NoSuchRange).await;
    };
    let mut reader = match worker.store.reader(digest, generation, size_bytes).await {
        Ok(reader) => reader,
        Err(error) => {
            tracing::error!(%digest, %error, "a blob cannot be opened for another node");
            serves.of(ServeEnd::Failed).count();
            worker.repair(&file, None, &error);
            return server.refuse(TransferRefusal::Failed).await;
        }
    };
    reader.range(request.offset, request.offset + bytes);
    reader.read_ahead(AHEAD_MOVES);
    let node = server.peer();
    let mut sending = server.answer(request, size_bytes).await?;
    match Box::pin(send(worker, node, &mut sending, &mut reader)).await {
        Ok(()) => {
            serves.of(ServeEnd::Sent).count();
            Ok(())
        }
        Err(AnswerError::Peer(error)) => {
            serves.of(ServeEnd::Gone).count();
            Err(error)
        }
        Err(AnswerError::Read(error)) => {
            tracing::error!(%digest, %error, "a blob cannot be read for another node");
            serves.of(ServeEnd::Failed).count();
            worker.repair(&file, Some(reader.open_file()), &error);
            // The next turn of the connection finds it unfinished, and ends it.
            Ok(())
        }
    }
}

async fn send(
    worker: &Worker,
    node: u64,
    sending: &mut TransferAnswer<'_>,
    reader: &mut Reader,
) -> Result<(), AnswerError> {
    let metrics = &worker.shared.metrics().replication;
    while let Some(piece) = reader.next().await? {
        let before = sending.left_bytes();
        match piece {
            Piece::Resident {
                file,
                offset,
                bytes,
            } => sending.send_file(file.as_ref(), offset, bytes).await?,
            Piece::Memory(chunk) => sending.send(&chunk).await?,
        }
        metrics.sent(node, before - sending.left_bytes());
    }
    Ok(())
}
