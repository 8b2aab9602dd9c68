//! What goes wrong while content moves between nodes.

use std::io;

use super::message::TransferRefusal;
use crate::base::CodecError;
use crate::net;
use crate::peer::ConnectError;

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
    /// The node answers another question.
    #[error("the node answers out of turn")]
    OutOfTurn,
    /// The node sends, or takes, nothing.
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
