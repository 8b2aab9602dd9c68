//! The sending end of bytes that another node takes while they come.

use std::fmt;
use std::rc::{Rc, Weak};
use std::time::Duration;

use super::error::TransferError;
use super::fetch::{Pool, Transfers};
use super::message::{Header, TRANSFER_HEADER_BYTES};
use super::take::{TakeRecord, TakeRequest};
use crate::base::limits::TEE_STALL_TIMEOUT;
use crate::base::units::to_u32;
use crate::net;
use crate::peer::Link;
use crate::peer::PeerNode;
use crate::runtime::timeout;

/// A way for bytes to another node. Dropped before its end, it closes its connection,
/// and nothing is left of the bytes there; after it, the connection is used again.
pub struct Outgoing {
    link: Link,
    node: PeerNode,
    home: Weak<Pool>,
}

impl Transfers {
    /// Asks a node to take what comes. An idle connection that turns out to be dead is
    /// replaced by a new one.
    ///
    /// - Errors: `Refused` leaves the connection for the next request. `Lost` also when
    ///   the node is too old to know the request.
    pub async fn tee(
        &self,
        node: &PeerNode,
        request: &TakeRequest,
    ) -> Result<Outgoing, TransferError> {
        while let Some(mut link) = self.pool().links.take(node) {
            match ask(&mut link, request).await {
                Err(TransferError::Lost(_)) => {}
                asked => return self.outgoing(node, link, asked),
            }
        }
        let connecting = self.pool().links.connect(node).await;
        let mut link = connecting.map_err(TransferError::Unreachable)?;
        let asked = ask(&mut link, request).await;
        self.outgoing(node, link, asked)
    }

    fn outgoing(
        &self,
        node: &PeerNode,
        link: Link,
        asked: Result<(), TransferError>,
    ) -> Result<Outgoing, TransferError> {
        match asked {
            Ok(()) => Ok(Outgoing {
                link,
                node: node.clone(),
                home: Rc::downgrade(self.pool()),
            }),
            Err(TransferError::Refused(refusal)) => {
                self.pool().links.put(node, link);
                Err(TransferError::Refused(refusal))
            }
            Err(error) => Err(error),
        }
    }
}

impl Outgoing {
    /// The node that takes the bytes.
    #[must_use]
    pub const fn node(&self) -> u64 {
        self.node.id
    }

    /// Sends the next bytes, `MOVE_BYTES_MAX` at most.
    ///
    /// - Errors: the node does not take them; nothing more can be sent. `Stalled` when
    ///   it takes nothing for `TEE_STALL_TIMEOUT`.
    /// - Cancel: an unknown part has gone; only good for closing.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), TransferError> {
        let record = TakeRecord::Bytes(to_u32(bytes.len())).encode();
        self.write(&record).await?;
        self.write(bytes).await
    }

    /// Says what all of it is, and waits until the node holds it, `limit` at most.
    ///
    /// - Errors: it does not.
    /// - Cancel: it may hold it later.
    pub async fn end(mut self, end: &[u8], limit: Duration) -> Result<(), TransferError> {
        let record = TakeRecord::End(to_u32(end.len())).encode();
        self.write(&record).await?;
        self.write(end).await?;
        let mut header = [0; TRANSFER_HEADER_BYTES];
        let answered = timeout(limit, self.link.read_exact(&mut header)).await;
        let answered = answered.map_err(|_| TransferError::Stalled)?;
        answered.map_err(TransferError::Lost)?;
        match Header::decode(&header)? {
            Header::Held => {
                if let Some(home) = self.home.upgrade() {
                    home.links.put(&self.node, self.link);
                }
                Ok(())
            }
            other => Err(unexpected(other)),
        }
    }

    /// Writes, unless the node refuses the rest meanwhile.
    async fn write(&mut self, bytes: &[u8]) -> Result<(), TransferError> {
        let mut header = [0; TRANSFER_HEADER_BYTES];
        let link = &mut self.link;
        let writing = link.write_all_unless_answered(bytes, &mut header, TEE_STALL_TIMEOUT);
        let begun = match writing.await {
            Ok(0) => return Ok(()),
            Ok(begun) => begun,
            Err(net::Error::Broken(error)) if error.kind() == std::io::ErrorKind::TimedOut => {
                return Err(TransferError::Stalled);
            }
            Err(error) => return Err(TransferError::Lost(error)),
        };
        let rest = header.split_at_mut(begun).1;
        let reading = timeout(TEE_STALL_TIMEOUT, link.read_exact(rest)).await;
        let read = reading.map_err(|_| TransferError::Stalled)?;
        read.map_err(TransferError::Lost)?;
        Err(unexpected(Header::decode(&header)?))
    }
}

async fn ask(link: &mut Link, request: &TakeRequest) -> Result<(), TransferError> {
    let asking = async {
        link.write_all(&request.encode()).await?;
        let mut record = [0; TRANSFER_HEADER_BYTES];
        link.read_exact(&mut record).await?;
        Ok::<_, net::Error>(record)
    };
    let asked = timeout(TEE_STALL_TIMEOUT, asking).await;
    let record = asked.map_err(|_| TransferError::Stalled)?;
    match Header::decode(&record.map_err(TransferError::Lost)?)? {
        Header::Ready => Ok(()),
        other => Err(unexpected(other)),
    }
}

/// A header that is not the one awaited.
const fn unexpected(header: Header) -> TransferError {
    match header {
        Header::Refused(refusal) => TransferError::Refused(refusal),
        Header::Content { .. } | Header::Ready | Header::Held => TransferError::OutOfTurn,
    }
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("link", &self.link)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "tee_test.rs"]
mod tests;
