//! What TLS in this process reads from and writes to.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_lite::{AsyncRead, AsyncWrite};

use super::record_meter::RecordMeter;
use super::stream::Stream;

/// A stream that is read as a whole, or record by record: whoever wants to hand the
/// connection to the kernel must not have read into a record that the kernel shall
/// decrypt.
pub(super) struct RecordSocket {
    pub(super) stream: Stream,
    meter: Option<RecordMeter>,
}

impl RecordSocket {
    /// Of a connection at its beginning.
    pub(super) fn new(stream: Stream, is_metered: bool) -> Self {
        Self {
            stream,
            meter: is_metered.then(RecordMeter::default),
        }
    }

    /// The socket's descriptor, for system calls that the runtime lacks.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.stream.descriptor()
    }

    /// Reads as it comes from now on.
    pub(super) const fn stop_metering(&mut self) {
        self.meter = None;
    }

    /// Whether all that was read is whole records, and nothing was read that was not
    /// asked for; false when nobody knows.
    pub(super) fn is_between_records(&self) -> bool {
        let meter = self.meter.as_ref();
        meter.is_some_and(RecordMeter::is_between) && !self.stream.has_put_back()
    }
}

impl AsyncRead for RecordSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let socket = &mut *self;
        let stream = Pin::new(&mut socket.stream);
        let Some(meter) = &mut socket.meter else {
            return stream.poll_read(context, into);
        };
        let bytes_max = meter.bytes_max().min(into.len());
        let (into, _) = into.split_at_mut(bytes_max);
        let count = ready!(stream.poll_read(context, into))?;
        meter.pass(into.split_at(count).0);
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for RecordSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.stream), context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(context)
    }
}
