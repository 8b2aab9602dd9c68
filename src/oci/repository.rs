//! Repository names.

use std::fmt;

use crate::base::limits::REPOSITORY_BYTES_MAX;

/// A text that does not follow the name grammar, or is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("repository name does not follow the grammar or is longer than 255 bytes")]
pub struct RepositoryError;

/// A repository name, valid by construction: no NUL, no `//`, no dot segments.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository(Box<str>);

impl Repository {
    /// Reads a name.
    ///
    /// - Source: distribution-spec v1.1, "Pulling manifests", `<name>`.
    pub fn parse(text: &str) -> Result<Self, RepositoryError> {
        if text.len() <= REPOSITORY_BYTES_MAX && text.split('/').all(is_component) {
            Ok(Self(text.into()))
        } else {
            Err(RepositoryError)
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(text: &str) -> bool {
    let is_word = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends_in_words = bytes.first().is_some_and(is_word) && bytes.last().is_some_and(is_word);
    let is_separator = |run: &[u8]| match run {
        b"." | b"_" | b"__" => true,
        _ => run.iter().all(|byte| *byte == b'-'),
    };
    ends_in_words
        && bytes
            .chunk_by(|one, two| is_word(one) == is_word(two))
            .all(|run| run.first().is_some_and(is_word) || is_separator(run))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parse_follows_the_grammar() {
        for good in [
            "a", "0", "a/b", "a.b", "a_b", "a__b", "a-b", "a---b", "x/y/z0", "a.b_c-d",
        ] {
            assert_eq!(Repository::parse(good).unwrap().as_str(), good);
        }
        for bad in [
            "", "/", "a/", "/a", "a//b", "A", "a..b", "a___b", "a._b", "a-", "-a", "a.", ".a",
            "..", "a/../b", "a/./b", "a b", "a%2fb", "a\\b", "a\0b", "é", "a_-b", "a:b", "a\n",
        ] {
            assert_eq!(Repository::parse(bad), Err(RepositoryError), "{bad:?}");
        }
    }

    #[test]
    fn parse_bounds_the_length() {
        assert!(Repository::parse(&"a".repeat(255)).is_ok());
        assert!(Repository::parse(&"a".repeat(256)).is_err());
    }

    proptest! {
        #[test]
        fn every_name_of_the_grammar_is_read(
            name in r"[a-z0-9]{1,4}((\.|_|__|-{1,3})[a-z0-9]{1,3}){0,3}(/[a-z0-9]{1,4}((\.|_|__|-)[a-z0-9]{1,2}){0,2}){0,3}",
        ) {
            prop_assert!(Repository::parse(&name).is_ok());
        }

        #[test]
        fn any_text_is_answered(text in ".*") {
            if let Ok(name) = Repository::parse(&text) {
                prop_assert!(!name.as_str().contains(['\0', '%', ':']));
            }
        }
    }
}
