//! A connection whose two ends trust each other.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::listener::NewcomerPlace;
use crate::base::units::to_u64;
use crate::net::{self, Stream, TlsStream};
use crate::runtime::{timeout, yield_if_needed};
use crate::telemetry::Metrics;

/// An authenticated connection to another node. Belongs to its executor; closes when
/// dropped. Made by `connect` and `authenticate`, used up by `serve_calls`.
pub struct Link {
    wire: Wire,
    peer: u64,
    counted: Option<Counted>,
    /// Of one that has proved nothing.
    _place: Option<NewcomerPlace>,
}

/// What the bytes go through.
pub(super) enum Wire {
    /// The open network.
    Plain(Stream),
    /// TLS. Boxed: its state is many times that of a stream.
    Tls(Box<TlsStream>),
}

impl From<Stream> for Wire {
    fn from(stream: Stream) -> Self {
        Self::Plain(stream)
    }
}

impl From<TlsStream> for Wire {
    fn from(stream: TlsStream) -> Self {
        Self::Tls(Box::new(stream))
    }
}

/// Keeps the gauge of connections up.
struct Counted(Arc<Metrics>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.peer.connections.fall();
    }
}

impl Link {
    /// A connection that has just been authenticated; `peer` is 0 for a node that joins.
    pub(super) fn new(wire: impl Into<Wire>, peer: u64) -> Self {
        Self {
            wire: wire.into(),
            peer,
            counted: None,
            _place: None,
        }
    }

    /// Keeps the place among the unproved for as long as the connection lives.
    pub(super) fn keeping(self, place: NewcomerPlace) -> Self {
        Self {
            _place: Some(place),
            ..self
        }
    }

    /// Counts the connection and what passes through it.
    #[must_use]
    pub fn counted_by(mut self, metrics: &Arc<Metrics>) -> Self {
        metrics.peer.connections_opened.count();
        if matches!(&self.wire, Wire::Tls(stream) if stream.is_in_kernel()) {
            metrics.peer.kernel_connections.count();
        }
        metrics.peer.connections.rise();
        self.counted = Some(Counted(Arc::clone(metrics)));
        self
    }

    /// Whether so much was sent under one key that another connection should go on.
    #[must_use]
    pub const fn is_worn(&self) -> bool {
        matches!(&self.wire, Wire::Tls(stream) if stream.is_worn())
    }

    /// Where it is counted.
    pub(super) fn metrics(&self) -> Option<&Arc<Metrics>> {
        self.counted.as_ref().map(|counted| &counted.0)
    }

    /// The node at the other end; 0 when it is none yet.
    #[must_use]
    pub const fn peer(&self) -> u64 {
        self.peer
    }

    /// Address of the other end.
    #[must_use]
    pub fn peer_address(&self) -> SocketAddr {
        match &self.wire {
            Wire::Plain(stream) => stream.peer_address(),
            Wire::Tls(stream) => stream.peer_address(),
        }
    }

    /// Reads what is there, waiting for the first byte. 0 is the end.
    ///
    /// - Cancel: loses nothing.
    pub async fn read(&mut self, into: &mut [u8]) -> Result<usize, net::Error> {
        poll_fn(|context| self.poll_read(context, into)).await
    }

    /// Fills the whole slice.
    ///
    /// - Errors: `Broken` when the other end stops before.
    /// - Cancel: an unknown part has been read; only good for closing.
    pub async fn read_exact(&mut self, into: &mut [u8]) -> Result<(), net::Error> {
        let mut rest = into;
        while !rest.is_empty() {
            let count = self.read(rest).await?;
            if count == 0 {
                return Err(net::Error::Broken(io::ErrorKind::UnexpectedEof.into()));
            }
            rest = rest.split_at_mut(count).1;
        }
        Ok(())
    }

    /// Writes everything, waiting while the socket is full.
    ///
    /// - Cancel: an unknown part has gone; only good for closing.
    pub async fn write_all(&mut self, bytes: &[u8]) -> Result<(), net::Error> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let count = poll_fn(|context| self.poll_write(context, rest)).await?;
            rest = rest.split_at(count).1;
        }
        poll_fn(|context| self.poll_flush(context)).await
    }

    /// Writes everything, unless the other end says something meanwhile: then the count
    /// of its first bytes, which are in `answer`. 0 when all was written. Fails with
    /// `TimedOut` inside when the other end takes nothing for `stall_max`.
    ///
    /// - Errors: also when the other end has closed.
    /// - Cancel: an unknown part has gone; only good for closing.
    pub async fn write_all_unless_answered(
        &mut self,
        bytes: &[u8],
        answer: &mut [u8],
        stall_max: Duration,
    ) -> Result<usize, net::Error> {
        let stalled = |_| net::Error::Broken(io::ErrorKind::TimedOut.into());
        let mut rest = bytes;
        loop {
            let step = poll_fn(|context| {
                if let Poll::Ready(read) = self.poll_read(context, answer) {
                    return Poll::Ready(read.map(Step::Read));
                }
                if rest.is_empty() {
                    return self.poll_flush(context).map_ok(|()| Step::Flushed);
                }
                self.poll_write(context, rest).map_ok(Step::Written)
            });
            match timeout(stall_max, step).await.map_err(stalled)?? {
                Step::Read(0) => {
                    return Err(net::Error::Broken(io::ErrorKind::UnexpectedEof.into()));
                }
                Step::Read(count) => return Ok(count),
                Step::Flushed => return Ok(0),
                Step::Written(count) => rest = rest.split_at(count).1,
            }
            yield_if_needed().await;
        }
    }

    /// As [`Link::write_all`]; fails with `TimedOut` inside when the other end takes
    /// nothing for `stall_max`.
    pub async fn write_all_unless_stalled(
        &mut self,
        bytes: &[u8],
        stall_max: Duration,
    ) -> Result<(), net::Error> {
        let stalled = |_| net::Error::Broken(io::ErrorKind::TimedOut.into());
        let mut rest = bytes;
        while !rest.is_empty() {
            let writing = poll_fn(|context| self.poll_write(context, rest));
            let count = timeout(stall_max, writing).await.map_err(stalled)??;
            rest = rest.split_at(count).1;
            yield_if_needed().await;
        }
        let flushing = poll_fn(|context| self.poll_flush(context));
        timeout(stall_max, flushing).await.map_err(stalled)?
    }

    /// Sends a run of a file whose pages are in memory: without copying it when
    /// this process does not have to encrypt it.
    ///
    /// - Shape: as `net::Stream::send_file`.
    /// - Cancel: an unknown part has gone; only good for closing.
    pub async fn send_file(
        &mut self,
        file: impl AsFd,
        offset: u64,
        bytes: u64,
        stall_max: Duration,
    ) -> Result<(), net::SendFileError> {
        match &mut self.wire {
            Wire::Plain(stream) => stream.send_file(file, offset, bytes, stall_max).await?,
            Wire::Tls(stream) => stream.send_file(file, offset, bytes, stall_max).await?,
        }
        if let Some(Counted(metrics)) = &self.counted {
            metrics.peer.sent_bytes.add(bytes);
        }
        Ok(())
    }

    /// The stream itself; `None` when what goes must be encrypted.
    pub fn plain_stream(&mut self) -> Option<&mut Stream> {
        match &mut self.wire {
            Wire::Plain(stream) => Some(stream),
            Wire::Tls(_) => None,
        }
    }

    /// As [`Link::read`], for code that polls both directions in one task.
    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<Result<usize, net::Error>> {
        let reading = match &mut self.wire {
            Wire::Plain(stream) => stream.poll_read(context, into),
            Wire::Tls(stream) => stream.poll_read(context, into),
        };
        if let (Poll::Ready(Ok(count)), Some(Counted(metrics))) = (&reading, &self.counted) {
            metrics.peer.received_bytes.add(to_u64(*count));
        }
        reading
    }

    /// Writes what goes now. Bytes may wait inside until they are flushed.
    pub(super) fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, net::Error>> {
        let writing = match &mut self.wire {
            Wire::Plain(stream) => stream.poll_write(context, bytes),
            Wire::Tls(stream) => stream.poll_write(context, bytes),
        };
        if let (Poll::Ready(Ok(count)), Some(Counted(metrics))) = (&writing, &self.counted) {
            metrics.peer.sent_bytes.add(to_u64(*count));
        }
        writing
    }

    /// Waits until everything written is with the kernel.
    pub(super) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<(), net::Error>> {
        match &mut self.wire {
            Wire::Plain(_) => Poll::Ready(Ok(())),
            Wire::Tls(stream) => stream.poll_flush(context),
        }
    }

    /// Ends both directions at once; the other end sees it.
    pub fn shutdown(&self) {
        match &self.wire {
            Wire::Plain(stream) => stream.shutdown_both(),
            Wire::Tls(stream) => stream.shutdown_both(),
        }
    }
}

/// What moved on a link that is written to while it is listened to.
enum Step {
    Read(usize),
    Written(usize),
    Flushed,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("peer", &self.peer)
            .field("address", &self.peer_address())
            .finish_non_exhaustive()
    }
}
