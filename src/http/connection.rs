//! The order of things on one connection: head, body, answer, next.

use crate::base::limits::DRAIN_BYTES_MAX;
use crate::base::units::{index_of, to_u64};

use super::body::{BodyDecoder, Decoded};
use super::framing::Framing;
use super::head::Head;
use super::refusal::Refusal;
use super::scan::HeadScan;

/// The bounds of a connection that tests and operators may move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionBounds {
    /// Body bytes, framing included, that are read and dropped after an answer
    /// that came before them; a body with more to come costs the connection.
    pub drain_bytes_max: u64,
}

impl Default for ConnectionBounds {
    fn default() -> Self {
        Self {
            drain_bytes_max: u64::from(DRAIN_BYTES_MAX),
        }
    }
}

/// What an answer says about the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// Another request may follow.
    KeepAlive,
    /// The answer carries `Connection: close`.
    Close,
}

/// What follows an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// The next head may begin.
    NextHead,
    /// Bytes of the old body stand before it: feed [`Connection::drain`].
    Drain,
    /// Nothing more is read.
    Close,
}

/// The state of one connection, without its socket.
///
/// The caller owns the bytes. It offers them where they lie, and every call says
/// how many it took: [`Self::take_head`], then [`Self::decode`] as often as it
/// wants body, [`Self::answer`] when it writes the answer, [`Self::after_answer`]
/// when it has, and [`Self::drain`] while that says so. What comes out depends on
/// the stream of bytes and never on where it was cut.
///
/// - Panics: every method, when it is called out of this order.
#[derive(Clone, Debug)]
pub struct Connection {
    bounds: ConnectionBounds,
    phase: Phase,
    scan: HeadScan,
    body: BodyDecoder,
    keep_alive: bool,
    continue_due: bool,
    /// Of the unread body, after the answer.
    drained_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Head,
    Request,
    Answered,
    Closed,
}

impl Connection {
    /// A connection before its first byte.
    #[must_use]
    pub fn new(bounds: ConnectionBounds) -> Self {
        Self {
            bounds,
            phase: Phase::Head,
            scan: HeadScan::default(),
            body: BodyDecoder::new(Framing::None),
            keep_alive: true,
            continue_due: false,
            drained_bytes: 0,
        }
    }

    /// Takes the next head off the front of `received`, with the bytes it took;
    /// `None` while it is incomplete. Every call offers the earlier bytes again.
    ///
    /// - Errors: answer it, close; nothing more can be taken.
    pub fn take_head(&mut self, received: &[u8]) -> Result<Option<(Head, usize)>, Refusal> {
        assert_eq!(self.phase, Phase::Head, "a head follows an answer");
        let taken = self.try_take_head(received);
        if taken.is_err() {
            self.phase = Phase::Closed;
        }
        taken
    }

    fn try_take_head(&mut self, received: &[u8]) -> Result<Option<(Head, usize)>, Refusal> {
        let Some(end) = self.scan.scan(received)? else {
            return Ok(None);
        };
        let bytes = received.get(self.scan.start()..end).unwrap_or_default();
        let head = Head::parse_complete(bytes)?;
        self.scan = HeadScan::default();
        self.phase = Phase::Request;
        self.body = BodyDecoder::new(head.framing());
        self.keep_alive = head.keep_alive();
        self.continue_due = head.expects_continue() && head.framing() != Framing::None;
        self.drained_bytes = 0;
        Ok(Some((head, end)))
    }

    /// True exactly once, when the body is first wanted and the client waits to
    /// be asked for it: send [`super::CONTINUE`].
    pub fn take_continue(&mut self) -> bool {
        assert_eq!(self.phase, Phase::Request, "the answer ends the interim");
        std::mem::take(&mut self.continue_due)
    }

    /// Unwraps body bytes in place.
    ///
    /// - Errors: answer it when no answer has begun, close.
    pub fn decode(&mut self, bytes: &mut [u8]) -> Result<Decoded, Refusal> {
        assert_eq!(
            self.phase,
            Phase::Request,
            "a body is read before its answer"
        );
        let decoded = self.body.decode(bytes);
        if decoded.is_err() {
            self.keep_alive = false;
        }
        decoded
    }

    /// The body, as far as it has been taken.
    #[must_use]
    pub const fn body(&self) -> &BodyDecoder {
        &self.body
    }

    /// Decides what the answer says about the connection; `wants_close` is the
    /// server's own wish.
    ///
    /// A body that nobody read closes it when more is announced than may be
    /// drained, and when its client waits for a 100 that it never got: it may
    /// send the body or leave it out, and the two look alike.
    pub fn answer(&mut self, wants_close: bool) -> Persistence {
        assert_eq!(self.phase, Phase::Request, "one request has one answer");
        self.phase = Phase::Answered;
        let is_too_long = self
            .body
            .raw_remaining()
            .is_some_and(|left_bytes| left_bytes > self.bounds.drain_bytes_max);
        self.keep_alive &= !wants_close && !self.continue_due && !is_too_long;
        if self.keep_alive {
            Persistence::KeepAlive
        } else {
            Persistence::Close
        }
    }

    /// Says what follows the answer just sent.
    pub fn after_answer(&mut self) -> After {
        assert_eq!(self.phase, Phase::Answered, "the answer comes first");
        if !self.keep_alive {
            self.phase = Phase::Closed;
            return After::Close;
        }
        if !self.body.is_end() {
            return After::Drain;
        }
        self.phase = Phase::Head;
        After::NextHead
    }

    /// Drops bytes of the unread body off the front of `bytes`, with the bytes
    /// it took. Broken chunks and too long bodies close the connection.
    pub fn drain(&mut self, bytes: &mut [u8]) -> (usize, After) {
        assert_eq!(
            self.phase,
            Phase::Answered,
            "only an answered body is drained"
        );
        let left_bytes = self.bounds.drain_bytes_max - self.drained_bytes;
        let offered = to_u64(bytes.len()).min(left_bytes);
        let here = bytes.get_mut(..index_of(offered)).unwrap_or_default();
        let Ok(decoded) = self.body.decode(here) else {
            self.phase = Phase::Closed;
            return (0, After::Close);
        };
        self.drained_bytes += to_u64(decoded.consumed);
        self.keep_alive = decoded.is_end || self.drained_bytes < self.bounds.drain_bytes_max;
        (decoded.consumed, self.after_answer())
    }

    /// Ends the connection: a bound of time passed, or the peer or the server left.
    pub const fn close(&mut self) {
        self.phase = Phase::Closed;
    }
}

#[cfg(test)]
#[path = "connection_test.rs"]
mod tests;
