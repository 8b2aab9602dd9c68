//! One connection under TLS.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_lite::{AsyncRead as _, AsyncWrite as _};
use futures_rustls::pki_types::CertificateDer;
use futures_rustls::rustls::{Connection, ExtractedSecrets};

use super::error::{Error, SendFileError};
use super::kernel_keys::Suite;
use super::kernel_stream::KernelStream;
use super::kernel_tls::{KernelTls, give_keys, prepare};
use super::peer_certificate::PeerCertificate;
use super::record_socket::RecordSocket;
use super::stream::{Stream, take_front};
use super::tls_error::TlsError;
use super::tls_material::{names_of, subject_of};
use crate::base::units::{KIB, index_of, to_u64, to_usize};
use crate::runtime::{timeout, yield_if_needed};

/// Bytes of a file copied and encrypted before the shard looks for other work: four
/// records, which stay in the cache on their way.
const FILE_STEP_BYTES: usize = to_usize(64 * KIB);

/// Bytes that are decrypted at once of what comes with the end of a handshake.
const EARLY_STEP_BYTES: usize = to_usize(16 * KIB);

/// A connection of this shard under TLS, after its handshake. Closes when dropped.
///
/// As `Stream`, with one difference: where this process encrypts, written bytes may wait
/// inside, encrypted, up to `TLS_BUFFER_BYTES_MAX`, until they are flushed. A connection
/// that is cut and one that is closed in order look alike, as the end: everything spoken
/// over this says itself where it ends.
///
/// The library reads 4 KiB at a time. Reading ahead of it in larger pieces was tried:
/// the copy cost what the system calls saved.
pub struct TlsStream {
    session: Session,
    /// Of the other end.
    certificate: Option<CertificateDer<'static>>,
    /// What was decrypted with the end of the handshake, and not read yet.
    early: Vec<u8>,
}

/// Who encrypts.
enum Session {
    /// This process. Boxed: its state is many times that of a stream.
    Process(Box<UserSession>),
    /// The kernel.
    Kernel(Box<KernelStream>),
}

/// A session of the library.
type UserSession = futures_rustls::TlsStream<RecordSocket>;

impl TlsStream {
    /// Of a handshake that has just ended. The kernel goes on with it where it can: it
    /// has to take the suite, and everything read so far must be whole records, which is
    /// waited for. What came behind the handshake is kept for whoever reads next.
    pub(super) async fn settle(
        mut session: UserSession,
        kernel: KernelTls,
    ) -> Result<Self, TlsError> {
        let chain = session.get_ref().1.peer_certificates();
        let certificate = chain.and_then(|chain| chain.first()).cloned();
        let suite = suite_of(&session).filter(|suite| kernel.takes(*suite));
        let mut early = Vec::new();
        let is_ready = suite.is_some() && take_early(&mut session, &mut early).await?;
        let session = match suite {
            Some(suite) if is_ready && prepare(session.get_ref().0.descriptor()).is_ok() => {
                let stream = hand_over(session, suite).map_err(TlsError::Broken)?;
                Session::Kernel(Box::new(KernelStream::new(stream, suite)))
            }
            _ => {
                session.get_mut().0.stop_metering();
                Session::Process(Box::new(session))
            }
        };
        Ok(Self {
            session,
            certificate,
            early,
        })
    }

    fn stream(&self) -> &Stream {
        match &self.session {
            Session::Process(session) => &session.get_ref().0.stream,
            Session::Kernel(kernel) => &kernel.stream,
        }
    }

    /// Whether the kernel encrypts it.
    #[must_use]
    pub const fn is_in_kernel(&self) -> bool {
        matches!(self.session, Session::Kernel(_))
    }

    /// Whether it has ended because the other end changed its key, which the kernel
    /// cannot follow.
    #[must_use]
    pub const fn is_rekeyed(&self) -> bool {
        match &self.session {
            Session::Process(_) => false,
            Session::Kernel(kernel) => kernel.is_rekeyed(),
        }
    }

    /// Whether so much was sent under one key that the connection should end soon. The
    /// library gets itself another key in time.
    #[must_use]
    pub const fn is_worn(&self) -> bool {
        match &self.session {
            Session::Process(_) => false,
            Session::Kernel(kernel) => kernel.is_worn(),
        }
    }

    /// Address of the other end.
    #[must_use]
    pub fn peer_address(&self) -> SocketAddr {
        self.stream().peer_address()
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

    const fn peer_certificate(&self) -> Option<&CertificateDer<'static>> {
        self.certificate.as_ref()
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

    /// Sends `bytes` of `file` from `offset` out of the page cache: as
    /// [`Stream::send_file`] where the kernel encrypts, else through a small buffer.
    /// Pages that are not resident stop the shard: ask first. Gives the shard
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
        if let Session::Kernel(kernel) = &mut self.session {
            return kernel.send_file(file, offset, bytes, stall_max).await;
        }
        self.copy_file(file, offset, bytes, stall_max).await
    }

    async fn copy_file(
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
        if !self.early.is_empty() {
            return Poll::Ready(Ok(take_front(&mut self.early, into)));
        }
        let session = match &mut self.session {
            Session::Process(session) => session,
            Session::Kernel(kernel) => return kernel.poll_read(context, into),
        };
        match Pin::new(session).poll_read(context, into) {
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
        match &mut self.session {
            Session::Process(session) => {
                let writing = Pin::new(session).poll_write(context, bytes);
                writing.map_err(Error::Broken)
            }
            Session::Kernel(kernel) => kernel.poll_write(context, bytes),
        }
    }

    /// As [`TlsStream::flush`], for code that polls both directions in one task.
    pub fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        match &mut self.session {
            Session::Process(session) => {
                let flushing = Pin::new(session).poll_flush(context);
                flushing.map_err(Error::Broken)
            }
            Session::Kernel(_) => Poll::Ready(Ok(())),
        }
    }

    /// Tells the other end that nothing more will come, and waits until the kernel has
    /// that and everything written before; where it encrypts, until the other end has
    /// it. Reading goes on.
    ///
    /// - Cancel: may be gone on with.
    pub async fn close(&mut self) -> Result<(), Error> {
        let closed = match &mut self.session {
            Session::Process(session) => {
                poll_fn(|context| Pin::new(&mut *session).poll_close(context)).await
            }
            Session::Kernel(kernel) => kernel.close().await,
        };
        closed.map_err(Error::Broken)
    }

    /// Ends both directions at once; whoever reads or writes is woken.
    pub fn shutdown_both(&self) {
        self.stream().shutdown_both();
    }
}

fn suite_of(session: &UserSession) -> Option<Suite> {
    let state = session.get_ref().1;
    let suite = state.negotiated_cipher_suite()?.suite();
    Suite::of(state.protocol_version()?, suite)
}

/// Reads until nothing is left half read or decrypted, and says whether the session can
/// go elsewhere then; what was decrypted on the way goes to `early`. There is little:
/// the library does not ask for another record while it has one.
async fn take_early(session: &mut UserSession, early: &mut Vec<u8>) -> Result<bool, TlsError> {
    let mut step = vec![0; EARLY_STEP_BYTES];
    let taking = poll_fn(|context| {
        loop {
            if is_between(session) {
                return Poll::Ready(Ok(true));
            }
            match Pin::new(&mut *session).poll_read(context, &mut step) {
                // It may have been no data that was read.
                Poll::Pending if !is_between(session) => return Poll::Pending,
                Poll::Pending => {}
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(false)),
                Poll::Ready(Ok(count)) => early.extend(step.iter().take(count)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            }
        }
    });
    let is_between = taking.await.map_err(TlsError::of)?;
    tell_of_key(session).map_err(TlsError::of)?;
    let flushing = poll_fn(|context| Pin::new(&mut *session).poll_flush(context));
    flushing.await.map_err(TlsError::of)?;
    Ok(is_between && !session.get_ref().1.wants_write())
}

/// Has the library send the news that this end's key is another now, as the other end
/// may have wished with the end of the handshake. It would wait for data to be written.
fn tell_of_key(session: &mut UserSession) -> io::Result<()> {
    let nothing = &[];
    let written = match session {
        UserSession::Client(client) => client.get_mut().1.writer().write(nothing),
        UserSession::Server(server) => server.get_mut().1.writer().write(nothing),
    };
    written.map(drop)
}

/// Whether nothing is left decrypted, and no record half read.
fn is_between(session: &UserSession) -> bool {
    let (socket, state) = session.get_ref();
    state.wants_read() && socket.is_between_records()
}

/// Has the kernel go on with a session whose socket is prepared.
fn hand_over(session: UserSession, suite: Suite) -> io::Result<Stream> {
    let (socket, secrets) = take_apart(session)?;
    give_keys(socket.descriptor(), suite, &secrets)?;
    Ok(socket.stream)
}

/// The socket of a session, and what goes on with it needs to know.
fn take_apart(session: UserSession) -> io::Result<(RecordSocket, ExtractedSecrets)> {
    let (socket, state) = match session {
        UserSession::Client(client) => {
            let (socket, state) = client.into_inner();
            (socket, Connection::Client(state))
        }
        UserSession::Server(server) => {
            let (socket, state) = server.into_inner();
            (socket, Connection::Server(state))
        }
    };
    let secrets = state.dangerous_extract_secrets();
    Ok((socket, secrets.map_err(io::Error::other)?))
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream")
            .field("peer", &self.peer_address())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "tls_stream_test.rs"]
mod tests;
