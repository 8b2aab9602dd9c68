//! The query of a target: ordered pairs, percent-decoded once.

use std::borrow::Cow;
use std::fmt::Write as _;

use percent_encoding::percent_decode_str;

use super::refusal::Refusal;

/// The pairs of a query, in the order sent.
///
/// `+` means itself, not a space: media types hold it and no name of a registry
/// holds a space.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(Box<str>, Box<str>)>);

impl Query {
    /// Reads what follows the `?`; a pair without `=` has an empty value.
    ///
    /// - Errors: 400 for `%` that two hex digits do not follow, and for what
    ///   does not decode to UTF-8.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let mut pairs = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            pairs.push((decode(name)?, decode(value)?));
        }
        Ok(Self(pairs))
    }

    /// The first value of a name.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values(name).next()
    }

    /// Every value of a name, in order.
    pub fn values<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.pairs()
            .filter(move |(other, _)| *other == name)
            .map(|(_, value)| value)
    }

    /// Every pair, in order.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// True when there is no pair.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn decode(text: &str) -> Result<Box<str>, Refusal> {
    let malformed = Refusal::bad("The query is not percent-encoded UTF-8.");
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        let digits = rest.get(at + 1..at + 3).ok_or(malformed)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(malformed);
        }
        rest = rest.get(at + 3..).unwrap_or_default();
    }
    percent_decode_str(text)
        .decode_utf8()
        .map(Cow::into_owned)
        .map(String::into_boxed_str)
        .map_err(|_| malformed)
}

/// Encodes a value for a query or a path component of a URL this server writes:
/// everything but letters, digits, `-`, `.`, `_` and `~`.
#[must_use]
pub fn encode_component(value: &str) -> String {
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("invariant: a String takes every write");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_keep_their_order_and_decode_once() {
        let query = Query::parse("tag=a&tag=b%2526&digest=sha256%3Aab&x&&t=a+b").unwrap();
        assert_eq!(query.values("tag").collect::<Vec<_>>(), ["a", "b%26"]);
        assert_eq!(query.value("digest"), Some("sha256:ab"));
        assert_eq!(query.value("x"), Some(""));
        assert_eq!(query.value("t"), Some("a+b"));
        assert_eq!(query.value("y"), None);
        assert!(Query::parse("").unwrap().is_empty());
    }

    #[test]
    fn broken_escapes_are_refused() {
        for text in ["a=%", "a=%4", "a=%zz", "%-1=a", "a=%ff", "a=%c3%28"] {
            assert!(Query::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_encoded_decodes_to_itself() {
        let value = "a b&c=d/é%\r\n+~";
        let query = format!("v={}", encode_component(value));
        assert_eq!(Query::parse(&query).unwrap().value("v"), Some(value));
    }
}
