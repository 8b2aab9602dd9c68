//! Makes connections, from both ends.

use std::time::Duration;

use super::auth_error::AuthError;
use super::challenge::Role;
use super::error::ConnectError;
use super::link::Link;
use super::node::PeerNode;
use super::preamble::Purpose;
use super::security::Security;
use super::{plain, secured};
use crate::base::limits::{HANDSHAKE_TIMEOUT, PEER_CONNECT_TIMEOUT, PEER_DIAL_TIMEOUT};
use crate::net::Stream;
use crate::runtime::timeout;

/// Connects to a node and proves both ends to each other.
///
/// - Errors: nothing was asked of the node. `Auth(Node)` when another node answers.
pub async fn connect(
    node: &PeerNode,
    purpose: Purpose,
    security: &Security,
) -> Result<Link, ConnectError> {
    let stream = dial(node).await?;
    let proving = introduce(stream, node.id, purpose, security);
    let link = timeout(PEER_DIAL_TIMEOUT, proving).await;
    Ok(link.unwrap_or(Err(AuthError::TimedOut))?)
}

/// Proves both ends of an accepted connection to each other, as its purpose asks: whoever
/// joins is node 0. The preamble has been read. `Newcomer::authenticate` does this and
/// counts.
pub async fn authenticate(
    stream: Stream,
    purpose: Purpose,
    security: &Security,
) -> Result<Link, AuthError> {
    welcome_within(stream, purpose, security, HANDSHAKE_TIMEOUT).await
}

/// As [`authenticate`], with a limit of its own.
pub(super) async fn welcome_within(
    stream: Stream,
    purpose: Purpose,
    security: &Security,
    limit: Duration,
) -> Result<Link, AuthError> {
    let role = match purpose {
        Purpose::Calls | Purpose::Transfer | Purpose::Upload => Role::Listener,
        Purpose::Join => Role::Admitter,
        // Questions are answered by `tell_standing`, and make no link.
        Purpose::Gather => return Err(AuthError::NoMaterial),
    };
    let proving = async {
        match security {
            Security::Tls(material) => secured::welcome(stream, material, purpose).await,
            Security::Plain(secret) => plain::welcome(stream, secret, role).await,
        }
    };
    let link = timeout(limit, proving).await;
    link.unwrap_or(Err(AuthError::TimedOut))
}

/// Connects to the first of the node's addresses that answers.
async fn dial(node: &PeerNode) -> Result<Stream, ConnectError> {
    let address = || node.address.clone();
    let resolving = timeout(PEER_DIAL_TIMEOUT, node.resolve()).await;
    let resolved = resolving.map_err(|_| ConnectError::TimedOut { address: address() })?;
    let addresses = resolved.map_err(|source| ConnectError::Resolve {
        address: address(),
        source,
    })?;
    let mut failure = ConnectError::TimedOut { address: address() };
    for each in addresses {
        match timeout(PEER_CONNECT_TIMEOUT, Stream::connect(each)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(source)) => {
                failure = ConnectError::Connect {
                    address: address(),
                    source,
                }
            }
            Err(_) => failure = ConnectError::TimedOut { address: address() },
        }
    }
    Err(failure)
}

/// The dialing end: says what the connection is for, then proves itself.
async fn introduce(
    mut stream: Stream,
    wanted: u64,
    purpose: Purpose,
    security: &Security,
) -> Result<Link, AuthError> {
    let sent = stream.write_all(&purpose.preamble()).await;
    sent.map_err(AuthError::Broken)?;
    let role = match purpose {
        Purpose::Calls | Purpose::Transfer | Purpose::Upload => Role::Dialer,
        Purpose::Join => Role::Joiner,
        Purpose::Gather => return Err(AuthError::NoMaterial),
    };
    match security {
        Security::Tls(material) => secured::introduce(stream, material, purpose, wanted).await,
        Security::Plain(secret) => plain::introduce(stream, secret, role, wanted).await,
    }
}
