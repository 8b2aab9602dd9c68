//! The taking end of bytes that another node passes on while they come.

use std::fmt;

use super::error::ServeTransferError;
use super::message::{Header, TransferRefusal};
use super::serve::TransferServer;
use super::take::{RECORD_BYTES, TakeRecord};
use crate::base::limits::{PEER_TRANSFER_STALL_TIMEOUT, TAKE_IDLE_TIMEOUT};
use crate::base::units::{to_u32, to_usize};
use crate::net;
use crate::runtime::timeout;

/// Bytes that come from another node, which does not know yet how many they are.
/// Dropped before [`Taking::held`], it ends the connection at the next request.
///
/// ```text
/// let mut taking = server.take().await?;
/// let end = loop {
///     match taking.next().await? {
///         Arriving::Bytes(count) => // … taking.read(…) until `count` were read.
///         Arriving::End(end) => break end,
///     }
/// };
/// // … make it durable …
/// taking.held().await
/// ```
pub struct Taking<'a> {
    server: &'a mut TransferServer,
    /// Bytes of the record that were not read.
    left_bytes: u32,
}

/// What arrives next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arriving {
    /// So many bytes, to be read.
    Bytes(u32),
    /// That was all, and it is what this says.
    End(Vec<u8>),
}

impl TransferServer {
    /// Lets the other end of a take request send.
    pub async fn take(&mut self) -> Result<Taking<'_>, ServeTransferError> {
        self.send_header(Header::Ready).await?;
        self.owe_rest();
        Ok(Taking {
            server: self,
            left_bytes: 0,
        })
    }
}

impl Taking<'_> {
    /// Waits for what comes next.
    ///
    /// - Errors: the other end gave up, or says nothing for `TAKE_IDLE_TIMEOUT`.
    /// - Panics: before the bytes that came were read.
    /// - Cancel: only good for closing.
    pub async fn next(&mut self) -> Result<Arriving, ServeTransferError> {
        assert!(self.left_bytes == 0, "what came is read first");
        let mut record = [0; RECORD_BYTES];
        let link = self.server.link();
        let reading = timeout(TAKE_IDLE_TIMEOUT, link.read_exact(&mut record)).await;
        let read = reading.map_err(|_| ServeTransferError::Stalled)?;
        read.map_err(ServeTransferError::Gone)?;
        match TakeRecord::decode(record)? {
            TakeRecord::Bytes(bytes) => {
                self.left_bytes = bytes;
                Ok(Arriving::Bytes(bytes))
            }
            TakeRecord::End(bytes) => {
                let mut end = vec![0; to_usize(bytes)];
                let reading = timeout(PEER_TRANSFER_STALL_TIMEOUT, link.read_exact(&mut end));
                let read = reading.await.map_err(|_| ServeTransferError::Stalled)?;
                read.map_err(ServeTransferError::Gone)?;
                Ok(Arriving::End(end))
            }
        }
    }

    /// Reads what is there of the bytes that come, waiting for the first one. 0 when
    /// all of them were read.
    ///
    /// - Errors: the other end gave up, or stalls.
    /// - Cancel: loses nothing.
    pub async fn read(&mut self, into: &mut [u8]) -> Result<usize, ServeTransferError> {
        let wanted = into.len().min(to_usize(self.left_bytes));
        let (into, _) = into.split_at_mut(wanted);
        if wanted == 0 {
            return Ok(0);
        }
        let link = self.server.link();
        let reading = timeout(PEER_TRANSFER_STALL_TIMEOUT, link.read(into)).await;
        let read = reading.map_err(|_| ServeTransferError::Stalled)?;
        let count = read.map_err(ServeTransferError::Gone)?;
        if count == 0 {
            let closed = std::io::ErrorKind::UnexpectedEof.into();
            return Err(ServeTransferError::Gone(net::Error::Broken(closed)));
        }
        self.left_bytes -= to_u32(count);
        Ok(count)
    }

    /// Says that all of it is durable here. The connection is good for the next request.
    pub async fn held(self) -> Result<(), ServeTransferError> {
        self.server.owe_nothing();
        self.server.send_header(Header::Held).await
    }

    /// Refuses all of it. The connection ends, because more may be under way.
    pub async fn refuse(self, refusal: TransferRefusal) -> Result<(), ServeTransferError> {
        self.server.send_header(Header::Refused(refusal)).await
    }
}

impl fmt::Debug for Taking<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Taking")
            .field("left_bytes", &self.left_bytes)
            .finish_non_exhaustive()
    }
}
