//! Random identities: request ids and raw random bytes.

use std::fmt;

use super::limits::REQUEST_ID_BYTES_MAX;

/// Fills an array from the kernel's random source.
///
/// - Panics: when the kernel has no random source; nothing works then.
#[must_use]
pub fn random_bytes<const BYTES: usize>() -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).expect("invariant: getrandom works after boot");
    bytes
}

/// Names one request in logs and replies: the client's own id when it is
/// harmless to repeat, else 16 random hex digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(Box<str>);

impl RequestId {
    /// A fresh id.
    #[must_use]
    pub fn random() -> Self {
        Self::of_number(u64::from_be_bytes(random_bytes()))
    }

    /// The id that writes out a number the caller never gives twice.
    #[must_use]
    pub fn of_number(number: u64) -> Self {
        Self(format!("{number:016x}").into())
    }

    /// Takes over a client's id, or makes one when it is absent, too long or
    /// holds anything but letters, digits, `-`, `_` and `.`.
    #[must_use]
    pub fn from_client(value: Option<&str>) -> Self {
        value.and_then(Self::accept).unwrap_or_else(Self::random)
    }

    /// Takes over a client's id when it is harmless to repeat.
    #[must_use]
    pub fn accept(text: &str) -> Option<Self> {
        let is_harmless = !text.is_empty()
            && text.len() <= REQUEST_ID_BYTES_MAX
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        is_harmless.then(|| Self(text.into()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_id_is_kept_only_when_harmless() {
        assert_eq!(
            RequestId::from_client(Some("ab-1.2_C")).as_str(),
            "ab-1.2_C"
        );
        for bad in ["", "a b", "a\"b", &"x".repeat(65)] {
            let id = RequestId::from_client(Some(bad));
            assert_ne!(id.as_str(), bad);
            assert_eq!(id.as_str().len(), 16);
        }
    }
}
