//! Public keys, each with the one algorithm that it verifies.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::PublicEncryptingKey;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RsaPublicKeyComponents, VerificationAlgorithm,
};

use super::key_set::KeySet;
use super::small_order::is_of_small_order;

/// Keys of one file, and of one issuer.
pub(super) const KEYS_MAX: usize = 64;
/// Bytes of a coordinate on P-256, and of an Ed25519 key.
pub(super) const COORDINATE_BYTES: usize = 32;
/// Everything in front of the point, in the only form of a P-256 key.
const P256_PREFIX: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// The same for Ed25519.
const ED25519_PREFIX: &[u8] = &[
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
/// Why keys cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Neither PEM nor a JSON Web Key Set.
    #[error("neither PEM nor a JSON Web Key Set")]
    Form,
    /// A private key where a public one belongs.
    #[error("holds `{0}`; name a file with the public key or a certificate")]
    Unexpected(String),
    /// A certificate that cannot be read.
    #[error("a certificate in it cannot be read")]
    Certificate,
    /// A key of another kind than P-256, RSA and Ed25519, or a malformed one.
    #[error("a key in it is malformed, or neither P-256, RSA with 2048 bits or more, nor Ed25519")]
    Kind,
    /// A set without one key that verifies signatures.
    #[error("holds no key that verifies ES256, RS256 or EdDSA")]
    Empty,
    /// More than anybody needs.
    #[error("holds more than {KEYS_MAX} keys")]
    TooMany,
}

/// What tokens are signed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Es256,
    Rs256,
    EdDsa,
}

/// A public key, parsed once. What a token says about algorithms is only held against
/// it. Cheap to clone but for its name.
#[derive(Clone)]
pub struct Key {
    /// Its name in the header of tokens; a key without one is tried for any name.
    id: Option<Box<str>>,
    algorithm: Algorithm,
    verifier: ParsedPublicKey,
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
            && self.algorithm == other.algorithm
            && self.verifier.as_ref() == other.verifier.as_ref()
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

impl Key {
    /// Reads the content of a key file: public keys and certificates as PEM, or a JSON
    /// Web Key Set. Of a certificate only the key counts: whoever names it trusts it.
    pub fn read_all(content: &[u8]) -> Result<Vec<Self>, KeyError> {
        let keys = match content.trim_ascii_start().first() {
            Some(b'{') => KeySet::read(content)?.keys,
            _ => Self::of_pem(content)?,
        };
        match keys.len() {
            0 => Err(KeyError::Empty),
            1..=KEYS_MAX => Ok(keys),
            _ => Err(KeyError::TooMany),
        }
    }

    fn of_pem(content: &[u8]) -> Result<Vec<Self>, KeyError> {
        let blocks = pem::parse_many(content).map_err(|_| KeyError::Form)?;
        if blocks.is_empty() {
            return Err(KeyError::Form);
        }
        let read = |block: &pem::Pem| match block.tag() {
            "PUBLIC KEY" => Self::of_key_info(block.contents()),
            "CERTIFICATE" => Self::of_certificate(block.contents()),
            "RSA PUBLIC KEY" => Self::of_rsa(block.contents()),
            other => Err(KeyError::Unexpected(other.to_owned())),
        };
        // A file made by openssl says which curve follows.
        let blocks = blocks.iter().filter(|block| block.tag() != "EC PARAMETERS");
        blocks.map(read).collect()
    }

    fn of_certificate(bytes: &[u8]) -> Result<Self, KeyError> {
        let bytes = bytes.into();
        let certificate = webpki::EndEntityCert::try_from(&bytes);
        let certificate = certificate.map_err(|_| KeyError::Certificate)?;
        Self::of_key_info(&certificate.subject_public_key_info())
    }

    /// Reads a `SubjectPublicKeyInfo`.
    ///
    /// - Source: RFC 5280, section 4.1; RFC 5480; RFC 8410.
    fn of_key_info(info: &[u8]) -> Result<Self, KeyError> {
        if let Some(point) = info.strip_prefix(P256_PREFIX) {
            return Self::of_point(point);
        }
        if let Some(key) = info.strip_prefix(ED25519_PREFIX) {
            return Self::of_ed25519(key);
        }
        Self::of_rsa(info)
    }

    /// Reads an uncompressed point of P-256.
    pub(super) fn of_point(point: &[u8]) -> Result<Self, KeyError> {
        let is_whole = point.len() == 1 + 2 * COORDINATE_BYTES && point.first() == Some(&4);
        if !is_whole {
            return Err(KeyError::Kind);
        }
        Self::parsed(Algorithm::Es256, &ECDSA_P256_SHA256_FIXED, point)
    }

    pub(super) fn of_ed25519(key: &[u8]) -> Result<Self, KeyError> {
        let point = key.try_into().map_err(|_| KeyError::Kind)?;
        if is_of_small_order(point) {
            return Err(KeyError::Kind);
        }
        Self::parsed(Algorithm::EdDsa, &ED25519, key)
    }

    /// Reads a PKCS #1 key, or such a one in a `SubjectPublicKeyInfo`.
    fn of_rsa(key: &[u8]) -> Result<Self, KeyError> {
        let key = Self::parsed(Algorithm::Rs256, &RSA_PKCS1_2048_8192_SHA256, key)?;
        key.with_strength()
    }

    /// Reads the two numbers of an RSA key.
    pub(super) fn of_rsa_numbers(modulus: &[u8], exponent: &[u8]) -> Result<Self, KeyError> {
        let numbers = RsaPublicKeyComponents {
            n: modulus,
            e: exponent,
        };
        let key = numbers.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256);
        let verifier = key.map_err(|_| KeyError::Kind)?;
        Self::new(Algorithm::Rs256, verifier).with_strength()
    }

    /// The RSA key, if it has 2048 to 8192 bits: shorter ones are within reach of those
    /// who have machines.
    ///
    /// - Source: NIST SP 800-131A.
    fn with_strength(self) -> Result<Self, KeyError> {
        let info = self.verifier.as_der().map_err(|_| KeyError::Kind)?;
        // Refuses every other size.
        let strong = PublicEncryptingKey::from_der(info.as_ref());
        strong.map_err(|_| KeyError::Kind)?;
        Ok(self)
    }

    fn parsed(
        algorithm: Algorithm,
        verification: &'static dyn VerificationAlgorithm,
        key: &[u8],
    ) -> Result<Self, KeyError> {
        let verifier = ParsedPublicKey::new(verification, key).map_err(|_| KeyError::Kind)?;
        Ok(Self::new(algorithm, verifier))
    }

    const fn new(algorithm: Algorithm, verifier: ParsedPublicKey) -> Self {
        Self {
            id: None,
            algorithm,
            verifier,
        }
    }

    /// The key under a name.
    #[must_use]
    pub(super) fn named(self, id: Option<Box<str>>) -> Self {
        Self { id, ..self }
    }

    /// Its name, if it has one.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// What tokens call its algorithm.
    pub(super) const fn algorithm_name(&self) -> &'static str {
        match self.algorithm {
            Algorithm::Es256 => "ES256",
            Algorithm::Rs256 => "RS256",
            Algorithm::EdDsa => "EdDSA",
        }
    }

    /// Whether `signature` is this key's under `message`.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.verifier.verify_sig(message, signature).is_ok()
    }
}

#[cfg(test)]
#[path = "key_test.rs"]
mod tests;

#[cfg(test)]
#[path = "signature_test.rs"]
mod signatures;
