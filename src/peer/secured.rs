//! The handshake under TLS: certificates prove both ends, and their names who they are.
//!
//! ```text
//! TLS 1.3 handshake | from the listener: u8 verdict
//! ```
//! In TLS 1.3 the dialer is through before the listener has looked at its certificate;
//! the verdict tells it that it was let in.

use super::auth_error::{AuthError, Verdict};
use super::certificate::NodeName;
use super::identity::PeerIdentity;
use super::link::Link;
use super::material::TlsMaterial;
use super::preamble::Purpose;
use crate::net::{CertificateFault, Stream, TlsError, TlsStream};

/// The dialing end; the other must be node `wanted`, unless this one joins.
pub(super) async fn introduce(
    stream: Stream,
    material: &TlsMaterial,
    purpose: Purpose,
    wanted: u64,
) -> Result<Link, AuthError> {
    let (mut stream, found) = if purpose == Purpose::Join {
        join(stream, material).await?
    } else {
        dial_member(stream, material, purpose, wanted).await?
    };
    let mut verdict = [0];
    let received = stream.read_exact(&mut verdict).await;
    received.map_err(|error| AuthError::Tls(TlsError::of_first_read(error)))?;
    let [verdict] = verdict;
    match Verdict::of_code(verdict) {
        Verdict::Welcome => Ok(Link::new(stream, found)),
        refused => Err(AuthError::Refused(refused)),
    }
}

async fn dial_member(
    stream: Stream,
    material: &TlsMaterial,
    purpose: Purpose,
    node: u64,
) -> Result<(TlsStream, u64), AuthError> {
    let (own, client) = material.member_client().ok_or(AuthError::NoMaterial)?;
    let client = client.with_kernel(material.kernel_for(purpose));
    let cluster = own.cluster;
    let wanted = PeerIdentity { cluster, node };
    let connected = client.connect(&NodeName(wanted).to_string(), stream).await;
    let stream = connected.map_err(|error| match error {
        TlsError::Certificate(CertificateFault::OtherNames { names }) => other(wanted, &names),
        error => AuthError::Tls(error),
    })?;
    // The name asked for is there, perhaps by a wildcard, perhaps among others.
    match NodeName::only_one_of(&stream.peer_names()) {
        Some(found) if found == wanted => Ok((stream, node)),
        _ => Err(other(wanted, &stream.peer_names())),
    }
}

/// Whoever the authority vouches for that the token names; which node it is does not
/// matter, as long as it is one.
async fn join(stream: Stream, material: &TlsMaterial) -> Result<(TlsStream, u64), AuthError> {
    let client = material.joining_client().ok_or(AuthError::NoMaterial)?;
    let connected = client.connect("node.windlass", stream).await;
    let stream = connected.map_err(AuthError::Tls)?;
    let names = stream.peer_names();
    let found = NodeName::only_one_of(&names).ok_or(AuthError::NoNode { names })?;
    Ok((stream, found.node))
}

/// The listening end.
pub(super) async fn welcome(
    stream: Stream,
    material: &TlsMaterial,
    purpose: Purpose,
) -> Result<Link, AuthError> {
    if purpose == Purpose::Join {
        let server = material.joining_server().ok_or(AuthError::NoMaterial)?;
        let mut stream = server.accept(stream).await.map_err(AuthError::Tls)?;
        tell(&mut stream, Verdict::Welcome).await?;
        return Ok(Link::new(stream, 0));
    }
    let (own, server) = material.member_server().ok_or(AuthError::NoMaterial)?;
    let server = server.with_kernel(material.kernel_for(purpose));
    let mut stream = server.accept(stream).await.map_err(AuthError::Tls)?;
    let names = stream.peer_names();
    let error = match NodeName::only_one_of(&names) {
        Some(found) if found.cluster == own.cluster => {
            tell(&mut stream, Verdict::Welcome).await?;
            return Ok(Link::new(stream, found.node));
        }
        Some(found) => AuthError::Cluster {
            found: found.cluster,
        },
        None => AuthError::NoNode { names },
    };
    tell(&mut stream, Verdict::OtherCluster).await?;
    Err(error)
}

async fn tell(stream: &mut TlsStream, verdict: Verdict) -> Result<(), AuthError> {
    let told = stream.write_all(&[verdict.code()]).await;
    told.map_err(AuthError::Broken)
}

/// Whom a certificate is for that is not for the node wanted.
fn other(wanted: PeerIdentity, names: &[Box<str>]) -> AuthError {
    match NodeName::only_one_of(names) {
        Some(found) if found.cluster != wanted.cluster => AuthError::Cluster {
            found: found.cluster,
        },
        Some(found) if found.node != wanted.node => AuthError::Node {
            wanted: wanted.node,
            found: found.node,
        },
        _ => AuthError::NoNode {
            names: names.to_vec(),
        },
    }
}

#[cfg(test)]
#[path = "secured_test.rs"]
mod tests;
