//! A certificate that vouches for itself, for trials.

use std::time::Duration;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, date_time_ymd,
};

use crate::base::Clock;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// A certificate begins to hold a day before it is made: clocks differ.
const BACKDATED: Duration = DAY;
/// Clients of some makers trust no certificate of a server for longer.
const SELF_SIGNED_LIFE: Duration = DAY.saturating_mul(397);

/// No certificate could be made.
#[derive(Debug, thiserror::Error)]
#[error("make a certificate")]
pub struct SelfSignedError(#[from] rcgen::Error);

/// A certificate and its key, as PEM. Not printed.
pub struct SelfSigned {
    /// The certificate, which clients must be told to trust.
    pub certificate: String,
    /// The key.
    pub key: String,
}

impl SelfSigned {
    /// A certificate for these host names and addresses, on the curve P-256.
    ///
    /// - Errors: a name that cannot stand in a certificate.
    pub fn make(names: &[String], clock: &Clock) -> Result<Self, SelfSignedError> {
        let mut params = CertificateParams::new(names)?;
        let epoch = date_time_ymd(1970, 1, 1);
        let begin = Duration::from_millis(clock.unix_ms()).saturating_sub(BACKDATED);
        params.not_before = epoch + begin;
        params.not_after = epoch + begin + SELF_SIGNED_LIFE;
        params.distinguished_name = DistinguishedName::new();
        let title = "windlass, self-signed";
        params.distinguished_name.push(DnType::CommonName, title);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.self_signed(&key)?;
        Ok(Self {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

impl std::fmt::Debug for SelfSigned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SelfSigned").finish_non_exhaustive()
    }
}
