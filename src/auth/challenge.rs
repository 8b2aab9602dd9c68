//! What a caller without sufficient credentials is told.

use super::scope::Scope;

/// Where tokens for this registry come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSource {
    /// URL of the token endpoint.
    pub realm: Box<str>,
    /// Name of this registry there.
    pub service: Box<str>,
}

/// What is wrong with the credentials of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// There are none.
    Missing,
    /// They are malformed, expired, revoked or of somebody else.
    Invalid,
    /// They are good, and do not allow this.
    Insufficient,
}

impl Fault {
    /// The `error` of the challenge: none for a request that showed no credentials.
    ///
    /// - Source: RFC 6750, section 3.1.
    const fn error(self) -> Option<&'static str> {
        match self {
            Self::Missing => None,
            Self::Invalid => Some("invalid_token"),
            Self::Insufficient => Some("insufficient_scope"),
        }
    }
}

impl TokenSource {
    /// The value of `WWW-Authenticate` that says what token would do.
    ///
    /// - Source: distribution, "Token Authentication Specification"; RFC 6750, section 3.
    #[must_use]
    pub fn challenge(&self, scopes: &[Scope], fault: Fault) -> String {
        let (realm, service) = (quoted(&self.realm), quoted(&self.service));
        let mut challenge = format!("Bearer realm={realm},service={service}");
        if !scopes.is_empty() {
            let scopes: Vec<_> = scopes.iter().map(Scope::to_string).collect();
            challenge.push_str(",scope=");
            challenge.push_str(&quoted(&scopes.join(" ")));
        }
        if let Some(error) = fault.error() {
            challenge.push_str(",error=");
            challenge.push_str(&quoted(error));
        }
        challenge
    }
}

/// A quoted string. Source: RFC 9110, section 5.6.4.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Actions;

    fn source() -> TokenSource {
        TokenSource {
            realm: "https://auth.example.org/token".into(),
            service: "registry \"one\"".into(),
        }
    }

    #[test]
    fn the_challenge_names_what_would_do() {
        let scope = Scope::repository("a/b", Actions::PULL | Actions::PUSH);
        let base = r#"Bearer realm="https://auth.example.org/token",service="registry \"one\"""#;
        let rows = [
            (Fault::Missing, ""),
            (Fault::Invalid, r#",error="invalid_token""#),
            (Fault::Insufficient, r#",error="insufficient_scope""#),
        ];
        for (fault, error) in rows {
            let expected = format!(r#"{base},scope="repository:a/b:pull,push"{error}"#);
            assert_eq!(
                source().challenge(std::slice::from_ref(&scope), fault),
                expected
            );
        }
        assert_eq!(source().challenge(&[], Fault::Missing), base);
    }

    #[test]
    fn two_scopes_are_one_parameter() {
        let scopes = [Scope::repository("a", Actions::PULL), Scope::catalog()];
        let challenge = source().challenge(&scopes, Fault::Missing);
        assert!(challenge.ends_with(r#",scope="repository:a:pull registry:catalog:*""#));
    }
}
