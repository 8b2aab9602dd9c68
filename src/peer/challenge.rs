//! Proof of a shared secret by challenge and response, for connections in the open.
//!
//! ```text
//! from the dialer                        from the listener
//! 0   [4]  "WLCH"                        0   [4]  "WLSH"
//! 4   u8   version, 1                    4   u8   version, 1
//! 5   [32] nonce                         5   [32] nonce
//! 37  u64  its own node                  37  u64  its own node
//! 45  u64  the node it wants
//! then, when it has read the other's:
//! 0   [32] proof                         0   u8   verdict
//!                                        1   [32] proof, after verdict 1 only
//!
//! proof   HMAC-SHA256(secret, DOMAIN | u8 role | [32] own nonce | [32] other's nonce
//!                     | [16] cluster | u64 own node | u64 node wanted)
//! role    1 dialer, 2 listener; 3 and 4 the same for a node that joins
//! ```
//! All numbers are little-endian. The dialer proves first, so that nobody gets a
//! proof of the secret by just connecting. The roles keep a proof from being sent
//! back, the nonces from being sent again; a node that joins knows no cluster yet, and
//! both ends take sixteen zeros for it.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::identity::ClusterId;
use super::security::SharedSecret;
use crate::base::{Reader, Writer};

const DOMAIN: &[u8] = b"windlass peer proof 1\0";
const DIALER_MAGIC: [u8; 4] = *b"WLCH";
const LISTENER_MAGIC: [u8; 4] = *b"WLSH";
const CHALLENGE_VERSION: u8 = 1;
/// Length of the dialer's first message.
pub(super) const DIALER_HELLO_BYTES: usize = 53;
/// Length of the listener's first message.
pub(super) const LISTENER_HELLO_BYTES: usize = 45;
/// Length of a nonce and of a proof.
pub(super) const PROOF_BYTES: usize = 32;

/// A number used once.
pub(super) type Nonce = [u8; PROOF_BYTES];

/// The dialer's first message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DialerHello {
    pub(super) nonce: Nonce,
    pub(super) own: u64,
    pub(super) wanted: u64,
}

/// The listener's first message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ListenerHello {
    pub(super) nonce: Nonce,
    pub(super) own: u64,
}

impl DialerHello {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(DIALER_HELLO_BYTES);
        writer
            .raw(&DIALER_MAGIC)
            .u8(CHALLENGE_VERSION)
            .raw(&self.nonce)
            .u64(self.own)
            .u64(self.wanted);
        writer.finish()
    }

    /// Reads the message; `None` when it is none.
    pub(super) fn decode(message: &[u8; DIALER_HELLO_BYTES]) -> Option<Self> {
        let mut reader = opened(message, DIALER_MAGIC)?;
        Some(Self {
            nonce: reader.array().ok()?,
            own: reader.u64().ok()?,
            wanted: reader.u64().ok()?,
        })
    }
}

impl ListenerHello {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(LISTENER_HELLO_BYTES);
        writer
            .raw(&LISTENER_MAGIC)
            .u8(CHALLENGE_VERSION)
            .raw(&self.nonce)
            .u64(self.own);
        writer.finish()
    }

    /// Reads the message; `None` when it is none.
    pub(super) fn decode(message: &[u8; LISTENER_HELLO_BYTES]) -> Option<Self> {
        let mut reader = opened(message, LISTENER_MAGIC)?;
        Some(Self {
            nonce: reader.array().ok()?,
            own: reader.u64().ok()?,
        })
    }
}

/// Behind magic and version, when they are right.
fn opened(message: &[u8], magic: [u8; 4]) -> Option<Reader<'_>> {
    let mut reader = Reader::new(message);
    let is_right = reader.array() == Ok(magic) && reader.u8() == Ok(CHALLENGE_VERSION);
    is_right.then_some(reader)
}

/// Which end of a connection proves something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The member that dialed.
    Dialer,
    /// The member that was dialed.
    Listener,
    /// The node that wants to join.
    Joiner,
    /// The member that it dialed.
    Admitter,
}

impl Role {
    const fn code(self) -> u8 {
        match self {
            Self::Dialer => 1,
            Self::Listener => 2,
            Self::Joiner => 3,
            Self::Admitter => 4,
        }
    }

    const fn is_joining(self) -> bool {
        matches!(self, Self::Joiner | Self::Admitter)
    }
}

/// What a proof says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim {
    pub(super) role: Role,
    pub(super) own_nonce: Nonce,
    pub(super) other_nonce: Nonce,
    pub(super) own: u64,
    pub(super) wanted: u64,
}

impl Claim {
    /// Proves the claim.
    pub(super) fn prove(&self, secret: &SharedSecret) -> [u8; PROOF_BYTES] {
        self.mac(secret).finalize().into_bytes().into()
    }

    /// Whether `proof` proves the claim; compares in constant time.
    pub(super) fn is_proved(&self, secret: &SharedSecret, proof: &[u8; PROOF_BYTES]) -> bool {
        self.mac(secret).verify_slice(proof).is_ok()
    }

    fn mac(&self, secret: &SharedSecret) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.secret())
            .expect("invariant: HMAC takes keys of any length");
        let cluster = if self.role.is_joining() {
            ClusterId::UNKNOWN
        } else {
            secret.identity().cluster
        };
        mac.update(DOMAIN);
        mac.update(&[self.role.code()]);
        mac.update(&self.own_nonce);
        mac.update(&self.other_nonce);
        mac.update(cluster.as_bytes());
        mac.update(&self.own.to_le_bytes());
        mac.update(&self.wanted.to_le_bytes());
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::PeerIdentity;

    fn secret(text: &str, cluster: &str) -> SharedSecret {
        let cluster = ClusterId::parse(&cluster.repeat(32)).unwrap();
        let identity = PeerIdentity { cluster, node: 1 };
        SharedSecret::new(identity, text.as_bytes()).unwrap()
    }

    #[test]
    fn hellos_read_back_and_other_bytes_do_not() {
        let dialer = DialerHello {
            nonce: [7; 32],
            own: 1,
            wanted: 2,
        };
        let message: [u8; DIALER_HELLO_BYTES] = dialer.encode().try_into().unwrap();
        assert_eq!(DialerHello::decode(&message), Some(dialer));
        let listener = ListenerHello {
            nonce: [8; 32],
            own: 2,
        };
        let answer: [u8; LISTENER_HELLO_BYTES] = listener.encode().try_into().unwrap();
        assert_eq!(ListenerHello::decode(&answer), Some(listener));
        for place in 0..5 {
            let mut bad = message;
            bad[place] ^= 1;
            assert_eq!(DialerHello::decode(&bad), None, "byte {place}");
        }
        // The start of a TLS client's first message.
        let mut tls = [0; DIALER_HELLO_BYTES];
        tls[..3].copy_from_slice(&[22, 3, 1]);
        assert_eq!(DialerHello::decode(&tls), None);
    }

    #[test]
    fn a_proof_holds_for_exactly_what_it_says() {
        let claim = Claim {
            role: Role::Dialer,
            own_nonce: [1; 32],
            other_nonce: [2; 32],
            own: 1,
            wanted: 2,
        };
        let ours = secret("a secret of the cluster", "a");
        let proof = claim.prove(&ours);
        assert!(claim.is_proved(&ours, &proof));
        let others = [
            Claim {
                role: Role::Listener,
                ..claim
            },
            Claim {
                role: Role::Joiner,
                ..claim
            },
            Claim {
                own_nonce: [3; 32],
                ..claim
            },
            Claim {
                other_nonce: [3; 32],
                ..claim
            },
            Claim { own: 3, ..claim },
            Claim { wanted: 3, ..claim },
        ];
        for other in others {
            assert!(!other.is_proved(&ours, &proof), "{other:?}");
        }
        assert!(!claim.is_proved(&secret("another secret of it", "a"), &proof));
        assert!(!claim.is_proved(&secret("a secret of the cluster", "b"), &proof));
        let joining = Claim {
            role: Role::Joiner,
            ..claim
        };
        let elsewhere = secret("a secret of the cluster", "b");
        assert!(joining.is_proved(&elsewhere, &joining.prove(&ours)));
    }
}
