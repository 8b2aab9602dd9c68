//! The handshake in the open: both ends prove a shared secret.

use super::auth_error::{AuthError, Verdict};
use super::challenge::{
    Claim, DIALER_HELLO_BYTES, DialerHello, LISTENER_HELLO_BYTES, ListenerHello, PROOF_BYTES, Role,
};
use super::link::Link;
use super::security::SharedSecret;
use crate::base::random_bytes;
use crate::net::Stream;

/// The dialing end; the other must be node `wanted`, unless this one joins.
pub(super) async fn introduce(
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

/// The listening end.
pub(super) async fn welcome(
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

pub(super) async fn send(stream: &mut Stream, message: &[u8]) -> Result<(), AuthError> {
    stream.write_all(message).await.map_err(AuthError::Broken)
}

pub(super) async fn receive<const BYTES: usize>(
    stream: &mut Stream,
) -> Result<[u8; BYTES], AuthError> {
    let mut message = [0; BYTES];
    let received = stream.read_exact(&mut message).await;
    received.map_err(AuthError::Broken)?;
    Ok(message)
}

#[cfg(test)]
#[path = "plain_test.rs"]
mod tests;
