//! What a TLS handshake failed at.

use std::io;

use futures_rustls::rustls::{CertificateError, Error, InvalidMessage};

/// A TLS handshake failed. Nothing of the other end was read.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The other end is gone, or the socket failed.
    #[error("the connection ended during the TLS handshake")]
    Broken(#[source] io::Error),
    /// The handshake was not done in time.
    #[error("the TLS handshake was not done in time")]
    TimedOut,
    /// What came is not TLS.
    #[error("the other end does not speak TLS")]
    NotTls,
    /// The name asked for cannot stand in a certificate.
    #[error("not a name for a certificate")]
    Name,
    /// The other end has no certificate, or one that does not hold.
    #[error("certificate: {0}")]
    Certificate(CertificateFault),
    /// The other end refused the handshake, or this end's certificate.
    #[error("the other end refused the TLS handshake: {0}")]
    Refused(#[source] io::Error),
    /// Anything else that is against the protocol.
    #[error("the TLS handshake failed")]
    Protocol(#[source] io::Error),
}

/// Why a certificate does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateFault {
    /// None was shown.
    #[error("none was shown")]
    Missing,
    /// No authority that is trusted here vouches for it.
    #[error("no trusted authority vouches for it")]
    Untrusted,
    /// It holds no more.
    #[error("expired")]
    Expired,
    /// It does not hold yet: one of two clocks may be wrong.
    #[error("not valid yet")]
    NotYetValid,
    /// It is for others than the one wanted.
    #[error("for other names: {names:?}")]
    OtherNames {
        /// Whom it is for.
        names: Vec<Box<str>>,
    },
    /// Damaged, for another purpose, or of no known form.
    #[error("not usable")]
    Unusable,
}

impl TlsError {
    /// The reason of a read that failed right after a handshake: a client is through
    /// before the server has looked at its certificate, and then hears of it.
    #[must_use]
    pub fn of_first_read(error: super::Error) -> Self {
        match error {
            super::Error::Broken(error) => Self::of(error),
            other => Self::Broken(io::Error::other(other)),
        }
    }

    /// Tells apart what the TLS library reports as one kind of I/O error.
    pub(super) fn of(error: io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        match inner {
            None => Self::Broken(error),
            Some(Error::NoCertificatesPresented) => Self::Certificate(CertificateFault::Missing),
            Some(Error::InvalidCertificate(fault)) => Self::Certificate(fault_of(fault)),
            Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => Self::NotTls,
            Some(Error::AlertReceived(_)) => Self::Refused(error),
            Some(_) => Self::Protocol(error),
        }
    }
}

fn fault_of(fault: &CertificateError) -> CertificateFault {
    match fault {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            CertificateFault::Untrusted
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            CertificateFault::Expired
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            CertificateFault::NotYetValid
        }
        CertificateError::NotValidForName => CertificateFault::OtherNames { names: Vec::new() },
        CertificateError::NotValidForNameContext { presented, .. } => {
            // The library writes them as `DnsName("name")`.
            let bare = |name: &String| -> Box<str> {
                let inside = name.strip_prefix("DnsName(\"");
                let inside = inside.and_then(|inside| inside.strip_suffix("\")"));
                inside.unwrap_or(name).into()
            };
            CertificateFault::OtherNames {
                names: presented.iter().map(bare).collect(),
            }
        }
        _ => CertificateFault::Unusable,
    }
}
