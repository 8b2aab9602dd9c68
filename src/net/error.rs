//! What a socket operation failed at.

use std::io;
use std::net::SocketAddr;

/// A socket operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be listened on.
    #[error("listen on {address}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The connection could not be made.
    #[error("connect to {address}")]
    Connect {
        /// The address asked for.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// A new connection could not be set up.
    #[error("set up a connection")]
    SetUp(#[source] io::Error),
    /// The connection is broken: reset, or closed by the other end.
    #[error("the connection is broken")]
    Broken(#[source] io::Error),
}

/// A file could not be sent to its end.
#[derive(Debug, thiserror::Error)]
pub enum SendFileError {
    /// The other end is gone, or the socket failed.
    #[error("send to the peer")]
    Peer(#[source] io::Error),
    /// The file ended early, or could not be read. The connection must be cut: the
    /// head has promised more.
    #[error("read what is sent")]
    File(#[source] io::Error),
    /// The other end took nothing for as long as was allowed.
    #[error("the peer took nothing for too long")]
    Stalled,
}
