//! The authority of a cluster: makes itself, then certificates for nodes.

use std::fmt;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P256_SHA256, date_time_ymd,
};

use super::certificate::{Credentials, Fingerprint, NodeName, domain_of};
use super::identity::{ClusterId, PeerIdentity};
use crate::base::Clock;
use crate::net::{TlsAuthorities, TlsError, TlsIdentity, TlsMaterialError, check_identity};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Certificates begin to hold a day before they are made: clocks of nodes differ.
const BACKDATED: Duration = DAY;
/// An authority holds for 100 years: it ends with its cluster. Replacing it means
/// replacing every certificate at once, and nothing is gained by having to.
const AUTHORITY_LIFE: Duration = DAY.saturating_mul(36_525);
/// A node's certificate holds for ten years, the life of a machine. A node is shut out
/// by removing it from the cluster, not by waiting for its certificate to end; a short
/// life would only add a clock that stops the cluster. Whoever wants one brings
/// certificates of their own.
const NODE_LIFE: Duration = DAY.saturating_mul(3_653);

/// A certificate could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The library refused, or the key is of no known form.
    #[error("make a certificate")]
    Make(#[from] rcgen::Error),
    /// What was made or given cannot be read.
    #[error("read the certificate of the authority")]
    Material(#[from] TlsMaterialError),
    /// The key is not that of the certificate, or the certificate holds no more.
    #[error("the key and the certificate of the authority do not vouch for a node")]
    Mismatch(#[source] TlsError),
}

/// The authority of one cluster: its certificate, which every node trusts, and its key,
/// which every member holds so that any of them can admit another. Not printed.
#[derive(Clone)]
pub struct Authority {
    cluster: ClusterId,
    certificate: Box<str>,
    key: Box<str>,
}

impl Authority {
    /// A new authority, for a new cluster. It can vouch for names of this cluster only.
    pub fn make(cluster: ClusterId, clock: &Clock) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = authority_params(cluster);
        set_life(&mut params, clock, AUTHORITY_LIFE);
        let certificate = params.self_signed(&key)?;
        Ok(Self {
            cluster,
            certificate: certificate.pem().into(),
            key: key.serialize_pem().into(),
        })
    }

    /// An authority that was made before, as PEM.
    ///
    /// - Errors: a certificate made with it does not hold.
    pub fn of_pem(
        cluster: ClusterId,
        certificate: &str,
        key: &str,
        clock: &Clock,
    ) -> Result<Self, AuthorityError> {
        let authority = Self {
            cluster,
            certificate: certificate.into(),
            key: key.into(),
        };
        let probe = authority.issue(u64::MAX, clock)?;
        let identity = TlsIdentity::of_pem(&probe.chain, &probe.key)?;
        let authorities = TlsAuthorities::of_pem(&probe.authorities)?;
        check_identity(&identity, &authorities).map_err(AuthorityError::Mismatch)?;
        Ok(authority)
    }

    /// A certificate and a new key for a node of the cluster.
    pub fn issue(&self, node: u64, clock: &Clock) -> Result<Credentials, AuthorityError> {
        let cluster = self.cluster;
        self.issue_for(PeerIdentity { cluster, node }, clock, NODE_LIFE)
    }

    pub(super) fn issue_for(
        &self,
        identity: PeerIdentity,
        clock: &Clock,
        life: Duration,
    ) -> Result<Credentials, AuthorityError> {
        let name = NodeName(identity).to_string();
        let mut params = CertificateParams::new(vec![name])?;
        set_life(&mut params, clock, life);
        let title = format!("windlass node {}", identity.node);
        params.distinguished_name.push(DnType::CommonName, title);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        let issuer = Issuer::new(
            authority_params(self.cluster),
            KeyPair::from_pem(&self.key)?,
        );
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.signed_by(&key, &issuer)?;
        Ok(Credentials {
            authorities: self.certificate.as_bytes().to_vec(),
            chain: certificate.pem().into_bytes(),
            key: key.serialize_pem().into_bytes(),
        })
    }

    /// The certificate, as PEM.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// The key, as PEM. Whoever has it can make nodes.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// How a node that wants to join knows the authority.
    pub fn fingerprint(&self) -> Result<Fingerprint, AuthorityError> {
        Ok(Fingerprint::of_pem(self.certificate.as_bytes())?)
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("cluster", &self.cluster)
            .finish_non_exhaustive()
    }
}

/// What an authority says of itself, the same each time but for its life: certificates
/// that are issued later repeat its name and its key's identifier.
fn authority_params(cluster: ClusterId) -> CertificateParams {
    let mut params = CertificateParams::default();
    let title = format!("windlass cluster {cluster}");
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, title);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName(domain_of(cluster))],
        excluded_subtrees: Vec::new(),
    });
    params
}

fn set_life(params: &mut CertificateParams, clock: &Clock, life: Duration) {
    let epoch = date_time_ymd(1970, 1, 1);
    let begin = Duration::from_millis(clock.unix_ms()).saturating_sub(BACKDATED);
    params.not_before = epoch + begin;
    params.not_after = epoch + begin + life;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(digit: &str) -> ClusterId {
        ClusterId::parse(&digit.repeat(32)).unwrap()
    }

    #[test]
    fn an_authority_read_back_issues_certificates_under_its_first_name() {
        let clock = Clock::system();
        let made = Authority::make(cluster("a"), &clock).unwrap();
        let of_pem = |certificate: &str, key: &str| {
            Authority::of_pem(cluster("a"), certificate, key, &clock)
        };
        let read = of_pem(made.certificate(), made.key()).unwrap();
        assert_eq!(read.fingerprint().unwrap(), made.fingerprint().unwrap());
        let credentials = read.issue(7, &clock).unwrap();
        let identity = TlsIdentity::of_pem(&credentials.chain, &credentials.key).unwrap();
        let trusted = TlsAuthorities::of_pem(made.certificate().as_bytes()).unwrap();
        check_identity(&identity, &trusted).unwrap();
        let names = identity.names().unwrap();
        let named = NodeName::only_one_of(&names).unwrap();
        assert_eq!((named.cluster, named.node), (cluster("a"), 7));

        let other = Authority::make(cluster("a"), &clock).unwrap();
        let mixed = of_pem(made.certificate(), other.key());
        assert!(
            matches!(mixed, Err(AuthorityError::Mismatch(_))),
            "{mixed:?}"
        );
        assert!(of_pem(made.certificate(), "no key").is_err());
        assert!(!format!("{made:?}{credentials:?}").contains("PRIVATE"));
    }

    #[test]
    fn an_authority_cannot_vouch_for_another_cluster_or_name() {
        let clock = Clock::system();
        let authority = Authority::make(cluster("a"), &clock).unwrap();
        let foreign = PeerIdentity {
            cluster: cluster("b"),
            node: 1,
        };
        let credentials = authority.issue_for(foreign, &clock, NODE_LIFE).unwrap();
        let identity = TlsIdentity::of_pem(&credentials.chain, &credentials.key).unwrap();
        let trusted = TlsAuthorities::of_pem(authority.certificate().as_bytes()).unwrap();
        assert!(check_identity(&identity, &trusted).is_err());
    }
}
