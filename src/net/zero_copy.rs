//! Borrows a socket's descriptor from the runtime, gives it one, and sends file pages
//! through it.
//!
//! `unsafe` code. Invariants:
//! 1. A glommio socket keeps its descriptor open for as long as it lives, and the
//!    borrow made here does not outlive the reference it was made from.
//! 2. An owned descriptor has no other owner, and gives itself up when it is turned
//!    into a number.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd as _, IntoRawFd as _, OwnedFd};

use glommio::net::{TcpListener, TcpStream};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags};

use crate::base::units::index_of;

/// The descriptor of `socket`, for system calls that the runtime lacks.
pub(super) fn borrow<S: AsRawFd>(socket: &S) -> BorrowedFd<'_> {
    #[expect(unsafe_code, reason = "glommio gives its descriptors as numbers only")]
    // SAFETY: invariant 1; the lifetime of the result is that of `socket`.
    let borrowed = unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) };
    borrowed
}

/// A socket of this executor over a connected descriptor.
pub(super) fn attach(connected: OwnedFd) -> TcpStream {
    #[expect(unsafe_code, reason = "glommio takes descriptors as numbers only")]
    // SAFETY: invariant 2; the socket becomes the owner.
    let stream = unsafe { TcpStream::from_raw_fd(connected.into_raw_fd()) };
    stream
}

/// A listener of this executor over a descriptor that is bound and listens.
pub(super) fn attach_listener(listening: OwnedFd) -> TcpListener {
    #[expect(unsafe_code, reason = "glommio takes descriptors as numbers only")]
    // SAFETY: invariant 2; the listener becomes the owner.
    let listener = unsafe { TcpListener::from_raw_fd(listening.into_raw_fd()) };
    listener
}

/// Sends what the socket takes of all parts, without waiting for it.
pub(super) fn send_parts(socket: BorrowedFd<'_>, parts: &[IoSlice<'_>]) -> Result<usize, Errno> {
    let mut nothing_beside = SendAncillaryBuffer::default();
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    rustix::net::sendmsg(socket, parts, &mut nothing_beside, flags)
}

/// What one send of pages came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// So many bytes went.
    Bytes(u64),
    /// The socket takes nothing more now.
    Full,
}

/// Sends at most `bytes` pages of `file` from `offset`, without waiting for the socket.
///
/// - Errors: of either end; `UnexpectedEof` when the file has nothing there.
pub(super) fn send_pages(
    socket: BorrowedFd<'_>,
    file: impl AsFd,
    offset: u64,
    bytes: u64,
) -> io::Result<Sent> {
    let mut position = offset;
    loop {
        return match rustix::fs::sendfile(socket, &file, Some(&mut position), index_of(bytes)) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(Sent::Bytes(position - offset)),
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => Ok(Sent::Full),
            Err(errno) => Err(errno.into()),
        };
    }
}
