//! What goes wrong between nodes.

use std::io;
use std::sync::Arc;

use super::identity::ClusterId;
use super::preamble::PreambleError;
use super::transfer::TransferRefusal;
use crate::base::CodecError;
use crate::net::{self, TlsError};
use crate::telemetry::{CallEnd, HandshakeFailure};

/// The two ends of a connection did not come to trust each other. No frame was read.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The other end is gone, or the socket failed.
    #[error("the connection ended during the handshake")]
    Broken(#[source] net::Error),
    /// The other end took too long.
    #[error("the handshake was not done in time")]
    TimedOut,
    /// The first bytes are no preamble of ours.
    #[error("the connection does not begin like one between nodes")]
    Preamble(#[from] PreambleError),
    /// What came is no plain handshake: the other end may want TLS.
    #[error("the other end does not prove a shared secret; it may be set to TLS")]
    NotPlain,
    /// The proof does not hold.
    #[error("the other end has another secret, or is of another cluster")]
    Secret,
    /// Another node than the one wanted.
    #[error("the other end is node {found}, wanted was node {wanted}")]
    Node {
        /// The node wanted.
        wanted: u64,
        /// The node it says it is.
        found: u64,
    },
    /// A node of another cluster.
    #[error("the other end is of cluster {found}")]
    Cluster {
        /// The cluster it is of.
        found: ClusterId,
    },
    /// The certificate is not that of one node.
    #[error("the certificate of the other end names no node, or several: {names:?}")]
    NoNode {
        /// The names in it.
        names: Vec<Box<str>>,
    },
    /// TLS failed, or a certificate does not hold.
    #[error("TLS between nodes")]
    Tls(#[source] TlsError),
    /// A member dials to join, or a node that joins does anything else.
    #[error("this node has no certificate for such a connection")]
    NoMaterial,
    /// The other end found this node's proof wanting.
    #[error("the other end refused this node: {0}")]
    Refused(Verdict),
}

/// What one end of a handshake tells the other at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Verdict {
    /// Frames may follow.
    #[error("welcome")]
    Welcome,
    /// The proof does not hold.
    #[error("another secret or another cluster")]
    NotProved,
    /// The node wanted is another one.
    #[error("it is another node than the one wanted")]
    OtherNode,
    /// The certificate is of another cluster, or of no node.
    #[error("the certificate names no node of the cluster")]
    OtherCluster,
    /// A verdict that this build does not know.
    #[error("for a reason this version does not know")]
    Unknown,
}

impl Verdict {
    const KNOWN: [Self; 4] = [
        Self::Welcome,
        Self::NotProved,
        Self::OtherNode,
        Self::OtherCluster,
    ];

    /// The byte that travels.
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Welcome => 1,
            Self::NotProved => 2,
            Self::OtherNode => 3,
            Self::OtherCluster => 4,
            Self::Unknown => 0,
        }
    }

    /// Reads the byte.
    pub(super) fn of_code(code: u8) -> Self {
        let known = Self::KNOWN.into_iter().find(|each| each.code() == code);
        known.unwrap_or(Self::Unknown)
    }
}

impl AuthError {
    /// The reason as a label of metrics; whoever ends the connection counts it.
    #[must_use]
    pub const fn reason(&self) -> HandshakeFailure {
        match self {
            Self::Broken(_) => HandshakeFailure::Closed,
            Self::TimedOut => HandshakeFailure::TimedOut,
            Self::Preamble(_) | Self::NotPlain => HandshakeFailure::Protocol,
            Self::Secret => HandshakeFailure::Secret,
            Self::Node { .. } => HandshakeFailure::Node,
            Self::Cluster { .. } => HandshakeFailure::Cluster,
            Self::NoNode { .. } | Self::NoMaterial => HandshakeFailure::Certificate,
            Self::Tls(error) => reason_of(error),
            Self::Refused(_) => HandshakeFailure::Refused,
        }
    }
}

const fn reason_of(error: &TlsError) -> HandshakeFailure {
    match error {
        TlsError::Broken(_) => HandshakeFailure::Closed,
        TlsError::TimedOut => HandshakeFailure::TimedOut,
        TlsError::NotTls | TlsError::Name | TlsError::Protocol(_) => HandshakeFailure::Protocol,
        TlsError::Certificate(_) => HandshakeFailure::Certificate,
        TlsError::Refused(_) => HandshakeFailure::Refused,
    }
}

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

/// Content did not come from a node.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The node was not reached.
    #[error("the node is unreachable")]
    Unreachable(#[source] ConnectError),
    /// The connection broke.
    #[error("the connection broke")]
    Lost(#[source] net::Error),
    /// The node closed the connection in mid-content.
    #[error("the node stopped {left_bytes} bytes early")]
    Cut {
        /// Bytes that did not come.
        left_bytes: u64,
    },
    /// Nothing came for too long.
    #[error("nothing came for too long")]
    Stalled,
    /// What came is no header.
    #[error("a bad header came")]
    Header(#[from] CodecError),
    /// The node sends another range than the one asked for.
    #[error("the node sends another range than the one asked for")]
    WrongRange,
    /// The node sends nothing.
    #[error(transparent)]
    Refused(TransferRefusal),
}

/// A transfer connection cannot be served any longer.
#[derive(Debug, thiserror::Error)]
pub enum ServeTransferError {
    /// The other end is gone.
    #[error("the connection broke")]
    Gone(#[source] net::Error),
    /// The other end took nothing, or did not end its request, for too long.
    #[error("the other end stalled")]
    Stalled,
    /// What came is no request.
    #[error("a bad request came")]
    Request(#[from] CodecError),
    /// The content could not be read; the connection is cut.
    #[error("read what is sent")]
    File(#[source] io::Error),
    /// The last answer was given up; the connection is cut.
    #[error("the last answer was given up with {left_bytes} bytes left")]
    Unfinished {
        /// Bytes that were not sent.
        left_bytes: u64,
    },
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
    fn codes_read_back_and_unknown_ones_have_a_meaning() {
        for code in RefusalCode::ALL {
            assert_eq!(RefusalCode::of_code(code.code()), code);
        }
        assert_eq!(RefusalCode::of_code(99), RefusalCode::Failed);
        for verdict in Verdict::KNOWN {
            assert_eq!(Verdict::of_code(verdict.code()), verdict);
        }
        assert_eq!(Verdict::of_code(99), Verdict::Unknown);
    }
}
