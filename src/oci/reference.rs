//! Tags, and references: what may stand behind `manifests/` in a path.

use std::fmt;

use super::digest::{Digest, DigestError};
use crate::base::limits::TAG_BYTES_MAX;

/// A text that does not follow the tag grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("tag does not follow `[a-zA-Z0-9_][a-zA-Z0-9._-]{{0,127}}`")]
pub struct TagError;

/// A tag, valid by construction.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(Box<str>);

impl Tag {
    /// Reads a tag.
    ///
    /// - Source: distribution-spec v1.1, "Pulling manifests", `<reference>`.
    pub fn parse(text: &str) -> Result<Self, TagError> {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let starts_well = text.bytes().next().is_some_and(is_word);
        let is_legal = |byte: u8| is_word(byte) || byte == b'.' || byte == b'-';
        if starts_well && text.len() <= TAG_BYTES_MAX && text.bytes().all(is_legal) {
            Ok(Self(text.into()))
        } else {
            Err(TagError)
        }
    }

    /// The tag as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text names no manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// It holds a colon, so it had to be a digest.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// It holds no colon, so it had to be a tag.
    #[error(transparent)]
    Tag(#[from] TagError),
}

/// Names a manifest: by a tag that moves, or by a digest that does not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reference {
    /// A tag.
    Tag(Tag),
    /// A digest.
    Digest(Digest),
}

impl Reference {
    /// Reads a digest where there is a colon, else a tag; no tag holds a colon.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        if text.contains(':') {
            Ok(Self::Digest(Digest::parse(text)?))
        } else {
            Ok(Self::Tag(Tag::parse(text)?))
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => fmt::Display::fmt(tag, f),
            Self::Digest(digest) => fmt::Display::fmt(digest, f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    #[test]
    fn a_tag_follows_the_grammar() {
        let longest = "a".repeat(128);
        for good in ["latest", "_", "A", "1.2-3_4", "v1..", longest.as_str()] {
            assert_eq!(Tag::parse(good).unwrap().as_str(), good);
        }
        let too_long = "a".repeat(129);
        for bad in [
            "",
            ".a",
            "-a",
            "a:b",
            "a/b",
            "a b",
            "é",
            "a\0",
            too_long.as_str(),
        ] {
            assert_eq!(Tag::parse(bad), Err(TagError), "{bad:?}");
        }
    }

    #[test]
    fn a_colon_makes_a_reference_a_digest() {
        let digest = Digest::of(Algorithm::Sha256, b"x");
        assert_eq!(
            Reference::parse(&digest.to_string()),
            Ok(Reference::Digest(digest))
        );
        assert!(matches!(Reference::parse("v1"), Ok(Reference::Tag(_))));
        let malformed = Err(ReferenceError::Digest(DigestError::Malformed));
        assert_eq!(Reference::parse("sha256:1"), malformed);
        assert_eq!(Reference::parse(""), Err(ReferenceError::Tag(TagError)));
    }
}
