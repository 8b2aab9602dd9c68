//! Moves the frames of one connection, both ways, until it ends.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::time::Duration;

use futures_lite::future::or;

use super::decoder::Decoder;
use super::frame::{Frame, FrameError, FrameKind, HEADER_BYTES};
use super::link::Link;
use super::liveness::Liveness;
use super::outbox::{Outbox, Outgoing};
use crate::base::Clock;
use crate::base::units::{KIB, to_usize};
use crate::net;
use crate::runtime::{sleep, yield_if_needed};

/// Small frames that wait are sent together, up to so many bytes.
const BATCH_BYTES: usize = to_usize(64 * KIB);
/// Payloads above this go from where they are.
const COPIED_PAYLOAD_BYTES_MAX: usize = to_usize(16 * KIB);

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    /// The other end closed it.
    #[error("closed by the other end")]
    Closed,
    /// The socket failed.
    #[error("broken")]
    Broken(#[source] net::Error),
    /// The other end sent what is no frame.
    #[error("a bad frame came")]
    Frame(#[from] FrameError),
    /// The other end has been silent for too long.
    #[error("silent for too long")]
    Silent,
    /// It was to be over by now.
    #[error("open for too long")]
    Overdue,
    /// This end has no use for it.
    #[error("not used any more")]
    Unused,
}

/// When the other end counts as gone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watch {
    /// How often to look.
    pub(super) period: Duration,
    /// How long it may be silent.
    pub(super) silence_max: Duration,
}

/// What an end does with its connection.
pub(super) trait Endpoint {
    /// Takes a call, an answer or a refusal.
    ///
    /// - Errors: the connection ends.
    fn receive(&self, frame: Frame) -> Result<(), FrameError>;

    /// Longest payload that the other end may send.
    fn payload_bytes_max(&self) -> u32;

    /// Is looked at every period; `false` ends the connection.
    fn look(&self) -> bool;
}

/// Drives a connection until it ends, and closes it.
///
/// - Cancel: closes the connection, too.
pub(super) async fn drive(
    link: Link,
    outbox: &Outbox,
    watch: Watch,
    endpoint: &impl Endpoint,
) -> End {
    let clock = Clock::system();
    let liveness = Liveness::new(watch.period, watch.silence_max, clock.now());
    let driver = Driver {
        link: RefCell::new(link),
        outbox,
        liveness: RefCell::new(liveness),
        clock,
    };
    let looking = driver.look(watch.period, endpoint);
    let moving = or(driver.read(endpoint), driver.write());
    let Err(end) = or(moving, looking).await;
    // The last words of this end, a refusal perhaps, are with the kernel; it keeps
    // them for the other end.
    driver.link.borrow().shutdown();
    end
}

struct Driver<'a> {
    link: RefCell<Link>,
    outbox: &'a Outbox,
    liveness: RefCell<Liveness>,
    clock: Clock,
}

impl Driver<'_> {
    fn saw_sign(&self) {
        self.liveness.borrow_mut().saw_sign(self.clock.now());
    }

    async fn read(&self, endpoint: &impl Endpoint) -> Result<Infallible, End> {
        let mut decoder = Decoder::new(endpoint.payload_bytes_max());
        loop {
            let count = poll_fn(|context| {
                let mut link = self.link.borrow_mut();
                link.poll_read(context, decoder.space())
            });
            let count = count.await.map_err(End::Broken)?;
            if count == 0 {
                return Err(End::Closed);
            }
            self.saw_sign();
            decoder.filled(count);
            while let Some(frame) = decoder.take()? {
                match frame.kind {
                    FrameKind::Ping => self.outbox.pong(frame.id),
                    FrameKind::Pong => {}
                    FrameKind::Call | FrameKind::Answer | FrameKind::Refusal => {
                        endpoint.receive(frame)?;
                    }
                }
            }
            yield_if_needed().await;
        }
    }

    async fn write(&self) -> Result<Infallible, End> {
        let mut batch = Vec::with_capacity(BATCH_BYTES);
        loop {
            let first = match self.outbox.take() {
                Some(outgoing) => outgoing,
                None => self.outbox.next().await,
            };
            let mut rooms = Vec::new();
            let mut next = Some(first);
            while let Some(Outgoing { frame, room }) = next {
                rooms.push(room);
                batch.extend(frame.header());
                if frame.payload.len() > COPIED_PAYLOAD_BYTES_MAX {
                    self.write_all(&batch).await?;
                    batch.clear();
                    self.write_all(&frame.payload).await?;
                } else {
                    batch.extend(&frame.payload);
                }
                let is_full = batch.len() + HEADER_BYTES + COPIED_PAYLOAD_BYTES_MAX > BATCH_BYTES;
                next = if is_full { None } else { self.outbox.take() };
            }
            self.write_all(&batch).await?;
            batch.clear();
            self.flush().await?;
            drop(rooms);
        }
    }

    async fn write_all(&self, bytes: &[u8]) -> Result<(), End> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let has_waited = Cell::new(false);
            let writing = poll_fn(|context| {
                let polled = self.link.borrow_mut().poll_write(context, rest);
                has_waited.set(has_waited.get() || polled.is_pending());
                polled
            });
            let count = writing.await.map_err(End::Broken)?;
            // A full socket that takes bytes again: the other end has taken some.
            if has_waited.get() {
                self.saw_sign();
            }
            rest = rest.split_at(count).1;
            yield_if_needed().await;
        }
        Ok(())
    }

    async fn flush(&self) -> Result<(), End> {
        let flushing = poll_fn(|context| self.link.borrow_mut().poll_flush(context));
        flushing.await.map_err(End::Broken)
    }

    async fn look(&self, period: Duration, endpoint: &impl Endpoint) -> Result<Infallible, End> {
        loop {
            sleep(period).await;
            if !self.liveness.borrow_mut().is_alive(self.clock.now()) {
                return Err(End::Silent);
            }
            if !endpoint.look() {
                return Err(End::Unused);
            }
        }
    }
}
