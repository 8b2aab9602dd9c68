//! One connection.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_lite::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use glommio::net::TcpStream;
use rustix::io::{Errno, FdFlags, fcntl_dupfd_cloexec, fcntl_setfd, ioctl_fionbio};

use super::error::{Error, SendFileError};
use super::zero_copy::{Sent, attach, borrow, send_pages, send_parts};
use crate::base::limits::SEND_STEP_BYTES;
use crate::base::units::{SECTOR_BYTES, index_of, to_u64, to_usize};
use crate::runtime::{timeout, yield_if_needed};

/// A TCP connection of this shard. Closes when dropped, as soon as the executor looks
/// at its rings: they still hold a wait on the socket.
///
/// Reads go from the socket into the caller's slice, writes from the caller's slice
/// into the socket; nothing is buffered between. Reads and writes may be given up at
/// any await point without losing bytes: only the wait is under way. Time limits are
/// the caller's, with `runtime::timeout`: the runtime's own survive a read that was
/// given up, and then cut the next one short.
pub struct Stream {
    socket: TcpStream,
    peer: SocketAddr,
    /// Bytes that were put back, in the order they come.
    ahead: Vec<u8>,
}

impl Stream {
    /// Connects. The address is a number already: names resolve off the shard.
    pub async fn connect(address: SocketAddr) -> Result<Self, Error> {
        let connected = TcpStream::connect(address).await;
        let stream = connected.map_err(|source| Error::Connect {
            address,
            source: source.into(),
        })?;
        Self::adopt(stream)
    }

    /// Takes over a fresh socket: closed in children, never blocking in a call of ours,
    /// small writes sent at once.
    pub(super) fn adopt(stream: TcpStream) -> Result<Self, Error> {
        let failed = |error: io::Error| Error::SetUp(error);
        let socket = borrow(&stream);
        fcntl_setfd(socket, FdFlags::CLOEXEC).map_err(|errno| failed(errno.into()))?;
        ioctl_fionbio(socket, true).map_err(|errno| failed(errno.into()))?;
        stream
            .set_nodelay(true)
            .map_err(|error| failed(error.into()))?;
        let peer = stream.peer_addr().map_err(|error| failed(error.into()))?;
        Ok(Self {
            socket: stream,
            peer,
            ahead: Vec::new(),
        })
    }

    /// Takes over a connection that [`Stream::detach`] gave away, perhaps on another
    /// executor.
    pub fn attach(connected: OwnedFd) -> Result<Self, Error> {
        Self::adopt(attach(connected))
    }

    /// Gives the connection away, to be attached to another executor. Bytes that were
    /// not read yet are read there.
    ///
    /// - Panics: when bytes were put back: they would be lost.
    pub fn detach(self) -> Result<OwnedFd, Error> {
        assert!(
            self.ahead.is_empty(),
            "nothing that was read is left behind"
        );
        fcntl_dupfd_cloexec(borrow(&self.socket), 0).map_err(|errno| Error::SetUp(errno.into()))
    }

    /// Address of the other end.
    #[must_use]
    pub const fn peer_address(&self) -> SocketAddr {
        self.peer
    }

    /// Puts back bytes that were read and belong to whoever reads next.
    ///
    /// - Panics: when bytes that were put back before have not been read.
    pub fn put_back(&mut self, bytes: &[u8]) {
        assert!(self.ahead.is_empty(), "bytes are put back once");
        self.ahead.extend_from_slice(bytes);
    }

    /// Whether bytes were put back that nobody has read.
    pub(super) const fn has_put_back(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// The descriptor, for system calls that the runtime lacks.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        borrow(&self.socket)
    }

    /// Reads what is there, waiting for the first byte. 0 is the end, or a reset.
    ///
    /// - Cancel: loses nothing.
    pub async fn read(&mut self, into: &mut [u8]) -> Result<usize, Error> {
        poll_fn(|context| self.poll_read(context, into)).await
    }

    /// Fills the whole slice.
    ///
    /// - Errors: `Broken` when the other end stops before.
    /// - Cancel: an unknown part has been read; only good for closing.
    pub async fn read_exact(&mut self, into: &mut [u8]) -> Result<(), Error> {
        AsyncReadExt::read_exact(self, into)
            .await
            .map_err(Error::Broken)
    }

    /// As [`Stream::read`], for code that polls both directions in one task.
    pub fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<Result<usize, Error>> {
        let reading = AsyncRead::poll_read(Pin::new(self), context, into);
        reading.map_err(Error::Broken)
    }

    /// As [`Stream::write_some`], for code that polls both directions in one task.
    pub fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, Error>> {
        let writing = Pin::new(&mut self.socket).poll_write(context, bytes);
        writing.map_err(Error::Broken)
    }

    /// Writes everything, waiting while the socket is full.
    ///
    /// - Cancel: an unknown part has gone; only good for closing.
    pub async fn write_all(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.socket.write_all(bytes).await.map_err(Error::Broken)
    }

    /// Writes what the socket takes, waiting until it takes something.
    ///
    /// - Cancel: nothing has gone.
    pub async fn write_some(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        self.socket.write(bytes).await.map_err(Error::Broken)
    }

    /// Sends `bytes` of `file` from `offset` out of the page cache, without copying
    /// them. Pages that are not resident stop the shard: ask first. Gives the shard
    /// back every `SEND_STEP_BYTES`; fails when the peer takes nothing for `stall_max`.
    ///
    /// A full socket is waited for by writing the next few bytes in the ordinary way:
    /// the runtime has no other wait for room, and it costs one copy of a sector.
    ///
    /// - Shape: `file` was opened without `O_DIRECT`.
    /// - Cancel: an unknown part has gone; only good for closing.
    pub async fn send_file(
        &mut self,
        file: impl AsFd,
        offset: u64,
        bytes: u64,
        stall_max: Duration,
    ) -> Result<(), SendFileError> {
        let range = offset..offset + bytes;
        self.send_file_noting(file, range, stall_max, |_| Ok(()))
            .await
    }

    /// As [`Stream::send_file`]; `note` is told how many bytes went with each system
    /// call, right after it; when it fails, that was the last.
    pub(super) async fn send_file_noting(
        &mut self,
        file: impl AsFd,
        Range { start, end }: Range<u64>,
        stall_max: Duration,
        mut note: impl FnMut(u64) -> io::Result<()>,
    ) -> Result<(), SendFileError> {
        let mut position = start;
        while position < end {
            let step = (end - position).min(u64::from(SEND_STEP_BYTES));
            let sent = match send_pages(borrow(&self.socket), &file, position, step) {
                Ok(Sent::Bytes(sent)) => {
                    yield_if_needed().await;
                    sent
                }
                Ok(Sent::Full) => {
                    let sending = self.send_tail(&file, position, end - position);
                    let sent = timeout(stall_max, sending).await;
                    sent.map_err(|_| SendFileError::Stalled)??
                }
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(SendFileError::File(error));
                }
                Err(error) => return Err(SendFileError::Peer(error)),
            };
            note(sent).map_err(SendFileError::Peer)?;
            position += sent;
        }
        Ok(())
    }

    /// Copies at most a sector and waits until the socket takes some of it. The sector
    /// is copied again after a wait, so that a waiting connection does not hold it.
    async fn send_tail(
        &mut self,
        file: impl AsFd,
        offset: u64,
        bytes_max: u64,
    ) -> Result<u64, SendFileError> {
        let wanted = index_of(bytes_max.min(u64::from(SECTOR_BYTES)));
        poll_fn(|context| {
            let mut sector = [0; to_usize(SECTOR_BYTES)];
            let (into, _) = sector.split_at_mut(wanted);
            let copied = match rustix::io::pread(&file, &mut *into, offset) {
                Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(copied) => Ok(copied),
                Err(errno) => Err(errno.into()),
            };
            let (ready, _) = into.split_at(copied.map_err(SendFileError::File)?);
            Pin::new(&mut self.socket)
                .poll_write(context, ready)
                .map_ok(to_u64)
                .map_err(SendFileError::Peer)
        })
        .await
    }

    /// Says that nothing more will be sent; reading goes on.
    pub fn shutdown_write(&self) {
        self.shutdown(Shutdown::Write);
    }

    /// Ends both directions at once; whoever reads or writes is woken.
    pub fn shutdown_both(&self) {
        self.shutdown(Shutdown::Both);
    }

    fn shutdown(&self, how: Shutdown) {
        let how = match how {
            Shutdown::Read => rustix::net::Shutdown::Read,
            Shutdown::Write => rustix::net::Shutdown::Write,
            Shutdown::Both => rustix::net::Shutdown::Both,
        };
        // Fails only when the other end was faster.
        let _ = rustix::net::shutdown(borrow(&self.socket), how);
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.ahead.is_empty() {
            Pin::new(&mut self.socket).poll_read(context, into)
        } else {
            Poll::Ready(Ok(take_front(&mut self.ahead, into)))
        }
    }
}

/// Moves what fits from the front of `from`, and gives the memory back with the last
/// byte.
pub(super) fn take_front(from: &mut Vec<u8>, into: &mut [u8]) -> usize {
    let count = from.len().min(into.len());
    for (place, byte) in into.iter_mut().zip(from.drain(..count)) {
        *place = byte;
    }
    if from.is_empty() {
        *from = Vec::new();
    }
    count
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    /// One call for several records of TLS, which the runtime's socket has not.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            return match send_parts(borrow(&self.socket), parts) {
                Ok(count) => Poll::Ready(Ok(count)),
                Err(Errno::INTR) => continue,
                // The socket is full: the runtime's own write waits.
                Err(Errno::AGAIN) => {
                    let first = parts.iter().find(|part| !part.is_empty());
                    let first = first.map_or(&[][..], |part| part);
                    Pin::new(&mut self.socket).poll_write(context, first)
                }
                Err(errno) => Poll::Ready(Err(errno.into())),
            };
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(context)
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "stream_test.rs"]
mod tests;
