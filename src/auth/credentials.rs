//! The `Authorization` header.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::base::limits::{TOKEN_BYTES_MAX, USERNAME_BYTES_MAX};

/// What a request shows. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials<'a> {
    /// A user name and a password.
    Basic(Login),
    /// A token.
    Bearer(&'a str),
}

/// A user name and a password, as they came. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The name.
    pub username: Box<str>,
    /// The password, or a signed identity in its place.
    pub password: Box<str>,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// A header that shows nothing that can be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the Authorization header is neither Basic nor Bearer, or malformed")]
pub struct CredentialsError;

impl<'a> Credentials<'a> {
    /// Reads the value of the header.
    ///
    /// - Source: RFC 7617; RFC 6750, section 2.1.
    pub fn parse(header: &'a str) -> Result<Self, CredentialsError> {
        let (scheme, value) = header.split_once(' ').ok_or(CredentialsError)?;
        let value = value.trim_matches(' ');
        if scheme.eq_ignore_ascii_case("bearer") && !value.is_empty() {
            Ok(Self::Bearer(value))
        } else if scheme.eq_ignore_ascii_case("basic") {
            Login::parse(value).map(Self::Basic)
        } else {
            Err(CredentialsError)
        }
    }
}

impl Login {
    /// A login from its parts.
    ///
    /// - Errors: an empty name, control characters, or more bytes than are looked at.
    pub fn new(username: &str, password: &str) -> Result<Self, CredentialsError> {
        let is_sound = !username.is_empty()
            && username.len() <= USERNAME_BYTES_MAX
            && password.len() <= TOKEN_BYTES_MAX
            && !username.contains(|character: char| character.is_control())
            && !password.contains('\0');
        if !is_sound {
            return Err(CredentialsError);
        }
        Ok(Self {
            username: username.into(),
            password: password.into(),
        })
    }

    fn parse(value: &str) -> Result<Self, CredentialsError> {
        let bytes = STANDARD.decode(value).map_err(|_| CredentialsError)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| CredentialsError)?;
        let (username, password) = text.split_once(':').ok_or(CredentialsError)?;
        Self::new(username, password)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn basic(text: &str) -> String {
        format!("Basic {}", STANDARD.encode(text))
    }

    fn login(header: &str) -> Option<(Box<str>, Box<str>)> {
        match Credentials::parse(header) {
            Ok(Credentials::Basic(login)) => Some((login.username, login.password)),
            _ => None,
        }
    }

    #[test]
    fn names_and_passwords_are_read() {
        let expected = |name: &str, password: &str| Some((name.into(), password.into()));
        assert_eq!(login(&basic("bob:se:same")), expected("bob", "se:same"));
        assert_eq!(login(&basic("bob:")), expected("bob", ""));
        assert_eq!(login(&basic("bób:päss")), expected("bób", "päss"));
        assert_eq!(login("bAsIc Ym9iOng="), expected("bob", "x"));
        assert!(matches!(
            Credentials::parse("bearer a.b.c"),
            Ok(Credentials::Bearer("a.b.c"))
        ));
    }

    #[test]
    fn what_is_malformed_is_refused() {
        let long = "x".repeat(20_000);
        for header in [
            String::new(),
            "Basic".to_owned(),
            "Basic ".to_owned(),
            "Basic !".to_owned(),
            "Basic Ym9iOng".to_owned(),
            "Bearer".to_owned(),
            "Bearer ".to_owned(),
            "Digest a".to_owned(),
            basic("bob"),
            basic(":x"),
            basic("b\nb:x"),
            basic("bob:a\0b"),
            basic(&format!("{long}:x")),
            basic(&format!("bob:{long}")),
            format!("Basic {}", STANDARD.encode(b"bob:\xff")),
        ] {
            assert!(Credentials::parse(&header).is_err(), "{header}");
        }
    }

    #[test]
    fn a_password_is_not_printed() {
        let login = Login::new("bob", "sesame").unwrap();
        assert!(!format!("{login:?}").contains("sesame"));
    }

    proptest! {
        #[test]
        fn any_header_is_answered(text in ".*", value in "[A-Za-z0-9+/=]{0,60}") {
            drop(Credentials::parse(&text));
            drop(Credentials::parse(&format!("Basic {value}")));
        }

        #[test]
        fn what_a_client_encodes_is_read(username in "[^:\\p{Cc}]{1,40}", password in "[^\0]{0,40}") {
            let header = basic(&format!("{username}:{password}"));
            prop_assert_eq!(login(&header), Some((username.into(), password.into())));
        }
    }
}
