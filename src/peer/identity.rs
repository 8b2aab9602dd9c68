//! What a node says it is: one of a cluster, by number.

use std::fmt;

use super::certificate::NodeName;

/// Raw bytes of a cluster's name.
const CLUSTER_ID_BYTES: usize = 16;

/// Names a cluster: random, made with its first node, the same on all of them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClusterId([u8; CLUSTER_ID_BYTES]);

/// A text that names no cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a cluster id is 32 lower-case hexadecimal digits")]
pub struct ClusterIdError;

impl ClusterId {
    /// Stands for the cluster that a joining node does not know yet.
    pub(super) const UNKNOWN: Self = Self([0; CLUSTER_ID_BYTES]);

    /// Reads the one textual form, 32 lower-case hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self, ClusterIdError> {
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != CLUSTER_ID_BYTES * 2 || !text.bytes().all(is_hex) {
            return Err(ClusterIdError);
        }
        let number = u128::from_str_radix(text, 16).map_err(|_| ClusterIdError)?;
        Ok(Self(number.to_be_bytes()))
    }

    /// A cluster id that was written as its bytes.
    pub(super) const fn of_bytes(bytes: [u8; CLUSTER_ID_BYTES]) -> Self {
        Self(bytes)
    }

    /// The raw bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; CLUSTER_ID_BYTES] {
        &self.0
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A node as its connections name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerIdentity {
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its number there, from 1; 0 is a node that has none yet.
    pub node: u64,
}

impl PeerIdentity {
    /// A node that wants to join: none yet, of a cluster it does not know yet.
    pub const JOINER: Self = Self {
        cluster: ClusterId::UNKNOWN,
        node: 0,
    };

    /// The name that a certificate of this node must have.
    #[must_use]
    pub fn certificate_name(self) -> String {
        NodeName(self).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_id_reads_and_prints_alike_and_refuses_all_else() {
        let text = "00112233445566778899aabbccddeeff";
        let id = ClusterId::parse(text).unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!(id.as_bytes()[1], 0x11);
        for bad in [
            "",
            "0011",
            &text.to_uppercase(),
            &text.replacen('0', "+", 1),
        ] {
            assert_eq!(ClusterId::parse(bad), Err(ClusterIdError), "{bad}");
        }
    }
}
