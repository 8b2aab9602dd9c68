//! What nodes that form a cluster by themselves know each other by, before any of
//! them is a member.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::identity::ClusterId;
use super::security::{SECRET_BYTES_MIN, WeakSecret};

const KEY_DOMAIN: &[u8] = b"windlass join key 1\0";
const PLAN_DOMAIN: &[u8] = b"windlass join plan 1\0";
const PROOF_DOMAIN: &[u8] = b"windlass join proof 1\0";
/// Length of everything that the secret makes.
pub(super) const SEAL_BYTES: usize = 32;

/// Proves something to whoever has the same secret.
pub(super) type Seal = [u8; SEAL_BYTES];

/// The secret of nodes that form a cluster of one name. Cheap to clone; not printed.
///
/// What is used is a key made of secret and name: nodes with one secret and two names
/// do not understand each other.
#[derive(Clone)]
pub struct JoinSecret([u8; SEAL_BYTES]);

impl JoinSecret {
    /// The secret that forms the cluster `name`.
    pub fn new(name: &str, secret: &[u8]) -> Result<Self, WeakSecret> {
        if secret.len() < SECRET_BYTES_MIN {
            return Err(WeakSecret);
        }
        Ok(Self(mac(secret, KEY_DOMAIN, &[name.as_bytes()])))
    }

    /// Stands for a list of nodes and how many are expected: nodes that wait for each
    /// other must have the same.
    #[must_use]
    pub fn plan(&self, peers: &[String], expected: usize) -> [u8; SEAL_BYTES] {
        let text = format!("{expected}\n{}", peers.join("\n"));
        mac(&self.0, PLAN_DOMAIN, &[text.as_bytes()])
    }

    /// What `machine` brings to a member of `cluster` in place of a token.
    #[must_use]
    pub fn proof(&self, cluster: ClusterId, machine: &[u8; 16]) -> [u8; SEAL_BYTES] {
        mac(&self.0, PROOF_DOMAIN, &[cluster.as_bytes(), machine])
    }

    /// Whether `machine` brought it; compares in constant time.
    #[must_use]
    pub fn admits(&self, cluster: ClusterId, machine: &[u8; 16], proof: &[u8; SEAL_BYTES]) -> bool {
        self.is_sealed(PROOF_DOMAIN, &[cluster.as_bytes(), machine], proof)
    }

    /// Seals a message.
    pub(super) fn seal(&self, domain: &[u8], parts: &[&[u8]]) -> Seal {
        mac(&self.0, domain, parts)
    }

    /// Whether a message was sealed so; compares in constant time.
    pub(super) fn is_sealed(&self, domain: &[u8], parts: &[&[u8]], seal: &Seal) -> bool {
        hmac(&self.0, domain, parts).verify_slice(seal).is_ok()
    }
}

fn mac(key: &[u8], domain: &[u8], parts: &[&[u8]]) -> Seal {
    hmac(key, domain, parts).finalize().into_bytes().into()
}

fn hmac(key: &[u8], domain: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(key).expect("invariant: HMAC takes keys of any length");
    mac.update(domain);
    for part in parts {
        mac.update(part);
    }
    mac
}

impl fmt::Debug for JoinSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinSecret").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_holds_for_one_secret_name_cluster_and_machine() {
        let cluster = |digit: &str| ClusterId::parse(&digit.repeat(32)).unwrap();
        let secret = |name: &str, text: &str| JoinSecret::new(name, text.as_bytes()).unwrap();
        let ours = secret("registry", "0123456789abcdef");
        let proof = ours.proof(cluster("a"), &[7; 16]);
        assert!(ours.admits(cluster("a"), &[7; 16], &proof));
        assert!(!ours.admits(cluster("b"), &[7; 16], &proof));
        assert!(!ours.admits(cluster("a"), &[8; 16], &proof));
        for other in [
            secret("registry", "0123456789abcdeF"),
            secret("other", "0123456789abcdef"),
        ] {
            assert!(!other.admits(cluster("a"), &[7; 16], &proof));
        }
        assert!(JoinSecret::new("registry", b"short").is_err());
        let list = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        let plan = ours.plan(&list(&["a:1", "b:1"]), 2);
        assert_ne!(plan, ours.plan(&list(&["b:1", "a:1"]), 2));
        assert_ne!(plan, ours.plan(&list(&["a:1", "b:1"]), 3));
        assert!(!format!("{ours:?}").contains(|c: char| c.is_ascii_digit()));
    }
}
