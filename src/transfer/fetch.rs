//! The fetching end of transfers.

use std::fmt;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use super::error::TransferError;
use super::message::{Header, TRANSFER_HEADER_BYTES, TransferRequest};
use crate::base::limits::PEER_TRANSFER_STALL_TIMEOUT;
use crate::base::units::{index_of, to_u64};
use crate::net;
use crate::peer::Link;
use crate::peer::Links;
use crate::peer::PeerNode;
use crate::peer::Purpose;
use crate::peer::Security;
use crate::runtime::timeout;
use crate::telemetry::Metrics;

/// Fetches content from other nodes. One per executor; clones share their idle
/// connections. How many transfers run, and from whom, is decided above; so is when a
/// node that failed is asked again.
#[derive(Clone)]
pub struct Transfers(Rc<Pool>);

pub(super) struct Pool {
    pub(super) links: Links,
    stall_max: Duration,
}

/// Content that comes from another node. Dropped before its end, it closes its
/// connection; after it, the connection is used again.
pub struct Incoming {
    /// Taken when the content has come whole.
    link: Option<Link>,
    node: PeerNode,
    home: Weak<Pool>,
    size: u64,
    left_bytes: u64,
    stall_max: Duration,
}

impl Transfers {
    /// Connects to nobody yet.
    #[must_use]
    pub fn new(security: Security, metrics: Arc<Metrics>) -> Self {
        Self::with_stall_max(security, metrics, PEER_TRANSFER_STALL_TIMEOUT)
    }

    fn with_stall_max(security: Security, metrics: Arc<Metrics>, stall_max: Duration) -> Self {
        Self(Rc::new(Pool {
            links: Links::new(security, metrics, Purpose::Transfer),
            stall_max,
        }))
    }

    pub(super) const fn pool(&self) -> &Rc<Pool> {
        &self.0
    }

    /// Asks a node for content. An idle connection that turns out to be dead is
    /// replaced by a new one.
    ///
    /// - Errors: `Refused` leaves the connection for the next request.
    pub async fn fetch(
        &self,
        node: &PeerNode,
        request: &TransferRequest,
    ) -> Result<Incoming, TransferError> {
        while let Some(mut link) = self.0.links.take(node) {
            match self.0.ask(&mut link, request).await {
                Err(TransferError::Lost(_)) => {}
                asked => return self.incoming(node, link, asked),
            }
        }
        let connecting = self.0.links.connect(node).await;
        let mut link = connecting.map_err(TransferError::Unreachable)?;
        let asked = self.0.ask(&mut link, request).await;
        self.incoming(node, link, asked)
    }

    fn incoming(
        &self,
        node: &PeerNode,
        link: Link,
        asked: Result<(u64, u64), TransferError>,
    ) -> Result<Incoming, TransferError> {
        match asked {
            Ok((size, left_bytes)) => {
                let mut incoming = Incoming {
                    link: Some(link),
                    node: node.clone(),
                    home: Rc::downgrade(&self.0),
                    size,
                    left_bytes,
                    stall_max: self.0.stall_max,
                };
                incoming.give_back_when_done();
                Ok(incoming)
            }
            Err(TransferError::Refused(refusal)) => {
                self.0.links.put(node, link);
                Err(TransferError::Refused(refusal))
            }
            Err(error) => Err(error),
        }
    }
}

impl Pool {
    /// Sends a request; says the size of the blob and how many bytes follow.
    async fn ask(
        &self,
        link: &mut Link,
        request: &TransferRequest,
    ) -> Result<(u64, u64), TransferError> {
        let asking = async {
            link.write_all(&request.encode()).await?;
            let mut record = [0; TRANSFER_HEADER_BYTES];
            link.read_exact(&mut record).await?;
            Ok(record)
        };
        let asked = timeout(self.stall_max, asking).await;
        let record: Result<_, net::Error> = asked.map_err(|_| TransferError::Stalled)?;
        match Header::decode(&record.map_err(TransferError::Lost)?)? {
            Header::Refused(refusal) => Err(TransferError::Refused(refusal)),
            Header::Content { size, bytes } if request.bytes_of(size) == Some(bytes) => {
                Ok((size, bytes))
            }
            Header::Content { .. } => Err(TransferError::WrongRange),
            Header::Ready | Header::Held => Err(TransferError::OutOfTurn),
        }
    }
}

impl Incoming {
    /// Size of the whole blob.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Bytes that are still to come.
    #[must_use]
    pub const fn left_bytes(&self) -> u64 {
        self.left_bytes
    }

    /// Reads what is there into the caller's memory, waiting for the first byte. 0
    /// when everything has come.
    ///
    /// - Errors: `Stalled` when nothing comes for `PEER_TRANSFER_STALL_TIMEOUT`; `Lost`
    ///   when the node stops in mid-content. The bytes read before are what they are.
    /// - Cancel: loses nothing.
    pub async fn read(&mut self, into: &mut [u8]) -> Result<usize, TransferError> {
        let wanted = into.len().min(index_of(self.left_bytes));
        let (into, _) = into.split_at_mut(wanted);
        let Some(link) = self.link.as_mut().filter(|_| wanted > 0) else {
            return Ok(0);
        };
        let reading = timeout(self.stall_max, link.read(into)).await;
        let read = reading.map_err(|_| TransferError::Stalled)?;
        let count = read.map_err(TransferError::Lost)?;
        if count == 0 {
            return Err(TransferError::Cut {
                left_bytes: self.left_bytes,
            });
        }
        self.left_bytes -= to_u64(count);
        self.give_back_when_done();
        Ok(count)
    }

    /// Fills the caller's memory, or as much of it as there is content; says how much.
    ///
    /// - Errors: as [`Incoming::read`].
    /// - Cancel: an unknown part has been read.
    pub async fn fill(&mut self, into: &mut [u8]) -> Result<usize, TransferError> {
        let mut filled = 0;
        while let Some(rest) = into.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.read(rest).await? {
                0 => break,
                count => filled += count,
            }
        }
        Ok(filled)
    }

    fn give_back_when_done(&mut self) {
        if self.left_bytes == 0
            && let (Some(link), Some(home)) = (self.link.take(), self.home.upgrade())
        {
            home.links.put(&self.node, link);
        }
    }
}

impl fmt::Debug for Transfers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transfers")
            .field("links", &self.0.links)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("node", &self.node.id)
            .field("size", &self.size)
            .field("left_bytes", &self.left_bytes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "transfer_test.rs"]
mod tests;
