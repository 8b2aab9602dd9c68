//! What the bytes of a connection go through: the open network, or TLS.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use crate::net::{Error, SendFileError, Stream, TlsStream};

/// A connection in either form.
#[derive(Debug)]
pub(super) enum Transport {
    /// The open network.
    Plain(Stream),
    /// TLS. Boxed: its state is many times that of a stream.
    Tls(Box<TlsStream>),
}

impl Transport {
    pub(super) fn peer_address(&self) -> SocketAddr {
        match self {
            Self::Plain(stream) => stream.peer_address(),
            Self::Tls(stream) => stream.peer_address(),
        }
    }

    pub(super) const fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// The connection under TLS that the kernel encrypts, if it is one.
    pub(super) fn in_kernel(&self) -> Option<&TlsStream> {
        match self {
            Self::Tls(stream) if stream.is_in_kernel() => Some(stream),
            Self::Plain(_) | Self::Tls(_) => None,
        }
    }

    /// Reads what is there, waiting for the first byte. 0 is the end.
    ///
    /// - Cancel: loses nothing.
    pub(super) async fn read(&mut self, into: &mut [u8]) -> Result<usize, Error> {
        match self {
            Self::Plain(stream) => stream.read(into).await,
            Self::Tls(stream) => stream.read(into).await,
        }
    }

    /// Writes what is taken, waiting until something is.
    ///
    /// - Cancel: nothing has gone.
    pub(super) async fn write_some(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        match self {
            Self::Plain(stream) => stream.write_some(bytes).await,
            Self::Tls(stream) => poll_fn(|context| stream.poll_write(context, bytes)).await,
        }
    }

    /// Waits until everything written is with the kernel.
    ///
    /// - Cancel: may be gone on with.
    pub(super) async fn flush(&mut self) -> Result<(), Error> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(stream) => stream.flush().await,
        }
    }

    /// As [`Stream::send_file`] and [`TlsStream::send_file`].
    pub(super) async fn send_file(
        &mut self,
        file: impl AsFd,
        offset: u64,
        bytes: u64,
        stall_max: Duration,
    ) -> Result<(), SendFileError> {
        match self {
            Self::Plain(stream) => stream.send_file(file, offset, bytes, stall_max).await,
            Self::Tls(stream) => stream.send_file(file, offset, bytes, stall_max).await,
        }
    }

    /// Says that nothing more will be sent; reading goes on.
    pub(super) async fn finish(&mut self) -> Result<(), Error> {
        match self {
            Self::Plain(stream) => {
                stream.shutdown_write();
                Ok(())
            }
            Self::Tls(stream) => stream.close().await,
        }
    }
}
