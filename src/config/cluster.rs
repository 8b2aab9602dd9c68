//! `[cluster]`: how nodes find and trust each other.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::ack::{AckLevel, AckPrefix};
use super::units::{ByteSize, Period};
use crate::base::limits;
use crate::base::units::MIB;

/// What `check-config` prints instead of a secret.
const HIDDEN: &str = "(hidden)";
/// Stands for the machine's name in `cluster.advertise`.
pub(super) const HOSTNAME_MARK: &str = "{hostname}";

/// Where a node listens for others unless it is told: nobody else comes there.
const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5002);

/// A value that is never printed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// What stands for any secret where it is printed.
    pub(super) fn hidden() -> Self {
        Self(HIDDEN.to_owned())
    }

    /// The value itself, for whoever needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}

/// How nodes trust each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerSecurity {
    /// Mutual TLS with the cluster's own authority.
    Tls,
    /// A shared secret, nothing encrypted: for a network that is trusted otherwise.
    Plain,
}

/// `[cluster]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterSection {
    /// What the nodes that form a cluster by themselves call it.
    pub name: Option<String>,
    /// The nodes that form a cluster by themselves: `host:port` of each, or one name
    /// that stands for all.
    pub peers: Vec<String>,
    /// How many nodes begin the cluster together; as many as `peers` when absent.
    pub expect: Option<usize>,
    /// What nodes that form a cluster by themselves know each other by.
    pub join_secret: Option<Secret>,
    /// Address of this node for other nodes.
    pub listen: SocketAddr,
    /// `host:port` by which other nodes reach it; `listen` when absent. `{hostname}`
    /// stands for the machine's name.
    pub advertise: Option<String>,
    /// How nodes trust each other.
    pub security: PeerSecurity,
    /// What all nodes know, for `plain`.
    pub secret: Option<Secret>,
    /// Certificates of the authorities, when the operator brings them.
    pub ca_file: Option<PathBuf>,
    /// This node's certificate from them …
    pub certificate_file: Option<PathBuf>,
    /// … and its key.
    pub key_file: Option<PathBuf>,
    /// Copies of a blob before it is acknowledged.
    pub ack: AckLevel,
    /// Levels of repositories under a prefix; the longest counts.
    pub ack_prefixes: Vec<AckPrefix>,
    /// How long an acknowledgement waits for copies on other nodes.
    pub ack_timeout: Period,
    /// Blobs that are fetched from other nodes at the same time.
    pub fetches_max: usize,
    /// Bytes per second that fetches which nobody waits for take together.
    pub fetch_rate_max: Option<ByteSize>,
    /// Whether tags and lists are answered without a quorum, as this node knew them last.
    pub stale_reads: bool,
}

impl Default for ClusterSection {
    fn default() -> Self {
        Self {
            name: None,
            peers: Vec::new(),
            expect: None,
            join_secret: None,
            listen: LISTEN_DEFAULT,
            advertise: None,
            security: PeerSecurity::Tls,
            secret: None,
            ca_file: None,
            certificate_file: None,
            key_file: None,
            ack: AckLevel::Quorum,
            ack_prefixes: Vec::new(),
            ack_timeout: Period::new(limits::ACK_TIMEOUT),
            fetches_max: limits::FETCHES_DEFAULT,
            fetch_rate_max: None,
            stale_reads: false,
        }
    }
}

impl ClusterSection {
    /// Where other nodes are told to find this one, on a machine of this name.
    #[must_use]
    pub fn advertised(&self, hostname: &str) -> String {
        match &self.advertise {
            Some(template) => template.replace(HOSTNAME_MARK, hostname),
            None => self.listen.to_string(),
        }
    }

    /// How many nodes begin the cluster together.
    #[must_use]
    pub fn expected(&self) -> usize {
        self.expect.unwrap_or(self.peers.len())
    }

    /// Whether anything here says that this node is one of several. What only says how
    /// copies are made and read does not, nor does an address that no other machine
    /// reaches: a file that names every key with its default is one of a single node.
    #[must_use]
    pub fn is_of_cluster(&self) -> bool {
        let is_given = [
            self.name.is_some(),
            self.expect.is_some(),
            self.join_secret.is_some(),
            self.advertise.is_some(),
            self.secret.is_some(),
            self.ca_file.is_some(),
        ];
        self.listen != LISTEN_DEFAULT
            || !self.peers.is_empty()
            || self.security == PeerSecurity::Plain
            || is_given.contains(&true)
    }

    /// Every key with a value.
    pub(super) fn with_every_key() -> Self {
        let file = |name: &str| Some(PathBuf::from(format!("/etc/windlass/{name}")));
        Self {
            name: Some("registry".to_owned()),
            expect: Some(3),
            join_secret: Some(Secret::hidden()),
            fetch_rate_max: Some(ByteSize::new(100 * u64::from(MIB))),
            advertise: Some("a.example.org:5002".to_owned()),
            secret: Some(Secret::hidden()),
            ca_file: file("ca.pem"),
            certificate_file: file("node.pem"),
            key_file: file("node.key"),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_printed_nowhere() {
        let section: ClusterSection = toml::from_str("secret = 'sesame'").unwrap();
        let secret = section.secret.clone().unwrap();
        assert_eq!(secret.reveal(), "sesame");
        assert!(!format!("{section:?}").contains("sesame"));
        assert!(!toml::to_string(&section).unwrap().contains("sesame"));
    }

    #[test]
    fn what_says_that_a_node_is_one_of_several_is_told_from_what_does_not() {
        let is = |text: &str| {
            let section: ClusterSection = toml::from_str(text).expect(text);
            section.is_of_cluster()
        };
        for text in ["", "listen = '127.0.0.1:5002'", "ack = 'one'", "peers = []"] {
            assert!(!is(text), "{text}");
        }
        for text in [
            "listen = '10.0.0.1:5002'",
            "advertise = 'a:1'",
            "security = 'plain'",
            "ca_file = 'a'",
            "peers = ['a:1']",
            "join_secret = 's'",
        ] {
            assert!(is(text), "{text}");
        }
    }

    #[test]
    fn other_nodes_are_told_where_this_one_listens_unless_it_says_otherwise() {
        let mut section = ClusterSection::default();
        assert_eq!(section.advertised("h"), "127.0.0.1:5002");
        section.advertise = Some("a:1".to_owned());
        assert_eq!(section.advertised("h"), "a:1");
        section.advertise = Some("{hostname}.windlass:5002".to_owned());
        assert_eq!(section.advertised("w-0"), "w-0.windlass:5002");
    }
}
