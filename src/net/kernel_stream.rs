//! One connection that the kernel encrypts.

use std::io;
use std::os::fd::AsFd;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_rustls::rustls::Error as LibraryError;
use rustix::io::Errno;

use super::error::{Error, SendFileError};
use super::kernel_keys::{Suite, Version};
use super::kernel_record::{Record, is_over, send_alert, take_record, unconfirmed_bytes};
use super::stream::Stream;
use crate::base::limits::WRITE_STALL_TIMEOUT;
use crate::base::units::{KIB, to_u64};
use crate::runtime::sleep;

/// Longest record.
const RECORD_BYTES_MAX: u64 = 16 * KIB as u64;
/// A connection should end when this part of what may go under its key has gone.
const WORN_PARTS_MIN: u64 = 4;
/// Warnings that one connection may send.
const WARNINGS_MAX: u32 = 4;

/// The level of alerts that need not be the end.
const WARNING_TAG: u8 = 1;
/// "I send nothing more".
const CLOSE_NOTIFY: [u8; 2] = [WARNING_TAG, 0];
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
    suite: Suite,
    is_ended: bool,
    is_rekeyed: bool,
    /// No fewer than were sent.
    sent_records: u64,
    warning_count: u32,
    closing: Closing,
}

/// How far the end of the sending side has come.
#[derive(Default)]
struct Closing {
    is_said: bool,
    is_done: bool,
    /// Since the other end has taken something.
    waited: Duration,
}

impl KernelStream {
    /// Of a stream that has its keys.
    pub(super) fn new(stream: Stream, suite: Suite) -> Self {
        Self {
            stream,
            suite,
            is_ended: false,
            is_rekeyed: false,
            sent_records: 0,
            warning_count: 0,
            closing: Closing::default(),
        }
    }

    /// Whether the other end has changed its key, which ended the connection.
    pub(super) const fn is_rekeyed(&self) -> bool {
        self.is_rekeyed
    }

    /// Whether so much was sent that the connection should end.
    pub(super) const fn is_worn(&self) -> bool {
        self.sent_records >= self.suite.records_max() / WORN_PARTS_MIN
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
        self.heed(&record)
    }

    /// Takes in what came beside data. Alerts are what they are where this process
    /// encrypts.
    fn heed(&mut self, record: &Record) -> io::Result<()> {
        let [_, close_notify] = CLOSE_NOTIFY;
        match record {
            Record::Alert([_, code]) if *code == close_notify => self.is_ended = true,
            Record::Alert([level, code]) if self.is_warning(*level, *code) => {
                self.warning_count += 1;
                if self.warning_count > WARNINGS_MAX {
                    return Err(io::ErrorKind::InvalidData.into());
                }
            }
            Record::Alert([_, code]) => return Err(refused(*code)),
            Record::Handshake(KEY_UPDATE_TAG) => {
                self.is_rekeyed = true;
                let reason = "the other end changes its key, which the kernel cannot follow";
                return Err(cut(reason.to_owned()));
            }
            Record::Handshake(_) | Record::Other => return Err(io::ErrorKind::InvalidData.into()),
        }
        Ok(())
    }

    /// Whether the connection goes on after an alert: TLS 1.3 has one such only.
    fn is_warning(&self, level: u8, code: u8) -> bool {
        let is_old = self.suite.version == Version::Tls12;
        level == WARNING_TAG && (is_old || code == USER_CANCELED_TAG)
    }

    /// As [`Stream::poll_write`].
    pub(super) fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, Error>> {
        let records_max = self.suite.records_max();
        check_records(self.sent_records, records_max).map_err(Error::Broken)?;
        let count = ready!(self.stream.poll_write(context, bytes))?;
        self.sent_records += to_u64(count) / RECORD_BYTES_MAX + 1;
        Poll::Ready(Ok(count))
    }

    /// As [`Stream::send_file`].
    ///
    /// - Errors: also when too much was sent under one key.
    pub(super) async fn send_file(
        &mut self,
        file: impl AsFd,
        offset: u64,
        bytes: u64,
        stall_max: Duration,
    ) -> Result<(), SendFileError> {
        let Self {
            stream,
            suite,
            sent_records,
            ..
        } = self;
        let records_max = suite.records_max();
        let note = |sent_bytes| {
            *sent_records += records_of_pages(sent_bytes);
            check_records(*sent_records, records_max)
        };
        let sending = stream.send_file_noting(file, offset..offset + bytes, stall_max, note);
        sending.await
    }

    /// Says that nothing more will be sent, and waits until the other end has everything
    /// for as long as it takes something: a kernel that closes the socket before drops
    /// the record that it could not send whole.
    ///
    /// - Cancel: may be gone on with, in the time that is left of it.
    pub(super) async fn close(&mut self) -> io::Result<()> {
        if self.closing.is_done {
            return Ok(());
        }
        let socket = self.stream.descriptor();
        let closing = &mut self.closing;
        let mut pause = LOOK_PAUSE_MIN;
        let mut left_bytes = unconfirmed_bytes(socket)?;
        while closing.waited < WRITE_STALL_TIMEOUT {
            if !closing.is_said {
                closing.is_said = match send_alert(socket, CLOSE_NOTIFY) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
                    sent => sent.map(|()| true)?,
                };
            }
            let now_bytes = unconfirmed_bytes(socket)?;
            let is_taken = closing.is_said && now_bytes == 0 && left_bytes == 0;
            if is_taken || is_over(socket) {
                break;
            }
            sleep(pause).await;
            closing.waited = if now_bytes < left_bytes {
                Duration::ZERO
            } else {
                closing.waited + pause
            };
            left_bytes = now_bytes;
            pause = (pause * 2).min(LOOK_PAUSE_MAX);
        }
        closing.is_done = true;
        self.stream.shutdown_write();
        Ok(())
    }
}

/// The most records that one call makes of so many bytes of a file, whose pages are in
/// memory. The kernel takes 16 pages at a time, which are whole records; the first may
/// have been begun by the call before, and the last one is short. Where the client is
/// slow, each call moves little, and it is mostly these two.
const fn records_of_pages(bytes: u64) -> u64 {
    bytes / RECORD_BYTES_MAX + 2
}

fn check_records(sent: u64, max: u64) -> io::Result<()> {
    if sent < max {
        return Ok(());
    }
    Err(cut("too much was sent under one key".to_owned()))
}

/// An alert, as the library reports one.
fn refused(code: u8) -> io::Error {
    let alert = LibraryError::AlertReceived(code.into());
    io::Error::new(io::ErrorKind::InvalidData, alert)
}

/// Whether a read failed because what comes next is no data.
fn is_no_data(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::IO.raw_os_error())
}

fn cut(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, reason)
}

#[cfg(test)]
#[path = "kernel_stream_test.rs"]
mod tests;
