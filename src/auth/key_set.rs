//! JSON Web Key Sets: which of their keys verify tokens here, and why others do not.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::key::{COORDINATE_BYTES, KEYS_MAX, Key, KeyError};
use super::strict_json;

/// Letters of the name of a key that a log line shows.
const SHOWN_LETTERS_MAX: usize = 64;

/// What a key set holds.
///
/// - Source: RFC 7517, section 5.
#[derive(Debug, Clone)]
pub struct KeySet {
    /// The keys that verify tokens here.
    pub keys: Vec<Key>,
    /// Those that do not.
    pub ignored: Vec<IgnoredKey>,
}

/// A key of a set that is passed over. Printed for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IgnoredKey {
    /// The start of its name.
    id: Option<Box<str>>,
    fault: KeyFault,
}

/// Why a key is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum KeyFault {
    /// Whoever verifies with it can sign as well.
    #[error("a shared secret is no public key")]
    Secret,
    /// Made for something else.
    #[error("it is not for signatures")]
    Purpose,
    /// `alg` is none that is taken, or not that of the key.
    #[error("its `alg` is not what its kind signs here: ES256, RS256 or EdDSA")]
    Algorithm,
    /// Another curve or kind.
    #[error("only P-256, RSA and Ed25519 are taken")]
    Kind,
    /// Members that are missing, malformed or too weak.
    #[error("it is malformed, or an RSA key with less than 2048 bits")]
    Unusable,
}

impl fmt::Display for IgnoredKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.id {
            Some(id) => write!(f, "`{}`: {}", id.escape_debug(), self.fault),
            None => write!(f, "a key without `kid`: {}", self.fault),
        }
    }
}

impl KeySet {
    /// Reads a set; keys of other kinds and for other uses are passed over.
    ///
    /// - Errors: not a key set, or one with more keys than anybody needs.
    pub fn read(content: &[u8]) -> Result<Self, KeyError> {
        let set = strict_json::read(content).map_err(|_| KeyError::Form)?;
        let members = set.get("keys").and_then(Value::as_array);
        let members = members.ok_or(KeyError::Form)?;
        if members.len() > KEYS_MAX {
            return Err(KeyError::TooMany);
        }
        let (mut keys, mut ignored) = (Vec::new(), Vec::new());
        for member in members {
            match read_key(member) {
                Ok(key) => keys.push(key),
                Err(fault) => ignored.push(IgnoredKey {
                    id: shown_id(member),
                    fault,
                }),
            }
        }
        Ok(Self { keys, ignored })
    }
}

/// Reads a JSON Web Key. What it says about its algorithm is only held against it.
///
/// - Source: RFC 7517, section 4; RFC 7518, section 6; RFC 8037.
fn read_key(value: &Value) -> Result<Key, KeyFault> {
    let text = |member| value.get(member).and_then(Value::as_str);
    let bytes = |member| {
        let decoded = text(member).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
        decoded.ok_or(KeyFault::Unusable)
    };
    if text("use").is_some_and(|purpose| purpose != "sig") {
        return Err(KeyFault::Purpose);
    }
    let key = match (text("kty"), text("crv")) {
        (Some("EC"), Some("P-256")) => {
            let (x, y) = (bytes("x")?, bytes("y")?);
            if x.len() != COORDINATE_BYTES {
                return Err(KeyFault::Unusable);
            }
            Key::of_point(&[vec![4], x, y].concat())
        }
        (Some("OKP"), Some("Ed25519")) => Key::of_ed25519(&bytes("x")?),
        (Some("RSA"), _) => {
            let (modulus, exponent) = (bytes("n")?, bytes("e")?);
            // Some issuers write a zero in front.
            let trimmed = |number: &[u8]| {
                let start = number.iter().position(|byte| *byte != 0);
                number.get(start?..).map(<[u8]>::to_vec)
            };
            let numbers = trimmed(&modulus).zip(trimmed(&exponent));
            let (modulus, exponent) = numbers.ok_or(KeyFault::Unusable)?;
            Key::of_rsa_numbers(&modulus, &exponent)
        }
        (Some("oct"), _) => return Err(KeyFault::Secret),
        _ => return Err(KeyFault::Kind),
    };
    let key = key.map_err(|_| KeyFault::Unusable)?;
    let is_pinned = match value.get("alg") {
        None => true,
        Some(algorithm) => algorithm.as_str() == Some(key.algorithm_name()),
    };
    if !is_pinned {
        return Err(KeyFault::Algorithm);
    }
    Ok(key.named(text("kid").map(Into::into)))
}

fn shown_id(value: &Value) -> Option<Box<str>> {
    let id = value.get("kid").and_then(Value::as_str)?;
    let shown: String = id.chars().take(SHOWN_LETTERS_MAX).collect();
    Some(shown.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const RSA_KEY: &[u8] = include_bytes!("../../tests/fixtures/auth/rsa.pub");

    fn ignored(key: &Value) -> String {
        let set = json!({ "keys": [key] }).to_string();
        let set = KeySet::read(set.as_bytes()).unwrap();
        assert!(set.keys.is_empty(), "{key}");
        set.ignored[0].to_string()
    }

    #[test]
    fn what_is_passed_over_is_named_with_its_reason() {
        let rows = [
            (
                json!({ "kty": "oct", "kid": "s", "k": "AAAA" }),
                "`s`: a shared secret",
            ),
            (
                json!({ "kty": "oct", "alg": "HS256" }),
                "a key without `kid`: a shared secret",
            ),
            (
                json!({ "kty": "EC", "crv": "P-384" }),
                "a key without `kid`: only P-256",
            ),
            (
                json!({ "kty": "RSA", "use": "enc" }),
                "a key without `kid`: it is not for",
            ),
            (
                json!({ "kty": "RSA", "kid": "a\nb" }),
                "`a\\nb`: it is malformed",
            ),
            (json!([]), "a key without `kid`: only P-256"),
        ];
        for (key, expected) in rows {
            let said = ignored(&key);
            assert!(said.starts_with(expected), "{said}");
        }
        let long = ignored(&json!({ "kty": "oct", "kid": "x".repeat(10_000) }));
        assert!(long.len() < 200);
    }

    /// A number that is written with zeros in front is no stronger for it.
    #[test]
    fn weak_rsa_keys_stay_weak_however_they_are_written() {
        let modulus = |bytes: usize, zeros: usize| {
            let number = [vec![0; zeros], vec![0xff; bytes]].concat();
            json!({ "kty": "RSA", "n": URL_SAFE_NO_PAD.encode(number), "e": "AQAB" })
        };
        for key in [
            modulus(255, 0),
            modulus(128, 0),
            modulus(128, 128),
            modulus(0, 256),
        ] {
            assert!(ignored(&key).contains("less than 2048 bits"), "{key}");
        }
        for zeros in [0, 1] {
            let set = json!({ "keys": [modulus(256, zeros)] }).to_string();
            assert_eq!(KeySet::read(set.as_bytes()).unwrap().keys.len(), 1);
        }
    }

    #[test]
    fn an_algorithm_that_is_not_the_keys_own_is_passed_over() {
        let key = json!({ "kty": "RSA", "n": URL_SAFE_NO_PAD.encode([0xff; 256]), "e": "AQAB" });
        for algorithm in [
            json!("HS256"),
            json!("none"),
            json!("PS256"),
            json!("ES256"),
            json!(1),
        ] {
            let mut key = key.clone();
            key["alg"] = algorithm;
            assert!(ignored(&key).contains("its `alg`"), "{key}");
        }
    }

    #[test]
    fn one_key_equals_itself_and_no_other() {
        let [one, same] = [(); 2].map(|()| Key::read_all(RSA_KEY).unwrap().remove(0));
        assert_eq!(one, same);
        assert_ne!(one, same.named(Some("a".into())));
        let other = Key::of_rsa_numbers(&[0xff; 256], &[1, 0, 1]).unwrap();
        assert_ne!(one, other);
    }
}
