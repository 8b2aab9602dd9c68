//! Public keys, each with the one algorithm that it verifies.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde_json::Value;

use super::strict_json;

/// Keys of one file, and of one issuer.
const KEYS_MAX: usize = 64;
/// Shorter RSA keys are within reach of those who have machines. Source: NIST SP
/// 800-131A.
const RSA_MODULUS_BYTES_MIN: usize = 256;
/// A PKCS #1 key with the shortest modulus and the shortest exponent.
const RSA_KEY_BYTES_MIN: usize = RSA_MODULUS_BYTES_MIN + 11;
/// Bytes of a coordinate on P-256, and of an Ed25519 key.
const COORDINATE_BYTES: usize = 32;
/// Everything in front of the point, in the only form of a P-256 key.
const P256_PREFIX: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// The same for Ed25519.
const ED25519_PREFIX: &[u8] = &[
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
/// The algorithm of an RSA key.
const RSA_ALGORITHM: &[u8] = &[
    0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
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

/// A public key. What a token says about algorithms is only held against it.
#[derive(Clone)]
pub struct Key {
    /// Its name in the header of tokens; a key without one is tried for any name.
    id: Option<Box<str>>,
    algorithm: Algorithm,
    verifier: DecodingKey,
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
            Some(b'{') => Self::of_key_set(content)?,
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
        if !info
            .windows(RSA_ALGORITHM.len())
            .any(|part| part == RSA_ALGORITHM)
        {
            return Err(KeyError::Kind);
        }
        let pem = pem::encode(&pem::Pem::new("PUBLIC KEY", info));
        let key = DecodingKey::from_rsa_pem(pem.as_bytes()).map_err(|_| KeyError::Kind)?;
        Self::of_rsa(key.try_get_as_bytes().map_err(|_| KeyError::Kind)?)
    }

    /// Reads an uncompressed point of P-256.
    pub(super) fn of_point(point: &[u8]) -> Result<Self, KeyError> {
        let is_whole = point.len() == 1 + 2 * COORDINATE_BYTES && point.first() == Some(&4);
        let key = is_whole.then(|| DecodingKey::from_ec_der(point));
        Self::checked(Algorithm::ES256, key)
    }

    fn of_ed25519(key: &[u8]) -> Result<Self, KeyError> {
        let key = (key.len() == COORDINATE_BYTES).then(|| DecodingKey::from_ed_der(key));
        Self::checked(Algorithm::EdDSA, key)
    }

    /// Reads a PKCS #1 key.
    fn of_rsa(key: &[u8]) -> Result<Self, KeyError> {
        let key = (key.len() >= RSA_KEY_BYTES_MIN).then(|| DecodingKey::from_rsa_der(key));
        Self::checked(Algorithm::RS256, key)
    }

    fn checked(algorithm: Algorithm, key: Option<DecodingKey>) -> Result<Self, KeyError> {
        let verifier = key.ok_or(KeyError::Kind)?;
        let id = None;
        Ok(Self {
            id,
            algorithm,
            verifier,
        })
    }

    /// Reads a JSON Web Key Set; keys of other kinds and for other uses are passed over.
    ///
    /// - Source: RFC 7517, section 5.
    fn of_key_set(content: &[u8]) -> Result<Vec<Self>, KeyError> {
        let set = strict_json::read(content).map_err(|_| KeyError::Form)?;
        let keys = set
            .get("keys")
            .and_then(Value::as_array)
            .ok_or(KeyError::Form)?;
        if keys.len() > KEYS_MAX {
            return Err(KeyError::TooMany);
        }
        Ok(keys.iter().filter_map(Self::of_web_key).collect())
    }

    fn of_web_key(value: &Value) -> Option<Self> {
        let text = |member| value.get(member).and_then(Value::as_str);
        let bytes = |member| URL_SAFE_NO_PAD.decode(text(member)?).ok();
        let coordinate = |member| bytes(member).filter(|bytes| bytes.len() == COORDINATE_BYTES);
        if text("use").is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let (key, name) = match (text("kty")?, text("crv")) {
            ("EC", Some("P-256")) => {
                let point = [vec![4], coordinate("x")?, coordinate("y")?].concat();
                (Self::of_point(&point).ok()?, "ES256")
            }
            ("OKP", Some("Ed25519")) => (Self::of_ed25519(&bytes("x")?).ok()?, "EdDSA"),
            ("RSA", _) => {
                let (modulus, exponent) = (bytes("n")?, bytes("e")?);
                let key = DecodingKey::from_rsa_raw_components(&modulus, &exponent);
                let key = (modulus.len() >= RSA_MODULUS_BYTES_MIN).then_some(key);
                (Self::checked(Algorithm::RS256, key).ok()?, "RS256")
            }
            _ => return None,
        };
        let is_pinned = text("alg").is_none_or(|algorithm| algorithm == name);
        is_pinned.then(|| key.named(text("kid").map(Into::into)))
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
            Algorithm::ES256 => "ES256",
            Algorithm::RS256 => "RS256",
            _ => "EdDSA",
        }
    }

    /// Whether `signature`, as a token carries it, is this key's under `message`.
    pub(super) fn verifies(&self, message: &[u8], signature: &str) -> bool {
        crypto::verify(signature, message, &self.verifier, self.algorithm).unwrap_or_default()
    }
}

#[cfg(test)]
#[path = "key_test.rs"]
mod tests;
