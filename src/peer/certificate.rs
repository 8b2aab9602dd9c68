//! What certificates of nodes say, and how their authority is known.

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::identity::{ClusterId, PeerIdentity};
use crate::net::{TlsAuthorities, TlsMaterialError};

/// What the names in all certificates of nodes end in.
const DOMAIN: &str = "windlass";

/// The name of a node in its certificate: `node-7.<cluster>.windlass`. A certificate
/// names exactly one node of a cluster, and may have other names beside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NodeName(pub(super) PeerIdentity);

impl NodeName {
    /// Reads a name; `None` when it is not that of a node.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let rest = name.strip_prefix("node-")?;
        let (node, rest) = rest.split_once('.')?;
        let (cluster, domain) = rest.split_once('.')?;
        let named = Self(PeerIdentity {
            cluster: ClusterId::parse(cluster).ok()?,
            node: node.parse().ok()?,
        });
        let is_canonical = domain == DOMAIN && named.0.node > 0 && named.to_string() == name;
        is_canonical.then_some(named)
    }

    /// The one node that a certificate with these names is for.
    pub(super) fn only_one_of(names: &[Box<str>]) -> Option<PeerIdentity> {
        let mut nodes = names.iter().filter_map(|name| Self::parse(name));
        let first = nodes.next()?;
        nodes.all(|other| other == first).then_some(first.0)
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PeerIdentity { cluster, node } = self.0;
        write!(f, "node-{node}.{cluster}.{DOMAIN}")
    }
}

/// The domain that all nodes of a cluster have their names in.
pub(super) fn domain_of(cluster: ClusterId) -> String {
    format!("{cluster}.{DOMAIN}")
}

/// SHA-256 of an authority's certificate: enough to know it again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Digits of its text.
    pub(super) const DIGITS: usize = 64;

    /// Of a certificate as it travels.
    #[must_use]
    pub fn of(certificate: &[u8]) -> Self {
        Self(Sha256::digest(certificate).into())
    }

    /// Of the first certificate in a PEM text.
    pub fn of_pem(authorities: &[u8]) -> Result<Self, TlsMaterialError> {
        let authorities = TlsAuthorities::of_pem(authorities)?;
        let first = authorities.certificates().next();
        first.map(Self::of).ok_or(TlsMaterialError::NoCertificate)
    }

    /// A fingerprint that was written as its bytes.
    pub(super) const fn of_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The raw bytes.
    pub(super) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads 64 lower-case hexadecimal digits.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (high, low) = text.split_at_checked(Self::DIGITS / 2)?;
        let half = |digits| Some(*ClusterId::parse(digits).ok()?.as_bytes());
        let mut bytes = [0; 32];
        let (first, second) = bytes.split_at_mut(16);
        first.copy_from_slice(&half(high)?);
        second.copy_from_slice(&half(low)?);
        Some(Self(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a node shows and trusts, as PEM. Not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Certificates of the authorities it trusts.
    pub authorities: Vec<u8>,
    /// Its certificate, and those between it and an authority.
    pub chain: Vec<u8>,
    /// The key of its certificate.
    pub key: Vec<u8>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: &str = "00112233445566778899aabbccddeeff";

    #[test]
    fn a_node_name_reads_and_prints_alike_and_others_are_passed_over() {
        let name = format!("node-7.{CLUSTER}.windlass");
        let read = NodeName::parse(&name).unwrap();
        assert_eq!((read.to_string(), read.0.node), (name.clone(), 7));
        for other in [
            "registry.example.com",
            &format!("node-0.{CLUSTER}.windlass"),
            &format!("node-07.{CLUSTER}.windlass"),
            &format!("node-+7.{CLUSTER}.windlass"),
            &format!("node-*.{CLUSTER}.windlass"),
            &format!("*.{CLUSTER}.windlass"),
            &format!("node-7.{CLUSTER}.windlass.example.com"),
            &format!("node-7.{}.windlass", "ab"),
        ] {
            assert_eq!(NodeName::parse(other), None, "{other}");
        }
        let names =
            |names: &[&str]| -> Vec<Box<str>> { names.iter().map(|name| (*name).into()).collect() };
        let one = names(&["registry.example.com", &name, &name]);
        assert_eq!(NodeName::only_one_of(&one), Some(read.0));
        let second = format!("node-8.{CLUSTER}.windlass");
        assert_eq!(NodeName::only_one_of(&names(&[&name, &second])), None);
        assert_eq!(NodeName::only_one_of(&[]), None);
    }

    #[test]
    fn a_fingerprint_reads_and_prints_alike() {
        let fingerprint = Fingerprint::of(b"certificate");
        let text = fingerprint.to_string();
        assert_eq!(Fingerprint::parse(&text), Some(fingerprint));
        for bad in [
            "",
            text.get(1..).unwrap(),
            &text.to_uppercase(),
            &format!("{text}0"),
        ] {
            assert_eq!(Fingerprint::parse(bad), None, "{bad}");
        }
    }
}
