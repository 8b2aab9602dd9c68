//! Certificates and keys, as they are read from PEM.

use std::fmt;
use std::sync::Arc;

use futures_rustls::pki_types::pem::{self, PemObject as _};
use futures_rustls::pki_types::{CertificateDer, PrivateKeyDer};
use futures_rustls::rustls::RootCertStore;

use super::certificate::{Key, Life, read_certificate};

/// Smallest RSA key. Source: NIST SP 800-131A; clients refuse smaller ones as well.
const RSA_BITS_MIN: usize = 2048;

/// PEM that holds no usable certificate or key.
#[derive(Debug, thiserror::Error)]
pub enum TlsMaterialError {
    /// The text is no PEM, or ends early.
    #[error("read PEM")]
    Pem(#[source] pem::Error),
    /// There is no certificate in it.
    #[error("no certificate in the PEM")]
    NoCertificate,
    /// A certificate is not what it should be, or of no known form.
    #[error("use the certificate")]
    Certificate(#[source] futures_rustls::rustls::Error),
    /// The key is of no known kind, or not that of the certificate.
    #[error("use the key")]
    Key(#[source] futures_rustls::rustls::Error),
    /// The key is too easy to find.
    #[error("an RSA key of {bits} bits is too small; use 2048 or more, or an elliptic curve")]
    Weak {
        /// Its size.
        bits: usize,
    },
    /// The authorities cannot vouch for anybody.
    #[error("use the authorities")]
    Authorities(#[source] futures_rustls::rustls::client::VerifierBuilderError),
}

/// What an end proves itself with: its certificate, those between it and the authority,
/// and the key. Cheap to clone; not printed.
#[derive(Clone)]
pub struct TlsIdentity {
    chain: Vec<CertificateDer<'static>>,
    key: Arc<PrivateKeyDer<'static>>,
}

impl TlsIdentity {
    /// Reads a chain, own certificate first, and a key in PKCS#8, SEC1 or PKCS#1.
    pub fn of_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsMaterialError> {
        let key = PrivateKeyDer::from_pem_slice(key).map_err(TlsMaterialError::Pem)?;
        Ok(Self {
            chain: certificates(chain)?,
            key: Arc::new(key),
        })
    }

    /// The names in its certificate.
    ///
    /// - Errors: the certificate is of no known form.
    pub fn names(&self) -> Result<Vec<Box<str>>, TlsMaterialError> {
        names_of(self.own()?).ok_or_else(unreadable)
    }

    /// From when to when its certificate holds.
    ///
    /// - Errors: the certificate is of no known form.
    pub fn life(&self) -> Result<Life, TlsMaterialError> {
        let read = read_certificate(self.own()?).ok_or_else(unreadable)?;
        Ok(read.life)
    }

    /// Refuses a key that others could find. What the TLS library takes at all is
    /// strong but for RSA, where the size decides.
    ///
    /// - Errors: `Weak`; and what [`TlsIdentity::life`] fails with.
    pub(super) fn check_strength(&self) -> Result<(), TlsMaterialError> {
        let read = read_certificate(self.own()?).ok_or_else(unreadable)?;
        match read.key {
            Key::Rsa { bits } if bits < RSA_BITS_MIN => Err(TlsMaterialError::Weak { bits }),
            _ => Ok(()),
        }
    }

    fn own(&self) -> Result<&CertificateDer<'static>, TlsMaterialError> {
        self.chain.first().ok_or(TlsMaterialError::NoCertificate)
    }

    /// The same, showing the authorities, too: to whoever only knows them by a hash.
    #[must_use]
    pub fn with_authorities(&self, authorities: &TlsAuthorities) -> Self {
        let shown = self.chain.iter().chain(&authorities.certificates).cloned();
        Self {
            chain: shown.collect(),
            key: Arc::clone(&self.key),
        }
    }

    pub(super) fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.chain.clone()
    }

    pub(super) fn key(&self) -> PrivateKeyDer<'static> {
        self.key.clone_key()
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIdentity")
            .field("names", &self.names().ok())
            .finish_non_exhaustive()
    }
}

/// Certificates of those who vouch for others.
#[derive(Clone, Debug)]
pub struct TlsAuthorities {
    certificates: Vec<CertificateDer<'static>>,
    roots: Arc<RootCertStore>,
}

impl TlsAuthorities {
    /// Reads one or several certificates.
    pub fn of_pem(text: &[u8]) -> Result<Self, TlsMaterialError> {
        let certificates = certificates(text)?;
        let mut roots = RootCertStore::empty();
        for each in &certificates {
            roots
                .add(each.clone())
                .map_err(TlsMaterialError::Certificate)?;
        }
        Ok(Self {
            certificates,
            roots: Arc::new(roots),
        })
    }

    /// The certificates as they travel, in the order they were read; at least one.
    pub fn certificates(&self) -> impl Iterator<Item = &[u8]> {
        self.certificates.iter().map(AsRef::as_ref)
    }

    pub(super) fn roots(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.roots)
    }
}

fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsMaterialError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match all.map_err(TlsMaterialError::Pem)? {
        none if none.is_empty() => Err(TlsMaterialError::NoCertificate),
        some => Ok(some),
    }
}

fn unreadable() -> TlsMaterialError {
    let encoding = futures_rustls::rustls::CertificateError::BadEncoding;
    TlsMaterialError::Certificate(encoding.into())
}

/// The DNS names that a certificate is for; `None` when it cannot be read.
pub(super) fn names_of(certificate: &CertificateDer<'_>) -> Option<Vec<Box<str>>> {
    let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
    Some(certificate.valid_dns_names().map(Into::into).collect())
}

/// Whom a certificate is for, in one name: its first DNS name, else its first URI.
pub(super) fn subject_of(certificate: &CertificateDer<'_>) -> Option<Box<str>> {
    let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
    let mut names = certificate
        .valid_dns_names()
        .chain(certificate.valid_uri_names());
    names.next().map(Into::into)
}
