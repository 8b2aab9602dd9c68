//! What calls to other nodes come to when they get no answer.

use std::io;
use std::sync::Arc;

use super::auth_error::AuthError;
use crate::net;
use crate::telemetry::{CallEnd, HandshakeFailure};

/// A node could not be connected to. Nothing was asked of it.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address is no `host:port`, or its name is not known.
    #[error("resolve {address}")]
    Resolve {
        /// The address asked for.
        address: Box<str>,
        /// What was said.
        source: io::Error,
    },
    /// No connection could be made.
    #[error("connect to {address}")]
    Connect {
        /// The address tried last.
        address: Box<str>,
        /// What the kernel said.
        source: net::Error,
    },
    /// No answer from the address in time.
    #[error("connect to {address}: no answer in time")]
    TimedOut {
        /// The address tried last.
        address: Box<str>,
    },
    /// One end does not trust the other.
    #[error("handshake")]
    Auth(#[from] AuthError),
    /// The last connection ended before anything was heard on it; the next attempt
    /// waits.
    #[error("the node ended the last connection without a word")]
    Silent,
}

impl ConnectError {
    /// The reason as a label of metrics; `None` when no handshake began.
    pub(super) const fn reason(&self) -> Option<HandshakeFailure> {
        match self {
            Self::Auth(error) => Some(error.reason()),
            Self::Resolve { .. } | Self::Connect { .. } | Self::TimedOut { .. } | Self::Silent => {
                None
            }
        }
    }
}

/// A call did not come to an answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// The node was not reached; the call was not made. After a failed attempt calls
    /// end so at once, until the next attempt is due.
    #[error("node {node} at {address} is unreachable")]
    Unreachable {
        /// The node called.
        node: u64,
        /// Where it was sought.
        address: Box<str>,
        /// Why the last attempt failed.
        source: Arc<ConnectError>,
    },
    /// The connection ended before the answer; the call may have been served.
    #[error("the connection ended before the answer")]
    Lost,
    /// No answer in time; the call may have been served, or may still be.
    #[error("no answer in time")]
    TimedOut,
    /// The node refused the call.
    #[error("refused ({code:?}): {reason}")]
    Refused {
        /// The kind of refusal.
        code: RefusalCode,
        /// For people.
        reason: Box<str>,
    },
}

impl CallError {
    /// The end as a label of metrics.
    pub(super) const fn label(&self) -> CallEnd {
        match self {
            Self::Unreachable { .. } => CallEnd::Unreachable,
            Self::Lost => CallEnd::Lost,
            Self::TimedOut => CallEnd::TimedOut,
            Self::Refused { .. } => CallEnd::Refused,
        }
    }
}

/// Why a node answers a call with nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("refused ({code:?}): {reason}")]
pub struct Refusal {
    /// The kind of refusal.
    pub code: RefusalCode,
    /// For people; what a caller must tell apart is in the code.
    pub reason: Box<str>,
}

impl Refusal {
    /// A refusal with a reason for people.
    #[must_use]
    pub fn new(code: RefusalCode, reason: impl Into<Box<str>>) -> Self {
        Self {
            code,
            reason: reason.into(),
        }
    }
}

/// Kinds of refusals that callers tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalCode {
    /// Too much is under way; not begun, and may be asked again.
    Busy,
    /// The payload is not what the service reads.
    Malformed,
    /// A service this node does not have: it is older than the caller.
    UnknownService,
    /// The caller may not ask for this.
    NotAllowed,
    /// This node cannot serve it now.
    Unavailable,
    /// Serving it failed; it may have had an effect.
    Failed,
    /// The call or its answer is larger than a frame may be.
    TooLarge,
}

impl RefusalCode {
    const ALL: [Self; 7] = [
        Self::Busy,
        Self::Malformed,
        Self::UnknownService,
        Self::NotAllowed,
        Self::Unavailable,
        Self::Failed,
        Self::TooLarge,
    ];

    /// The byte that travels.
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Busy => 1,
            Self::Malformed => 2,
            Self::UnknownService => 3,
            Self::NotAllowed => 4,
            Self::Unavailable => 5,
            Self::Failed => 6,
            Self::TooLarge => 7,
        }
    }

    /// Reads the byte; one of a newer version is a failure.
    pub(super) fn of_code(code: u8) -> Self {
        let known = Self::ALL.into_iter().find(|each| each.code() == code);
        known.unwrap_or(Self::Failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_reads_back_and_an_unknown_one_is_a_failure() {
        for code in RefusalCode::ALL {
            assert_eq!(RefusalCode::of_code(code.code()), code);
        }
        assert_eq!(RefusalCode::of_code(99), RefusalCode::Failed);
    }
}
