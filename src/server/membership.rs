//! What makes a node one of many: who it is to the others, and how it proves that.

use std::net::SocketAddr;

use super::error::ServerError;
use crate::base::Clock;
use crate::config::{ClusterSection, Config, PeerSecurity, Secret};
use crate::metadata::NodeAddress;
use crate::peer::{
    Authority, ClusterFiles, ClusterId, Credentials, Fingerprint, OperatorFiles, PeerIdentity,
    Security, SharedSecret, TlsMaterial,
};
use crate::raft::Identity;
use crate::runtime::hostname;

/// A node's membership in a cluster, as its data directory and configuration say.
/// Read once, at the start.
#[derive(Debug, Clone)]
pub(super) struct Membership {
    /// Its cluster.
    pub(super) cluster: ClusterId,
    /// How it proves itself, and has others prove themselves.
    pub(super) security: Security,
    /// Makes certificates for those who join, where the cluster has its own.
    pub(super) authority: Option<Authority>,
    /// What join tokens vouch for.
    pub(super) fingerprint: Fingerprint,
    /// Where it listens for other nodes …
    pub(super) listen: SocketAddr,
    /// … and where they are told to find it.
    pub(super) address: NodeAddress,
}

impl Membership {
    /// Reads the membership; `None` for a node that runs alone.
    ///
    /// - Errors: certificates or keys that cannot be used, or an address that others
    ///   could not reach.
    pub(super) fn of(config: &Config, identity: &Identity) -> Result<Option<Self>, ServerError> {
        let cluster = ClusterId::parse(&identity.cluster)?;
        let me = PeerIdentity {
            cluster,
            node: identity.raft_id,
        };
        let files = ClusterFiles::new(&config.data_dir);
        let clock = Clock::system();
        let section = &config.cluster;
        let (security, authority, fingerprint) = match section.security {
            PeerSecurity::Plain => {
                let fingerprint = Fingerprint::of(cluster.as_bytes());
                (shared_secret(section, me)?, None, fingerprint)
            }
            PeerSecurity::Tls => {
                let own = operator_credentials(section)?;
                let authority = match own {
                    Some(_) => None,
                    None => files.read_authority(cluster, &clock)?,
                };
                let credentials = match own {
                    Some(credentials) => Some(credentials),
                    None => files.read_node()?,
                };
                let Some(credentials) = credentials else {
                    return Ok(None);
                };
                let fingerprint = Fingerprint::of_pem(&credentials.authorities)?;
                let material = TlsMaterial::member(me, &credentials)?;
                (Security::Tls(material), authority, fingerprint)
            }
        };
        Ok(Some(Self {
            cluster,
            security,
            authority,
            fingerprint,
            listen: section.listen,
            address: advertised(section)?,
        }))
    }
}

/// How a machine that is no member yet proves itself where there are no certificates.
pub(super) fn joining_secret(section: &ClusterSection) -> Result<Security, ServerError> {
    shared_secret(section, PeerIdentity::JOINER)
}

fn shared_secret(section: &ClusterSection, me: PeerIdentity) -> Result<Security, ServerError> {
    let secret = section.secret.as_ref().map_or("", Secret::reveal);
    Ok(Security::Plain(SharedSecret::new(me, secret.as_bytes())?))
}

fn operator_credentials(section: &ClusterSection) -> Result<Option<Credentials>, ServerError> {
    let (Some(authorities), Some(chain), Some(key)) = (
        section.ca_file.clone(),
        section.certificate_file.clone(),
        section.key_file.clone(),
    ) else {
        return Ok(None);
    };
    let files = OperatorFiles {
        authorities,
        chain,
        key,
    };
    Ok(Some(files.read()?))
}

/// Where other nodes are told to find this one.
///
/// - Errors: `NotReachable` for an address that means every machine or none.
pub(super) fn advertised(section: &ClusterSection) -> Result<NodeAddress, ServerError> {
    let text = section.advertised(&hostname());
    let is_wildcard = text
        .parse::<SocketAddr>()
        .is_ok_and(|address| address.ip().is_unspecified());
    match NodeAddress::parse(&text) {
        Ok(address) if !is_wildcard => Ok(address),
        _ => Err(ServerError::NotReachable { address: text }),
    }
}
