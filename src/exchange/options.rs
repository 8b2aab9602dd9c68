//! What an operator or a test may set for a door.

use std::time::Duration;

use crate::base::limits;
use crate::http::ConnectionBounds;

/// Bounds of the connections of one door. The defaults are those of
/// `base::limits`, where each has its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// A connection without a request is closed after this.
    pub idle_timeout: Duration,
    /// A head must be complete this long after its first byte, else 408.
    pub head_timeout: Duration,
    /// The window over which a body must keep up its rate, else 408.
    pub body_window: Duration,
    /// The slowest rate of a body, in bytes per second of waiting for it.
    pub body_rate_bytes_min: u64,
    /// A reader that takes nothing for this long is closed.
    pub write_stall_timeout: Duration,
    /// A reader that takes nothing for this long should not hold a pooled buffer.
    pub write_stall_give_back: Duration,
    /// After a last answer, how long bytes that the client still sends are
    /// dropped, so that a reset does not overtake the answer.
    pub linger_timeout: Duration,
    /// At shutdown, a connection without a request is closed after this.
    pub parting_timeout: Duration,
    /// Bounds of the pure connection.
    pub connection: ConnectionBounds,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            idle_timeout: limits::IDLE_TIMEOUT,
            head_timeout: limits::HEAD_TIMEOUT,
            body_window: limits::BODY_WINDOW,
            body_rate_bytes_min: limits::BODY_RATE_BYTES_MIN,
            write_stall_timeout: limits::WRITE_STALL_TIMEOUT,
            write_stall_give_back: limits::WRITE_STALL_GIVE_BACK,
            linger_timeout: limits::LINGER_TIMEOUT,
            parting_timeout: limits::PARTING_TIMEOUT,
            connection: ConnectionBounds::default(),
        }
    }
}
