//! Records of TLS that are no data, on connections that the kernel encrypts.
//!
//! `unsafe` code; the crates have no safe way to send a control message of TLS, and
//! none to ask how much of a socket is on its way. Invariants:
//! 1. Every pointer given to the kernel is to a value of this function, which lives
//!    until the call is over, and its length is that of the value.
//! 2. `SIOCOUTQ` writes one `c_int`.

use std::io::{self, IoSliceMut};
use std::mem::size_of;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::ptr;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, TlsGetRecordType, recvmsg};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::ioctl::{Getter, Opcode, ioctl};

use crate::base::units::index_of;

/// Record type of alerts.
const ALERT_TAG: u8 = 21;
/// Bytes looked at of a record that is no data: an alert has two, and of a handshake
/// message the first says what it is.
const RECORD_BYTES_MAX: usize = 64;

/// Bytes of a socket that the other end has not confirmed. Source: `linux/sockios.h`.
const SIOCOUTQ: Opcode = 0x5411;

/// A control message with one byte, as the kernel lays it out.
#[repr(C)]
struct RecordType {
    header: libc::cmsghdr,
    tag: u8,
    _padding: [u8; 7],
}

/// A record that the kernel has decrypted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// An alert: its level and its description.
    Alert([u8; 2]),
    /// A message of the handshake: its type.
    Handshake(u8),
    /// Data, or something unheard of.
    Other,
}

/// Takes the record that made an ordinary read fail with `EIO`.
///
/// - Errors: `WouldBlock` when there is none.
pub(super) fn take_record(socket: BorrowedFd<'_>) -> io::Result<Record> {
    let mut bytes = [0; RECORD_BYTES_MAX];
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let mut beside = nix::cmsg_space!(u8);
    let flags = MsgFlags::MSG_DONTWAIT;
    let received = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut beside), flags)?;
    let tag = received.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::TlsGetRecordType(tag) => Some(tag),
        _ => None,
    });
    let count = received.bytes;
    Ok(match (tag, bytes.get(..count)) {
        (Some(TlsGetRecordType::Alert), Some([level, description, ..])) => {
            Record::Alert([*level, *description])
        }
        (Some(TlsGetRecordType::Handshake), Some([kind, ..])) => Record::Handshake(*kind),
        _ => Record::Other,
    })
}

/// Sends an alert behind everything written before.
///
/// - Errors: `WouldBlock` when the socket is full.
pub(super) fn send_alert(socket: BorrowedFd<'_>, mut alert: [u8; 2]) -> io::Result<()> {
    let mut beside = RecordType {
        header: libc::cmsghdr {
            cmsg_len: size_of::<libc::cmsghdr>() + size_of::<u8>(),
            cmsg_level: libc::SOL_TLS,
            cmsg_type: libc::TLS_SET_RECORD_TYPE,
        },
        tag: ALERT_TAG,
        _padding: [0; 7],
    };
    let mut part = libc::iovec {
        iov_base: (&raw mut alert).cast(),
        iov_len: alert.len(),
    };
    let message = libc::msghdr {
        msg_name: ptr::null_mut(),
        msg_namelen: 0,
        msg_iov: &raw mut part,
        msg_iovlen: 1,
        msg_control: (&raw mut beside).cast(),
        msg_controllen: size_of::<RecordType>(),
        msg_flags: 0,
    };
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    #[expect(unsafe_code, reason = "the crates have no such control message")]
    // SAFETY: invariant 1; the message points to `part` and `beside`, that to `alert`.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, flags) };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Bytes that were written and that the other end has not confirmed.
pub(super) fn unconfirmed_bytes(socket: BorrowedFd<'_>) -> io::Result<usize> {
    #[expect(unsafe_code, reason = "the crates have no such question")]
    // SAFETY: invariant 2; the result is that of the opcode.
    let question = unsafe { Getter::<SIOCOUTQ, libc::c_int>::new() };
    #[expect(unsafe_code, reason = "the crates have no such question")]
    // SAFETY: invariant 2; the kernel writes into the question's own place.
    let count = unsafe { ioctl(socket, question) }?;
    Ok(u64::try_from(count).map(index_of).unwrap_or_default())
}

/// Whether the connection is over for both ends, as it is when the other one has reset
/// it: what it has not confirmed by then it never will.
pub(super) fn is_over(socket: BorrowedFd<'_>) -> bool {
    let mut asked = [PollFd::from_borrowed_fd(socket, PollFlags::empty())];
    let answered = poll(&mut asked, Some(&Timespec::default()));
    let over = PollFlags::HUP | PollFlags::ERR;
    let [asked] = asked;
    answered.is_err() || asked.revents().intersects(over)
}
