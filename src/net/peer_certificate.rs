//! Whom the certificate of the other end names, in every way in which it does.

use aws_lc_rs::digest::{SHA256, digest};
use futures_rustls::pki_types::CertificateDer;
use futures_rustls::pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::tls_material::TlsMaterialError;

/// Names of one kind that are looked at: more are nobody's certificate.
const NAMES_MAX: usize = 64;

/// What a certificate says of its owner. Whether that is true, the handshake has decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    /// Names of hosts.
    pub dns: Vec<Box<str>>,
    /// URIs.
    pub uris: Vec<Box<str>>,
    /// Addresses of mail.
    pub emails: Vec<Box<str>>,
    /// The common name; `None` also when there are several.
    pub common_name: Option<Box<str>>,
    /// SHA-256 of the certificate, in hex.
    pub fingerprint: Box<str>,
    /// It does not hold after, in seconds since 1970.
    pub end_unix_seconds: u64,
}

impl PeerCertificate {
    /// Reads the first certificate of a PEM text.
    ///
    /// - Errors: there is none, or none of a known form.
    pub fn of_pem(text: &[u8]) -> Result<Self, TlsMaterialError> {
        let certificate = CertificateDer::from_pem_slice(text).map_err(TlsMaterialError::Pem)?;
        Self::read(&certificate).ok_or(TlsMaterialError::NoCertificate)
    }

    /// Reads a certificate; `None` when it is none.
    pub(super) fn read(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let named = certificate.subject_alternative_name().ok()?;
        let named = named.map(|extension| extension.value.general_names.as_slice());
        let all = |pick: fn(&GeneralName<'_>) -> Option<Box<str>>| {
            let names = named.unwrap_or_default().iter().filter_map(pick);
            names.take(NAMES_MAX).collect()
        };
        let mut common = certificate.subject().iter_common_name();
        let common_name = match (common.next(), common.next()) {
            (Some(only), None) => only.as_str().ok().and_then(sound),
            _ => None,
        };
        let end = certificate.validity().not_after.timestamp();
        Some(Self {
            dns: all(|name| match name {
                GeneralName::DNSName(name) => sound(name),
                _ => None,
            }),
            uris: all(|name| match name {
                GeneralName::URI(name) => sound(name),
                _ => None,
            }),
            emails: all(|name| match name {
                GeneralName::RFC822Name(name) => sound(name),
                _ => None,
            }),
            common_name,
            fingerprint: fingerprint(der),
            end_unix_seconds: u64::try_from(end).unwrap_or_default(),
        })
    }
}

/// A name without anything that could not be seen.
fn sound(name: &str) -> Option<Box<str>> {
    let is_sound = !name.is_empty() && !name.contains(char::is_control);
    is_sound.then(|| name.into())
}

fn fingerprint(der: &[u8]) -> Box<str> {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16);
    let hash = digest(&SHA256, der);
    let digits = hash.as_ref().iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(digit).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn read(params: &CertificateParams) -> PeerCertificate {
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        PeerCertificate::of_pem(pem.as_bytes()).unwrap()
    }

    fn texts(names: &[Box<str>]) -> Vec<&str> {
        names.iter().map(|name| &**name).collect()
    }

    #[test]
    fn every_kind_of_name_is_read() {
        let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        let more = [
            SanType::DnsName("b.example".try_into().unwrap()),
            SanType::URI("spiffe://example/ci".try_into().unwrap()),
            SanType::Rfc822Name("ci@example.org".try_into().unwrap()),
            SanType::IpAddress([192, 0, 2, 1].into()),
        ];
        params.subject_alt_names.extend(more);
        params.distinguished_name.push(DnType::CommonName, "ci");
        params.not_after = rcgen::date_time_ymd(2090, 12, 31);
        let read = read(&params);
        assert_eq!(texts(&read.dns), ["a.example", "b.example"]);
        assert_eq!(texts(&read.uris), ["spiffe://example/ci"]);
        assert_eq!(texts(&read.emails), ["ci@example.org"]);
        assert_eq!(read.common_name.as_deref(), Some("ci"));
        assert_eq!(read.fingerprint.len(), 64);
        assert_eq!(read.end_unix_seconds, 3_818_361_600);
    }

    #[test]
    fn what_is_missing_or_cannot_be_seen_names_nobody() {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        assert_eq!(read(&params).common_name, None);
        params
            .distinguished_name
            .push(DnType::CommonName, "a\u{7}b");
        let read = read(&params);
        assert_eq!(read.common_name, None);
        assert!(read.dns.is_empty() && read.uris.is_empty() && read.emails.is_empty());
        assert_eq!(PeerCertificate::read(b"none"), None);
        assert!(PeerCertificate::of_pem(b"none").is_err());
    }
}
