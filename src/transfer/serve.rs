//! The serving end of transfers.

use std::fmt;
use std::io;
use std::os::fd::AsFd;

use super::error::ServeTransferError;
use super::message::{Header, REQUEST_BYTES, TransferRefusal, TransferRequest};
use super::take::{TAKE_MAGIC, TakeRequest};
use crate::base::limits::{PEER_SERVED_LINK_IDLE_TIMEOUT, PEER_TRANSFER_STALL_TIMEOUT};
use crate::base::units::to_u64;
use crate::net;
use crate::peer::Link;
use crate::runtime::timeout;

/// Serves the requests of one authenticated transfer connection, one after another:
///
/// ```text
/// while let Some(Asked::Content(request)) = server.next().await? {
///     // Open the blob …
///     let mut answer = server.answer(&request, size).await?;
///     // … answer.send_file(…) or answer.send(…) until nothing is left.
/// }
/// ```
pub struct TransferServer {
    link: Link,
    /// Content of the last answer that was not sent; the connection is of no use then.
    owed_bytes: u64,
}

/// What the other end asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Content, to be answered or refused.
    Content(TransferRequest),
    /// To take what follows ([`TransferServer::take`]), or to refuse it.
    Take(TakeRequest),
}

/// The content of one answer, being sent. Dropped with bytes left, it ends the
/// connection at the next request.
pub struct TransferAnswer<'a> {
    server: &'a mut TransferServer,
}

impl TransferServer {
    /// On a connection that has been authenticated.
    #[must_use]
    pub const fn new(link: Link) -> Self {
        Self {
            link,
            owed_bytes: 0,
        }
    }

    /// The node at the other end.
    #[must_use]
    pub const fn peer(&self) -> u64 {
        self.link.peer()
    }

    /// The next request; `None` when the other end has no more, or says nothing for
    /// `PEER_SERVED_LINK_IDLE_TIMEOUT`, or the connection is worn: it dials another.
    ///
    /// - Errors: the connection is of no use any more.
    pub async fn next(&mut self) -> Result<Option<Asked>, ServeTransferError> {
        if self.owed_bytes > 0 {
            self.link.shutdown();
            let left_bytes = self.owed_bytes;
            return Err(ServeTransferError::Unfinished { left_bytes });
        }
        if self.link.is_worn() {
            return Ok(None);
        }
        let mut record = [0; REQUEST_BYTES];
        let waiting = self.link.read(&mut record);
        let begun = match timeout(PEER_SERVED_LINK_IDLE_TIMEOUT, waiting).await {
            Err(_) | Ok(Ok(0)) => return Ok(None),
            Ok(Ok(count)) => count,
            Ok(Err(error)) => return Err(ServeTransferError::Gone(error)),
        };
        let rest = record.split_at_mut(begun).1;
        let reading = timeout(PEER_TRANSFER_STALL_TIMEOUT, self.link.read_exact(rest));
        let read = reading.await.map_err(|_| ServeTransferError::Stalled)?;
        read.map_err(ServeTransferError::Gone)?;
        if record.starts_with(&TAKE_MAGIC) {
            return Ok(Some(Asked::Take(TakeRequest::decode(&record)?)));
        }
        Ok(Some(Asked::Content(TransferRequest::decode(&record)?)))
    }

    /// Answers with nothing.
    pub async fn refuse(&mut self, refusal: TransferRefusal) -> Result<(), ServeTransferError> {
        self.send_header(Header::Refused(refusal)).await
    }

    /// Begins the answer from a blob of `size`, which must have the range: `bytes_of`
    /// of the request says how many bytes are to be sent.
    ///
    /// - Panics: when it has not.
    pub async fn answer(
        &mut self,
        request: &TransferRequest,
        size: u64,
    ) -> Result<TransferAnswer<'_>, ServeTransferError> {
        let bytes = request.bytes_of(size);
        let bytes = bytes.expect("a range within the blob");
        self.send_header(Header::Content { size, bytes }).await?;
        self.owed_bytes = bytes;
        Ok(TransferAnswer { server: self })
    }

    /// Until this is taken back, the connection ends with the next request.
    pub(super) const fn owe_rest(&mut self) {
        self.owed_bytes = 1;
    }

    pub(super) const fn owe_nothing(&mut self) {
        self.owed_bytes = 0;
    }

    pub(super) const fn link(&mut self) -> &mut Link {
        &mut self.link
    }

    pub(super) async fn send_header(&mut self, header: Header) -> Result<(), ServeTransferError> {
        send(&mut self.link, &header.encode()).await
    }
}

impl TransferAnswer<'_> {
    /// Bytes that are still to be sent.
    #[must_use]
    pub const fn left_bytes(&self) -> u64 {
        self.server.owed_bytes
    }

    /// Sends a run of a file whose pages are in memory: without copying it on a plain
    /// connection, or where the kernel encrypts it; else through a small buffer.
    ///
    /// - Shape: as `net::Stream::send_file`.
    /// - Panics: with more bytes than are left.
    /// - Cancel: an unknown part has gone; only good for closing.
    pub async fn send_file(
        &mut self,
        file: impl AsFd,
        offset: u64,
        bytes: u64,
    ) -> Result<(), ServeTransferError> {
        assert!(bytes <= self.left_bytes(), "no more than the header said");
        let link = &mut self.server.link;
        let sending = link.send_file(file, offset, bytes, PEER_TRANSFER_STALL_TIMEOUT);
        match sending.await {
            Ok(()) => {
                self.server.owed_bytes -= bytes;
                Ok(())
            }
            Err(net::SendFileError::Peer(source)) => {
                Err(ServeTransferError::Gone(net::Error::Broken(source)))
            }
            Err(net::SendFileError::Stalled) => Err(ServeTransferError::Stalled),
            Err(net::SendFileError::File(source)) => Err(ServeTransferError::File(source)),
        }
    }

    /// Sends bytes from memory.
    ///
    /// - Panics: with more bytes than are left.
    /// - Cancel: an unknown part has gone; only good for closing.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), ServeTransferError> {
        let count = to_u64(bytes.len());
        assert!(count <= self.left_bytes(), "no more than the header said");
        send(&mut self.server.link, bytes).await?;
        self.server.owed_bytes -= count;
        Ok(())
    }
}

async fn send(link: &mut Link, bytes: &[u8]) -> Result<(), ServeTransferError> {
    let sending = link.write_all_unless_stalled(bytes, PEER_TRANSFER_STALL_TIMEOUT);
    sending.await.map_err(|error| match error {
        net::Error::Broken(error) if error.kind() == io::ErrorKind::TimedOut => {
            ServeTransferError::Stalled
        }
        error => ServeTransferError::Gone(error),
    })
}

impl fmt::Debug for TransferServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransferServer")
            .field("link", &self.link)
            .field("owed_bytes", &self.owed_bytes)
            .finish()
    }
}

impl fmt::Debug for TransferAnswer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransferAnswer")
            .field("left_bytes", &self.left_bytes())
            .finish_non_exhaustive()
    }
}
