//! The socket of one connection, with its deadlines and its byte counts: those of
//! requests and answers, before TLS.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use crate::base::units::to_u64;
use crate::net::{SendFileError, TlsStream};

use super::deadline::{Deadline, Elapsed};
use super::error::Closed;
use super::transport::Transport;

/// Longest end of a connection that the kernel encrypts: a full socket to a slow client.
const KERNEL_PART_TIMEOUT_MAX: Duration = Duration::from_secs(300);

/// A stream, and what passed through it.
#[derive(Debug)]
pub(super) struct Wire {
    stream: Transport,
    peer: SocketAddr,
    deadline: Deadline,
    received_bytes: u64,
    sent_bytes: u64,
    /// The end was said, or tried to be for as long as there was time.
    is_finished: bool,
}

/// What a wait for bytes brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// So many bytes; at least one.
    Bytes(usize),
    /// The client will send no more, or the socket failed.
    End,
}

impl Wire {
    pub(super) fn new(stream: Transport, deadline: Deadline) -> Self {
        Self {
            peer: stream.peer_address(),
            stream,
            deadline,
            received_bytes: 0,
            sent_bytes: 0,
            is_finished: false,
        }
    }

    pub(super) const fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Bytes received and sent since the last call.
    pub(super) const fn take_counts(&mut self) -> (u64, u64) {
        let counts = (self.received_bytes, self.sent_bytes);
        (self.received_bytes, self.sent_bytes) = (0, 0);
        counts
    }

    /// Receives what is there, waiting at most `limit` for the first byte.
    pub(super) async fn receive(
        &mut self,
        into: &mut [u8],
        limit: Duration,
    ) -> Result<Received, Elapsed> {
        let received = self.deadline.within(limit, self.stream.read(into)).await?;
        Ok(self.count_received(received.unwrap_or(0)))
    }

    /// As [`Self::receive`], between requests: a shutdown ends the waiting.
    pub(super) async fn receive_idle(
        &mut self,
        into: &mut [u8],
        limit: Duration,
    ) -> Result<Received, Elapsed> {
        let waiting = self.stream.read(into);
        let received = self.deadline.within_idle(limit, waiting).await?;
        Ok(self.count_received(received.unwrap_or(0)))
    }

    fn count_received(&mut self, count: usize) -> Received {
        self.received_bytes += to_u64(count);
        match count {
            0 => Received::End,
            count => Received::Bytes(count),
        }
    }

    /// Sends everything, to the last byte; `stall` is how long the client may take
    /// nothing.
    pub(super) async fn send(&mut self, mut bytes: &[u8], stall: Duration) -> Result<(), Closed> {
        while !bytes.is_empty() {
            let count = self.send_some(bytes, stall).await?;
            let count = count.ok_or(Closed::Stalled)?;
            bytes = bytes.get(count..).unwrap_or_default();
        }
        self.flush(stall).await
    }

    /// Sends what [`Self::send_some`] took and TLS still holds; `stall` as in
    /// [`Self::send`].
    pub(super) async fn flush(&mut self, stall: Duration) -> Result<(), Closed> {
        match self.deadline.within(stall, self.stream.flush()).await {
            Err(Elapsed) => Err(Closed::Stalled),
            Ok(Err(_)) => Err(Closed::Gone),
            Ok(Ok(())) => Ok(()),
        }
    }

    /// Sends what is taken; `None` when nothing was for `stall`. TLS takes some before
    /// the socket does.
    pub(super) async fn send_some(
        &mut self,
        bytes: &[u8],
        stall: Duration,
    ) -> Result<Option<usize>, Closed> {
        let sending = self.stream.write_some(bytes);
        match self.deadline.within(stall, sending).await {
            Err(Elapsed) => Ok(None),
            Ok(Err(_) | Ok(0)) => Err(Closed::Gone),
            Ok(Ok(count)) => {
                self.sent_bytes += to_u64(count);
                Ok(Some(count))
            }
        }
    }

    /// Sends a run of a file without copying it; `stall` as in [`Self::send`].
    pub(super) async fn send_file(
        &mut self,
        file: impl AsFd,
        offset: u64,
        bytes: u64,
        stall: Duration,
    ) -> Result<(), Closed> {
        // Boxed, so that a sector of copy space is not part of every idle connection.
        let sending = Box::pin(self.stream.send_file(file, offset, bytes, stall));
        let sent = sending.await;
        match sent {
            Ok(()) => {
                self.sent_bytes += bytes;
                Ok(())
            }
            Err(SendFileError::Stalled) => Err(Closed::Stalled),
            Err(SendFileError::Peer(_)) => Err(Closed::Gone),
            Err(SendFileError::File(source)) => {
                tracing::error!(%source, offset, bytes, "cannot read a file that is being sent");
                Err(Closed::Gone)
            }
        }
    }

    /// Says that nothing more will be sent.
    pub(super) async fn finish(&mut self, limit: Duration) {
        self.is_finished = true;
        // A client that is gone, or takes nothing, need not be told.
        drop(self.deadline.within(limit, self.stream.finish()).await);
    }

    /// As [`Self::finish`], where a bare end of the connection would look like an
    /// attacker's. A kernel that encrypts loses what it has not sent when the socket is
    /// closed, so that it is given as long as the client takes something, from where an
    /// earlier attempt has stopped. Without one there is nothing to do a second time.
    pub(super) async fn part(&mut self, limit: Duration) {
        let limit = match self.stream.in_kernel() {
            Some(_) => KERNEL_PART_TIMEOUT_MAX,
            None if self.is_finished => return,
            None => limit,
        };
        if self.stream.is_tls() {
            self.finish(limit).await;
        }
    }

    /// Whether so much was sent under one key that the connection should end.
    pub(super) fn is_worn(&self) -> bool {
        self.stream.in_kernel().is_some_and(TlsStream::is_worn)
    }

    /// Whether the connection has ended because the client changed its key, which the
    /// kernel cannot follow.
    pub(super) fn is_rekeyed(&self) -> bool {
        self.stream.in_kernel().is_some_and(TlsStream::is_rekeyed)
    }
}
