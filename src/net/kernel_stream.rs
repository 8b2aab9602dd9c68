//! One connection that the kernel encrypts.

use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::io::Errno;

use super::error::Error;
use super::kernel_record::{Record, is_over, send_alert, take_record, unconfirmed_bytes};
use super::stream::Stream;
use crate::base::limits::WRITE_STALL_TIMEOUT;
use crate::base::units::{KIB, to_u64};
use crate::runtime::sleep;

/// Longest record.
const RECORD_BYTES_MAX: u64 = 16 * KIB as u64;
/// Records after which a connection should end: a quarter of the bound.
const WORN_RECORDS_MIN: u64 = 1 << 22;
/// Records after which nothing is sent any more. RFC 8446, section 5.5, allows 2^24.5
/// under one key of AES-GCM, and the kernel cannot be given another.
const SENT_RECORDS_MAX: u64 = 1 << 24;

/// "I send nothing more", a warning.
const CLOSE_NOTIFY: [u8; 2] = [1, 0];
/// "Never mind", before the former.
const USER_CANCELED_TAG: u8 = 90;
/// The message by which one end changes its key.
const KEY_UPDATE_TAG: u8 = 24;

/// First and longest pause between two looks at a socket that is to be closed.
const LOOK_PAUSE_MIN: Duration = Duration::from_millis(1);
const LOOK_PAUSE_MAX: Duration = Duration::from_millis(50);

/// A stream whose bytes are encrypted and decrypted in the kernel: what is written goes
/// as it goes in the open, files out of the page cache as well.
///
/// What comes beside data fails an ordinary read, and is looked at then.
pub(super) struct KernelStream {
    pub(super) stream: Stream,
    is_ended: bool,
    is_rekeyed: bool,
    /// No fewer than were sent.
    sent_records: u64,
}

impl KernelStream {
    /// Of a stream that has its keys.
    pub(super) const fn new(stream: Stream) -> Self {
        Self {
            stream,
            is_ended: false,
            is_rekeyed: false,
            sent_records: 0,
        }
    }

    /// Whether the other end has changed its key, which ended the connection.
    pub(super) const fn is_rekeyed(&self) -> bool {
        self.is_rekeyed
    }

    /// Whether so much was sent that the connection should end.
    pub(super) const fn is_worn(&self) -> bool {
        self.sent_records >= WORN_RECORDS_MIN
    }

    /// As [`Stream::poll_read`]; the end that the other one announces is the end.
    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<Result<usize, Error>> {
        loop {
            if self.is_ended {
                return Poll::Ready(Ok(0));
            }
            match ready!(self.stream.poll_read(context, into)) {
                Err(Error::Broken(error)) if is_no_data(&error) => {
                    self.take_record(error).map_err(Error::Broken)?;
                }
                read => return Poll::Ready(read),
            }
        }
    }

    /// Looks at what made a read fail.
    fn take_record(&mut self, failed: io::Error) -> io::Result<()> {
        let record = match take_record(self.stream.descriptor()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(failed),
            record => record?,
        };
        let [_, close_notify] = CLOSE_NOTIFY;
        match record {
            Record::Alert(code) if code == close_notify => self.is_ended = true,
            Record::Alert(USER_CANCELED_TAG) => {}
            Record::Alert(code) => return Err(cut(format!("the other end says alert {code}"))),
            Record::Handshake(KEY_UPDATE_TAG) => {
                self.is_rekeyed = true;
                let reason = "the other end changes its key, which the kernel cannot follow";
                return Err(cut(reason.to_owned()));
            }
            Record::Handshake(_) | Record::Other => return Err(io::ErrorKind::InvalidData.into()),
        }
        Ok(())
    }

    /// As [`Stream::poll_write`].
    pub(super) fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, Error>> {
        self.check_records().map_err(Error::Broken)?;
        let count = ready!(self.stream.poll_write(context, bytes))?;
        self.sent_records += to_u64(count) / RECORD_BYTES_MAX + 1;
        Poll::Ready(Ok(count))
    }

    /// Takes in that bytes of a file go. The kernel takes them 16 pages at a time, which
    /// are four records or, when they begin within one, five.
    ///
    /// - Errors: too many records.
    pub(super) fn count_file(&mut self, bytes: u64) -> io::Result<()> {
        self.sent_records += 2 * (bytes / RECORD_BYTES_MAX + 1);
        self.check_records()
    }

    fn check_records(&self) -> io::Result<()> {
        if self.sent_records < SENT_RECORDS_MAX {
            return Ok(());
        }
        Err(cut("too much was sent under one key".to_owned()))
    }

    /// Says that nothing more will be sent, and waits until the other end has everything
    /// for as long as it takes something: a kernel that closes the socket before drops
    /// the record that it could not send whole.
    ///
    /// - Cancel: may be gone on with; says it again then.
    pub(super) async fn close(&self) -> io::Result<()> {
        let socket = self.stream.descriptor();
        let mut pause = LOOK_PAUSE_MIN;
        let mut waited = Duration::ZERO;
        let mut is_said = false;
        let mut left_bytes = unconfirmed_bytes(socket)?;
        while waited < WRITE_STALL_TIMEOUT {
            if !is_said {
                is_said = match send_alert(socket, CLOSE_NOTIFY) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
                    sent => sent.map(|()| true)?,
                };
            }
            let now_bytes = unconfirmed_bytes(socket)?;
            let is_taken = is_said && now_bytes == 0 && left_bytes == 0;
            if is_taken || is_over(socket) {
                break;
            }
            sleep(pause).await;
            waited = if now_bytes < left_bytes {
                Duration::ZERO
            } else {
                waited + pause
            };
            left_bytes = now_bytes;
            pause = (pause * 2).min(LOOK_PAUSE_MAX);
        }
        self.stream.shutdown_write();
        Ok(())
    }
}

/// Whether a read failed because what comes next is no data.
fn is_no_data(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::IO.raw_os_error())
}

fn cut(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, reason)
}
