//! Where an issuer says that its keys are.
//!
//! Source: OpenID Connect Discovery 1.0, sections 3 and 4.

use serde_json::Value;

use super::strict_json;

/// Where the document is, below the issuer.
const DOCUMENT_PATH: &str = "/.well-known/openid-configuration";

/// Why a document does not say where the keys are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DiscoveryError {
    /// Not a JSON object.
    #[error("the discovery document is no JSON object")]
    Form,
    /// It speaks for somebody else.
    #[error(
        "the discovery document is of another issuer than {0:?}; `iss` in tokens, in the document and in the configuration must be the same to the letter"
    )]
    Issuer(Box<str>),
    /// It names no keys.
    #[error("the discovery document has no `jwks_uri`")]
    NoKeys,
}

/// Where the discovery document of an issuer is.
#[must_use]
pub fn discovery_url(issuer: &str) -> String {
    format!("{}{DOCUMENT_PATH}", issuer.trim_end_matches('/'))
}

/// Where the keys are, by the issuer's discovery document.
pub fn discovered_keys_url(issuer: &str, document: &[u8]) -> Result<Box<str>, DiscoveryError> {
    let document = strict_json::read(document).map_err(|_| DiscoveryError::Form)?;
    let document = document.as_object().ok_or(DiscoveryError::Form)?;
    let text = |member| document.get(member).and_then(Value::as_str);
    if text("issuer") != Some(issuer) {
        return Err(DiscoveryError::Issuer(issuer.into()));
    }
    text("jwks_uri")
        .map(Into::into)
        .ok_or(DiscoveryError::NoKeys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_lies_below_the_issuer() {
        let expected = "https://a.example/x/.well-known/openid-configuration";
        assert_eq!(discovery_url("https://a.example/x"), expected);
        assert_eq!(discovery_url("https://a.example/x/"), expected);
    }

    #[test]
    fn a_document_speaks_for_its_own_issuer_only() {
        let read = |text: &str| discovered_keys_url("https://a", text.as_bytes());
        let good = r#"{"issuer":"https://a","jwks_uri":"https://a/keys","other":[1]}"#;
        assert_eq!(read(good).as_deref(), Ok("https://a/keys"));
        let other = DiscoveryError::Issuer("https://a".into());
        for issuer in ["https://a/", "https://b", "HTTPS://A"] {
            let text = good.replace(r#""https://a","#, &format!("{issuer:?},"));
            assert_eq!(read(&text), Err(other.clone()), "{issuer}");
        }
        assert_eq!(read(r#"{"jwks_uri":"https://a/keys"}"#), Err(other));
        assert_eq!(
            read(r#"{"issuer":"https://a"}"#),
            Err(DiscoveryError::NoKeys)
        );
        for text in [
            "",
            "<html>",
            "[]",
            r#"{"issuer":"https://a","issuer":"https://a"}"#,
        ] {
            assert_eq!(read(text), Err(DiscoveryError::Form), "{text}");
        }
    }
}
