//! What makes a node one of many: who it is to the others, and how it proves that.

use std::net::SocketAddr;

use super::certificates::Certificates;
use super::error::ServerError;
use super::options::kernel_tls;
use crate::base::Clock;
use crate::config::{ClusterSection, Config, PeerSecurity, Secret};
use crate::metadata::NodeAddress;
use crate::peer::{
    Authority, ClusterFiles, ClusterId, Fingerprint, JoinSecret, OperatorFiles, PeerIdentity,
    Security, SharedSecret,
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
    /// Its certificates, where there are any.
    pub(super) certificates: Option<Certificates>,
    /// What machines of a list know it by.
    pub(super) join_secret: Option<JoinSecret>,
    /// What join tokens vouch for.
    pub(super) fingerprint: Fingerprint,
    /// Where it listens for other nodes …
    pub(super) listen: SocketAddr,
    /// … and where they are told to find it.
    pub(super) address: NodeAddress,
}

impl Membership {
    /// Reads the membership; `None` for a node that has no certificate and needs one.
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
        let (security, authority, certificates) = match section.security {
            PeerSecurity::Plain => (shared_secret(section, me)?, None, None),
            PeerSecurity::Tls => {
                let (certificates, authority) = if let Some(own) = operator_files(section) {
                    (Some(Certificates::operator(own, me)?), None)
                } else {
                    let authority = files.read_authority(cluster, &clock)?;
                    let own = Certificates::own(files, authority.clone(), me)?;
                    (own, authority)
                };
                let Some(certificates) = certificates else {
                    return Ok(None);
                };
                let security =
                    Security::Tls(certificates.material().with_kernel(kernel_tls(config)));
                (security, authority, Some(certificates))
            }
        };
        let fingerprint = match &certificates {
            None => Fingerprint::of(cluster.as_bytes()),
            Some(certificates) => Fingerprint::of_pem(&certificates.current().authorities)?,
        };
        Ok(Some(Self {
            cluster,
            security,
            authority,
            certificates,
            join_secret: join_secret(section)?,
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

/// What machines of a list know each other by, where one is set.
pub(super) fn join_secret(section: &ClusterSection) -> Result<Option<JoinSecret>, ServerError> {
    let (Some(name), Some(secret)) = (&section.name, &section.join_secret) else {
        return Ok(None);
    };
    let secret = JoinSecret::new(name, secret.reveal().as_bytes());
    secret.map(Some).map_err(ServerError::JoinSecret)
}

fn shared_secret(section: &ClusterSection, me: PeerIdentity) -> Result<Security, ServerError> {
    let secret = section.secret.as_ref().map_or("", Secret::reveal);
    Ok(Security::Plain(SharedSecret::new(me, secret.as_bytes())?))
}

fn operator_files(section: &ClusterSection) -> Option<OperatorFiles> {
    Some(OperatorFiles {
        authorities: section.ca_file.clone()?,
        chain: section.certificate_file.clone()?,
        key: section.key_file.clone()?,
    })
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
