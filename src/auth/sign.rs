//! The key that signs tokens made here.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Map, Value};

use super::key::Key;
use super::token::TokenKind;

/// Everything in front of the number that is a P-256 key, in PKCS #8.
const PRIVATE_PREFIX: &[u8] = &[
    0x30, 0x41, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,
    0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x27, 0x30, 0x25, 0x02, 0x01,
    0x01, 0x04, 0x20,
];
/// What the derived key is for, so that no other use of the secret gives it.
const DERIVATION_LABEL: &[u8] = b"windlass token key 1";
/// One number in four thousand million is no key; the second try is for that.
const DERIVATIONS_MAX: u8 = 8;
/// Bytes of the public key's hash in its name: enough to tell keys apart.
const ID_BYTES: usize = 12;

/// A signing key could not be made, read or used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SigningError {
    /// Not a P-256 private key in PKCS #8.
    #[error("not a P-256 private key as PEM (`BEGIN PRIVATE KEY`)")]
    Key,
    /// The library refused.
    #[error("the token cannot be signed")]
    Sign,
}

/// A P-256 key that signs ES256. Not printed.
#[derive(Clone)]
pub struct SigningKey {
    private: EncodingKey,
    public: Key,
    id: Box<str>,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Makes a new key, as PEM.
    pub fn generate_pem() -> Result<String, SigningError> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
        let pair = pair.map_err(|_| SigningError::Key)?;
        let bytes = pair.to_pkcs8v1().map_err(|_| SigningError::Key)?;
        Ok(pem::encode(&pem::Pem::new("PRIVATE KEY", bytes.as_ref())))
    }

    /// Reads a key as PEM.
    pub fn of_pem(text: &[u8]) -> Result<Self, SigningError> {
        let blocks = pem::parse_many(text).map_err(|_| SigningError::Key)?;
        let is_key = |block: &&pem::Pem| block.tag() == "PRIVATE KEY";
        let block = blocks.iter().find(is_key).ok_or(SigningError::Key)?;
        Self::of_pkcs8(block.contents())
    }

    /// The key that everyone derives who knows `secret`, and nobody else.
    pub fn derived(secret: &[u8]) -> Result<Self, SigningError> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let attempt = |attempt: u8| {
            let number = hmac::sign(&key, &[DERIVATION_LABEL, &[attempt]].concat());
            Self::of_pkcs8(&[PRIVATE_PREFIX, number.as_ref()].concat()).ok()
        };
        (0..DERIVATIONS_MAX)
            .find_map(attempt)
            .ok_or(SigningError::Key)
    }

    fn of_pkcs8(bytes: &[u8]) -> Result<Self, SigningError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, bytes);
        let pair = pair.map_err(|_| SigningError::Key)?;
        let point = pair.public_key().as_ref();
        let hash = digest::digest(&digest::SHA256, point);
        let id = hash.as_ref().get(..ID_BYTES).unwrap_or_default();
        let id: Box<str> = URL_SAFE_NO_PAD.encode(id).into();
        let public = Key::of_point(point).map_err(|_| SigningError::Key)?;
        Ok(Self {
            private: EncodingKey::from_ec_der(bytes),
            public: public.named(Some(id.clone())),
            id,
        })
    }

    /// What verifies its tokens.
    #[must_use]
    pub const fn public(&self) -> &Key {
        &self.public
    }

    /// Signs claims.
    pub fn sign(
        &self,
        kind: TokenKind,
        claims: &Map<String, Value>,
    ) -> Result<String, SigningError> {
        let header = Header {
            typ: Some(kind.name().to_owned()),
            kid: Some(self.id.to_string()),
            ..Header::new(Algorithm::ES256)
        };
        encode(&header, claims, &self.private).map_err(|_| SigningError::Sign)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Issuer;
    use serde_json::json;

    fn claims() -> Map<String, Value> {
        let claims = json!({ "iss": "i", "aud": "a", "exp": 100, "sub": "bob" });
        claims.as_object().unwrap().clone()
    }

    fn issuer(key: &SigningKey) -> Issuer {
        Issuer {
            name: "i".into(),
            audiences: vec!["a".into()],
            keys: vec![key.public().clone()],
        }
    }

    #[test]
    fn a_generated_key_reads_back_and_its_tokens_verify() {
        let pem = SigningKey::generate_pem().unwrap();
        let key = SigningKey::of_pem(pem.as_bytes()).unwrap();
        let token = key.sign(TokenKind::Access, &claims()).unwrap();
        let again = SigningKey::of_pem(pem.as_bytes()).unwrap();
        let verified = issuer(&again)
            .verify(&token, TokenKind::Access, 50)
            .unwrap();
        assert_eq!(verified.subject.as_deref(), Some("bob"));
        assert!(!format!("{key:?}").contains("private"));
    }

    #[test]
    fn one_secret_derives_one_key() {
        let key = SigningKey::derived(b"secret").unwrap();
        let token = key.sign(TokenKind::Access, &claims()).unwrap();
        let same = issuer(&SigningKey::derived(b"secret").unwrap());
        assert!(same.verify(&token, TokenKind::Access, 50).is_ok());
        let other = issuer(&SigningKey::derived(b"other").unwrap());
        assert!(other.verify(&token, TokenKind::Access, 50).is_err());
        assert_eq!(key.id.len(), 16);
    }

    #[test]
    fn a_refresh_token_is_no_access_token() {
        let key = SigningKey::derived(b"secret").unwrap();
        for (made, shown) in [
            (TokenKind::Refresh, TokenKind::Access),
            (TokenKind::Access, TokenKind::Refresh),
        ] {
            let token = key.sign(made, &claims()).unwrap();
            assert!(issuer(&key).verify(&token, shown, 50).is_err());
            assert!(issuer(&key).verify(&token, made, 50).is_ok());
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in [
            "",
            "nonsense",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        ] {
            assert_eq!(
                SigningKey::of_pem(text.as_bytes()).unwrap_err(),
                SigningError::Key
            );
        }
    }
}
