//! What handshakes fail at, and what one end tells the other of it.

use super::identity::ClusterId;
use super::preamble::PreambleError;
use crate::net::{self, TlsError};
use crate::telemetry::HandshakeFailure;

/// The two ends of a connection did not come to trust each other. No frame was read.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The other end is gone, or the socket failed.
    #[error("the connection ended during the handshake")]
    Broken(#[source] net::Error),
    /// The other end took too long.
    #[error("the handshake was not done in time")]
    TimedOut,
    /// Its address has as many connections that have proved nothing as it may have, or as
    /// many machines join as may at a time.
    #[error("too many connections have proved nothing yet")]
    Crowded,
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
            Self::Crowded => HandshakeFailure::Crowded,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_reads_back_and_an_unknown_one_is_no_welcome() {
        for verdict in Verdict::KNOWN {
            assert_eq!(Verdict::of_code(verdict.code()), verdict);
        }
        assert_eq!(Verdict::of_code(99), Verdict::Unknown);
    }
}
