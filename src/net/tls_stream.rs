//! One connection under TLS.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_lite::{AsyncRead as _, AsyncWrite as _};
use futures_rustls::pki_types::CertificateDer;

use super::error::{Error, SendFileError};
use super::peer_certificate::PeerCertificate;
use super::stream::Stream;
use super::tls_material::{names_of, subject_of};
use crate::base::units::{KIB, index_of, to_u64, to_usize};
use crate::runtime::{timeout, yield_if_needed};

/// Bytes of a file copied and encrypted before the shard looks for other work: four
/// records, which stay in the cache on their way.
const FILE_STEP_BYTES: usize = to_usize(64 * KIB);

/// A connection of this shard under TLS, after its handshake. Closes when dropped.
///
/// As `Stream`, with one difference: written bytes may wait inside, encrypted, up to
/// `TLS_BUFFER_BYTES_MAX`, until they are flushed. A connection that is cut and one
/// that is closed in order look alike, as the end: everything spoken over this says
/// itself where it ends.
///
/// The library reads 4 KiB at a time. Reading ahead of it in larger pieces was tried:
/// the copy cost what the system calls saved.
pub struct TlsStream(futures_rustls::TlsStream<Stream>);

impl TlsStream {
    pub(super) const fn new(stream: futures_rustls::TlsStream<Stream>) -> Self {
        Self(stream)
    }

    /// Address of the other end.
    #[must_use]
    pub fn peer_address(&self) -> SocketAddr {
        self.0.get_ref().0.peer_address()
    }

    /// The names in the certificate of the other end; none when it showed none.
    #[must_use]
    pub fn peer_names(&self) -> Vec<Box<str>> {
        self.peer_certificate()
            .and_then(names_of)
            .unwrap_or_default()
    }

    /// The first name in the certificate of the other end: of a host, else a URI. `None`
    /// when it showed no certificate.
    #[must_use]
    pub fn peer_subject(&self) -> Option<Box<str>> {
        self.peer_certificate().and_then(subject_of)
    }

    /// Everything that the certificate of the other end says of its owner. Parses it:
    /// ask once.
    #[must_use]
    pub fn peer_named(&self) -> Option<PeerCertificate> {
        self.peer_certificate()
            .and_then(|certificate| PeerCertificate::read(certificate))
    }

    fn peer_certificate(&self) -> Option<&CertificateDer<'static>> {
        let chain = self.0.get_ref().1.peer_certificates();
        chain.and_then(|chain| chain.first())
    }

    /// Reads what is there, waiting for the first byte. 0 is the end.
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
        let mut rest = into;
        while !rest.is_empty() {
            let count = self.read(rest).await?;
            if count == 0 {
                return Err(Error::Broken(io::ErrorKind::UnexpectedEof.into()));
            }
            rest = rest.split_at_mut(count).1;
        }
        Ok(())
    }

    /// Writes and flushes everything, waiting while the socket is full.
    ///
    /// - Cancel: an unknown part has gone; only good for closing.
    pub async fn write_all(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let count = poll_fn(|context| self.poll_write(context, rest)).await?;
            rest = rest.split_at(count).1;
        }
        self.flush().await
    }

    /// Sends `bytes` of `file` from `offset` out of the page cache, through a small
    /// buffer. Pages that are not resident stop the shard: ask first. Gives the shard
    /// back between steps; fails when the peer takes nothing for `stall_max`.
    ///
    /// - Cancel: an unknown part has gone; only good for closing.
    pub async fn send_file(
        &mut self,
        file: impl AsFd,
        offset: u64,
        bytes: u64,
        stall_max: Duration,
    ) -> Result<(), SendFileError> {
        let broken = |error| match error {
            Error::Broken(error) => SendFileError::Peer(error),
            other => SendFileError::Peer(io::Error::other(other)),
        };
        let end = offset + bytes;
        let mut position = offset;
        let mut step = vec![0; FILE_STEP_BYTES];
        while position < end {
            let wanted = step.len().min(index_of(end - position));
            let (into, _) = step.split_at_mut(wanted);
            let copied = match rustix::io::pread(&file, &mut *into, position) {
                Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(copied) => Ok(copied),
                Err(errno) => Err(errno.into()),
            };
            let (mut rest, _) = into.split_at(copied.map_err(SendFileError::File)?);
            position += to_u64(rest.len());
            while !rest.is_empty() {
                let writing = poll_fn(|context| self.poll_write(context, rest));
                let written = timeout(stall_max, writing).await;
                let count = written.map_err(|_| SendFileError::Stalled)?;
                rest = rest.split_at(count.map_err(broken)?).1;
            }
            yield_if_needed().await;
        }
        let flushed = timeout(stall_max, self.flush()).await;
        flushed.map_err(|_| SendFileError::Stalled)?.map_err(broken)
    }

    /// Waits until everything written is with the kernel.
    ///
    /// - Cancel: may be gone on with.
    pub async fn flush(&mut self) -> Result<(), Error> {
        poll_fn(|context| self.poll_flush(context)).await
    }

    /// As [`TlsStream::read`], for code that polls both directions in one task.
    pub fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<Result<usize, Error>> {
        match Pin::new(&mut self.0).poll_read(context, into) {
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Poll::Ready(Ok(0))
            }
            reading => reading.map_err(Error::Broken),
        }
    }

    /// Takes what there is room for; waits when there is none.
    pub fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, Error>> {
        let writing = Pin::new(&mut self.0).poll_write(context, bytes);
        writing.map_err(Error::Broken)
    }

    /// As [`TlsStream::flush`], for code that polls both directions in one task.
    pub fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let flushing = Pin::new(&mut self.0).poll_flush(context);
        flushing.map_err(Error::Broken)
    }

    /// Tells the other end that nothing more will come, and waits until the kernel has
    /// that and everything written before; reading goes on.
    ///
    /// - Cancel: may be gone on with.
    pub async fn close(&mut self) -> Result<(), Error> {
        let closing = poll_fn(|context| Pin::new(&mut self.0).poll_close(context));
        closing.await.map_err(Error::Broken)
    }

    /// Ends both directions at once; whoever reads or writes is woken.
    pub fn shutdown_both(&self) {
        self.0.get_ref().0.shutdown_both();
    }
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream")
            .field("peer", &self.peer_address())
            .finish_non_exhaustive()
    }
}
