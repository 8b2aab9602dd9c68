//! Certificates and keys, ready for handshakes.

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

use super::certificate::{Credentials, Fingerprint, NodeName};
use super::identity::PeerIdentity;
use super::preamble::Purpose;
use crate::net::{
    KernelTls, TlsAuthorities, TlsClient, TlsError, TlsIdentity, TlsMaterialError, TlsServer,
    check_identity,
};

/// A node's certificates and keys do not fit it.
#[derive(Debug, thiserror::Error)]
pub enum MaterialError {
    /// They cannot be read or used.
    #[error("the certificates and keys between nodes")]
    Unusable(#[from] TlsMaterialError),
    /// The certificate is for somebody else.
    #[error("the certificate of this node must have the name {wanted}, and no other node's")]
    Name {
        /// The name it must have.
        wanted: Box<str>,
    },
    /// Other nodes would refuse it: no authority vouches for it, or it has expired.
    #[error("the certificate of this node does not hold")]
    Refused(#[source] TlsError),
}

/// What a node proves itself with under TLS. Cheap to clone, and shared between
/// executors: what [`TlsMaterial::renew`] changes holds for every connection made from
/// then on, and for none that is there.
#[derive(Clone)]
pub struct TlsMaterial {
    current: Arc<watch::Sender<Arc<Material>>>,
    kernel: KernelTls,
}

enum Material {
    Member {
        identity: PeerIdentity,
        client: TlsClient,
        members: TlsServer,
        joiners: TlsServer,
    },
    Joiner {
        client: TlsClient,
    },
}

impl TlsMaterial {
    /// Of a member: it dials and is dialed by members, and admits others.
    ///
    /// - Errors: what other nodes would refuse is refused here first.
    pub fn member(
        identity: PeerIdentity,
        credentials: &Credentials,
    ) -> Result<Self, MaterialError> {
        let authorities = TlsAuthorities::of_pem(&credentials.authorities)?;
        let own = TlsIdentity::of_pem(&credentials.chain, &credentials.key)?;
        if NodeName::only_one_of(&own.names()?) != Some(identity) {
            let wanted = NodeName(identity).to_string().into();
            return Err(MaterialError::Name { wanted });
        }
        check_identity(&own, &authorities).map_err(MaterialError::Refused)?;
        Self::unchecked(identity, &authorities, &own)
    }

    /// Shows and trusts what `credentials` say from now on.
    ///
    /// - Errors: as [`TlsMaterial::member`]; what was in force stays.
    pub fn renew(&self, credentials: &Credentials) -> Result<(), MaterialError> {
        let (identity, _) = self.member_client().ok_or_else(|| MaterialError::Name {
            wanted: "of a member".into(),
        })?;
        let renewed = Self::member(identity, credentials)?;
        self.current.send_replace(renewed.now());
        Ok(())
    }

    /// Material that was not looked at.
    pub(super) fn unchecked(
        identity: PeerIdentity,
        authorities: &TlsAuthorities,
        own: &TlsIdentity,
    ) -> Result<Self, MaterialError> {
        Ok(Self::of(Material::Member {
            identity,
            client: TlsClient::new(authorities, Some(own))?,
            members: TlsServer::new(own, Some(authorities))?,
            joiners: TlsServer::new(&own.with_authorities(authorities), None)?,
        }))
    }

    fn of(material: Material) -> Self {
        Self {
            current: Arc::new(watch::Sender::new(Arc::new(material))),
            kernel: KernelTls::off(),
        }
    }

    /// Lets the kernel encrypt what it takes of the connections that move content.
    #[must_use]
    pub fn with_kernel(self, kernel: KernelTls) -> Self {
        Self { kernel, ..self }
    }

    /// What the kernel encrypts of connections for `purpose`.
    pub(super) const fn kernel_for(&self, purpose: Purpose) -> KernelTls {
        if purpose.moves_content() {
            self.kernel
        } else {
            KernelTls::off()
        }
    }

    fn now(&self) -> Arc<Material> {
        Arc::clone(&self.current.borrow())
    }

    /// Of a node that wants to join the cluster of this authority. It proves nothing
    /// by a certificate, and can dial to join only.
    #[must_use]
    pub fn joiner(authority: Fingerprint) -> Self {
        let is_it = move |certificate: &[u8]| Fingerprint::of(certificate) == authority;
        Self::of(Material::Joiner {
            client: TlsClient::pinned(is_it),
        })
    }

    /// For dialing members.
    pub(super) fn member_client(&self) -> Option<(PeerIdentity, TlsClient)> {
        match &*self.now() {
            Material::Member {
                identity, client, ..
            } => Some((*identity, client.clone())),
            Material::Joiner { .. } => None,
        }
    }

    /// For dialing to join.
    pub(super) fn joining_client(&self) -> Option<TlsClient> {
        match &*self.now() {
            Material::Member { .. } => None,
            Material::Joiner { client } => Some(client.clone()),
        }
    }

    /// For members that dial.
    pub(super) fn member_server(&self) -> Option<(PeerIdentity, TlsServer)> {
        match &*self.now() {
            Material::Member {
                identity, members, ..
            } => Some((*identity, members.clone())),
            Material::Joiner { .. } => None,
        }
    }

    /// For nodes that dial to join.
    pub(super) fn joining_server(&self) -> Option<TlsServer> {
        match &*self.now() {
            Material::Member { joiners, .. } => Some(joiners.clone()),
            Material::Joiner { .. } => None,
        }
    }
}

impl fmt::Debug for TlsMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsMaterial")
            .field(
                "member",
                &self.member_client().map(|(identity, _)| identity),
            )
            .finish_non_exhaustive()
    }
}
