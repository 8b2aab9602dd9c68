//! How the two ends of a connection come to trust each other.

use std::fmt;
use std::sync::Arc;

use super::identity::PeerIdentity;
use super::material::TlsMaterial;

/// Shortest shared secret: whoever answers a node's connection gets a proof to guess
/// at, so that the secret must be beyond guessing.
pub(super) const SECRET_BYTES_MIN: usize = 16;

/// What a node proves itself with, and what it wants proved.
#[derive(Debug, Clone)]
pub enum Security {
    /// Certificates; everything is encrypted.
    Tls(TlsMaterial),
    /// A shared secret, on a network that is trusted otherwise: nothing is encrypted.
    Plain(SharedSecret),
}

/// A secret that all nodes of a cluster have, and who this node is.
#[derive(Clone)]
pub struct SharedSecret {
    identity: PeerIdentity,
    secret: Arc<[u8]>,
}

/// The secret is too short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a shared secret has at least {SECRET_BYTES_MIN} bytes")]
pub struct WeakSecret;

impl SharedSecret {
    /// The secret of the node that `identity` names.
    pub fn new(identity: PeerIdentity, secret: &[u8]) -> Result<Self, WeakSecret> {
        if secret.len() < SECRET_BYTES_MIN {
            return Err(WeakSecret);
        }
        Ok(Self {
            identity,
            secret: secret.into(),
        })
    }

    /// This node.
    pub(super) const fn identity(&self) -> PeerIdentity {
        self.identity
    }

    /// The secret itself.
    pub(super) fn secret(&self) -> &[u8] {
        &self.secret
    }
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedSecret")
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::ClusterId;

    #[test]
    fn a_secret_is_long_enough_and_not_printed() {
        let identity = PeerIdentity {
            cluster: ClusterId::UNKNOWN,
            node: 1,
        };
        assert_eq!(
            SharedSecret::new(identity, b"fifteen-bytes-x").err(),
            Some(WeakSecret)
        );
        let secret = SharedSecret::new(identity, b"sixteen-bytes-xx").unwrap();
        assert!(!format!("{:?}", Security::Plain(secret)).contains("sixteen"));
    }
}
