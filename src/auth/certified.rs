//! Callers whom a certificate names.

use serde_json::{Value, json};

use crate::base::limits::USERNAME_BYTES_MAX;

/// Everything by which a certificate names its owner.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CertificateNames {
    /// Names of hosts.
    pub dns: Vec<Box<str>>,
    /// URIs.
    pub uris: Vec<Box<str>>,
    /// Addresses of mail.
    pub emails: Vec<Box<str>>,
    /// The common name, which certificates had before they had all of these.
    pub common_name: Option<Box<str>>,
    /// SHA-256 of the certificate, in hex.
    pub fingerprint: Box<str>,
    /// When it ends, in seconds since the Unix epoch.
    pub ends_seconds: u64,
}

/// One kind of name in a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateName {
    /// The first name of a host.
    Dns,
    /// The first URI.
    Uri,
    /// The first address of mail.
    Email,
    /// The common name.
    CommonName,
}

/// A caller whom a certificate names. Made once for each connection.
#[derive(Debug, Clone, PartialEq)]
pub struct Certified {
    /// What it is called.
    pub name: Box<str>,
    /// What rules may ask about, below `/certificate`: `/san/dns`, `/san/uri`,
    /// `/san/email`, `/cn` and `/fingerprint`.
    pub claims: Value,
    /// When the certificate ends, in seconds since the Unix epoch.
    pub ends_seconds: u64,
}

impl Certified {
    /// The caller that a certificate names, by the first of `kinds` that is in it; nobody
    /// when none of them is.
    #[must_use]
    pub fn new(names: &CertificateNames, kinds: &[CertificateName]) -> Option<Self> {
        let of_kind = |kind: &CertificateName| match kind {
            CertificateName::Dns => names.dns.first(),
            CertificateName::Uri => names.uris.first(),
            CertificateName::Email => names.emails.first(),
            CertificateName::CommonName => names.common_name.as_ref(),
        };
        let name = kinds.iter().find_map(of_kind)?;
        let is_sound = !name.is_empty()
            && name.len() <= USERNAME_BYTES_MAX
            && !name.contains(char::is_control);
        let claims = json!({
            "sub": name,
            "certificate": {
                "san": { "dns": names.dns, "uri": names.uris, "email": names.emails },
                "cn": names.common_name,
                "fingerprint": names.fingerprint,
            },
        });
        is_sound.then(|| Self {
            name: name.clone(),
            claims,
            ends_seconds: names.ends_seconds,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> CertificateNames {
        CertificateNames {
            dns: vec!["a.example".into(), "b.example".into()],
            uris: vec!["spiffe://example/ci".into()],
            emails: Vec::new(),
            common_name: Some("ci".into()),
            fingerprint: "00ff".into(),
            ends_seconds: 7,
        }
    }

    #[test]
    fn the_first_kind_that_is_there_names_the_caller() {
        use CertificateName::{CommonName, Dns, Email, Uri};
        let name = |kinds: &[CertificateName]| {
            let certified = Certified::new(&names(), kinds);
            certified.map(|one| one.name.to_string())
        };
        assert_eq!(name(&[Dns, Uri]).as_deref(), Some("a.example"));
        assert_eq!(name(&[Uri, Dns]).as_deref(), Some("spiffe://example/ci"));
        assert_eq!(name(&[Email, CommonName]).as_deref(), Some("ci"));
        assert_eq!(name(&[Email]), None);
        assert_eq!(name(&[]), None);
    }

    #[test]
    fn everything_is_there_for_rules() {
        let certified = Certified::new(&names(), &[CertificateName::Dns]).unwrap();
        let claim = |place: &str| certified.claims.pointer(place).cloned();
        assert_eq!(claim("/certificate/san/dns/1"), Some(json!("b.example")));
        assert_eq!(claim("/certificate/fingerprint"), Some(json!("00ff")));
        assert_eq!(claim("/certificate/cn"), Some(json!("ci")));
        assert_eq!(claim("/certificate/san/email"), Some(json!([])));
        assert_eq!(certified.ends_seconds, 7);
    }

    #[test]
    fn a_name_that_no_user_may_have_is_nobodys() {
        for name in ["", "a\nb", &"x".repeat(300)] {
            let odd = CertificateNames {
                common_name: Some(name.into()),
                ..CertificateNames::default()
            };
            assert_eq!(Certified::new(&odd, &[CertificateName::CommonName]), None);
        }
    }
}
