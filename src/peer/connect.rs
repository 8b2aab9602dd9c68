//! Makes connections, from both ends.

use std::time::Duration;

use super::challenge::{
    Claim, DIALER_HELLO_BYTES, DialerHello, LISTENER_HELLO_BYTES, ListenerHello, PROOF_BYTES, Role,
};
use super::error::{AuthError, ConnectError, Verdict};
use super::link::Link;
use super::node::PeerNode;
use super::preamble::Purpose;
use super::security::{Security, SharedSecret};
use crate::base::limits::{HANDSHAKE_TIMEOUT, PEER_CONNECT_TIMEOUT};
use crate::base::random_bytes;
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
    let link = timeout(HANDSHAKE_TIMEOUT, proving).await;
    Ok(link.unwrap_or(Err(AuthError::TimedOut))?)
}

/// Proves both ends of an accepted connection for calls or transfer to each other.
/// The preamble has been read.
pub async fn authenticate(stream: Stream, security: &Security) -> Result<Link, AuthError> {
    welcome(stream, security, Role::Listener, HANDSHAKE_TIMEOUT).await
}

/// As [`authenticate`], for a connection to join: the other end is node 0.
pub async fn authenticate_joiner(stream: Stream, security: &Security) -> Result<Link, AuthError> {
    welcome(stream, security, Role::Admitter, HANDSHAKE_TIMEOUT).await
}

async fn welcome(
    stream: Stream,
    security: &Security,
    role: Role,
    limit: Duration,
) -> Result<Link, AuthError> {
    let proving = async {
        match security {
            Security::Plain(secret) => welcome_plain(stream, secret, role).await,
        }
    };
    let link = timeout(limit, proving).await;
    link.unwrap_or(Err(AuthError::TimedOut))
}

/// Connects to the first of the node's addresses that answers.
async fn dial(node: &PeerNode) -> Result<Stream, ConnectError> {
    let address = || node.address.clone();
    let resolving = timeout(HANDSHAKE_TIMEOUT, node.resolve()).await;
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
        Purpose::Calls | Purpose::Transfer => Role::Dialer,
        Purpose::Join => Role::Joiner,
    };
    match security {
        Security::Plain(secret) => introduce_plain(stream, secret, role, wanted).await,
    }
}

async fn introduce_plain(
    mut stream: Stream,
    secret: &SharedSecret,
    role: Role,
    wanted: u64,
) -> Result<Link, AuthError> {
    let own = own_node(secret, role);
    let nonce = random_bytes();
    let hello = DialerHello { nonce, own, wanted };
    send(&mut stream, &hello.encode()).await?;
    let answer = receive::<LISTENER_HELLO_BYTES>(&mut stream).await?;
    let answer = ListenerHello::decode(&answer).ok_or(AuthError::NotPlain)?;
    if wanted != answer.own && role == Role::Dialer {
        let found = answer.own;
        return Err(AuthError::Node { wanted, found });
    }
    let ours = Claim {
        role,
        own_nonce: nonce,
        other_nonce: answer.nonce,
        own,
        wanted,
    };
    send(&mut stream, &ours.prove(secret)).await?;
    let [verdict] = receive::<1>(&mut stream).await?;
    match Verdict::of_code(verdict) {
        Verdict::Welcome => {}
        refused => return Err(AuthError::Refused(refused)),
    }
    let theirs = Claim {
        role: other_role(role),
        own_nonce: answer.nonce,
        other_nonce: nonce,
        own: answer.own,
        wanted: own,
    };
    let proof = receive::<PROOF_BYTES>(&mut stream).await?;
    if !theirs.is_proved(secret, &proof) {
        return Err(AuthError::Secret);
    }
    Ok(Link::new(stream, answer.own))
}

async fn welcome_plain(
    mut stream: Stream,
    secret: &SharedSecret,
    role: Role,
) -> Result<Link, AuthError> {
    let own = secret.identity().node;
    let hello = receive::<DIALER_HELLO_BYTES>(&mut stream).await?;
    let hello = DialerHello::decode(&hello).ok_or(AuthError::NotPlain)?;
    let nonce = random_bytes();
    send(&mut stream, &ListenerHello { nonce, own }.encode()).await?;
    let theirs = Claim {
        role: other_role(role),
        own_nonce: hello.nonce,
        other_nonce: nonce,
        own: hello.own,
        wanted: hello.wanted,
    };
    let proof = receive::<PROOF_BYTES>(&mut stream).await?;
    let is_other_node = role == Role::Listener && hello.wanted != own;
    if !theirs.is_proved(secret, &proof) {
        send(&mut stream, &[Verdict::NotProved.code()]).await?;
        return Err(AuthError::Secret);
    }
    if is_other_node {
        send(&mut stream, &[Verdict::OtherNode.code()]).await?;
        let wanted = hello.wanted;
        return Err(AuthError::Node { wanted, found: own });
    }
    let ours = Claim {
        role,
        own_nonce: nonce,
        other_nonce: hello.nonce,
        own,
        wanted: hello.own,
    };
    let mut last = vec![Verdict::Welcome.code()];
    last.extend(ours.prove(secret));
    send(&mut stream, &last).await?;
    let peer = if role == Role::Listener { hello.own } else { 0 };
    Ok(Link::new(stream, peer))
}

/// The node that this end says it is: none while it joins.
const fn own_node(secret: &SharedSecret, role: Role) -> u64 {
    match role {
        Role::Joiner => 0,
        Role::Dialer | Role::Listener | Role::Admitter => secret.identity().node,
    }
}

const fn other_role(role: Role) -> Role {
    match role {
        Role::Dialer => Role::Listener,
        Role::Listener => Role::Dialer,
        Role::Joiner => Role::Admitter,
        Role::Admitter => Role::Joiner,
    }
}

async fn send(stream: &mut Stream, message: &[u8]) -> Result<(), AuthError> {
    stream.write_all(message).await.map_err(AuthError::Broken)
}

async fn receive<const BYTES: usize>(stream: &mut Stream) -> Result<[u8; BYTES], AuthError> {
    let mut message = [0; BYTES];
    let received = stream.read_exact(&mut message).await;
    received.map_err(AuthError::Broken)?;
    Ok(message)
}

#[cfg(test)]
#[path = "connect_test.rs"]
mod tests;
