//! Users and the hashes of their passwords.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::error::BookError;
use crate::auth::{HashError, PasswordHash};
use crate::base::limits::USERNAME_BYTES_MAX;
use crate::base::random_bytes;
use crate::base::units::{index_of, to_u64};

/// Everybody who has a password here. Not printed.
#[derive(Debug)]
pub(super) struct Users {
    hashes: BTreeMap<Box<str>, PasswordHash>,
    /// Decides whose hash stands in for one that is not there.
    seed: u64,
    /// Stands in where there are no users.
    nobody: PasswordHash,
}

/// What a password is checked against.
#[derive(Debug, Clone)]
pub(super) struct Challenge {
    /// The hash.
    pub(super) hash: PasswordHash,
    /// Whether there is such a user: if not, the check only takes its time.
    pub(super) is_known: bool,
}

impl Users {
    /// Nobody yet.
    pub(super) fn new() -> Result<Self, HashError> {
        Ok(Self {
            hashes: BTreeMap::new(),
            seed: u64::from_le_bytes(random_bytes()),
            nobody: PasswordHash::of("")?,
        })
    }

    /// Adds the lines of `place`: `name:hash`, empty ones and comments passed over.
    ///
    /// - Source: the format of `htpasswd`.
    pub(super) fn add<'a>(
        &mut self,
        place: &str,
        lines: impl Iterator<Item = &'a str>,
    ) -> Result<(), BookError> {
        for (line, entry) in lines.map(str::trim).zip(1..) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let place = place.to_owned();
            let is_name = |name: &str| {
                !name.is_empty()
                    && name.len() <= USERNAME_BYTES_MAX
                    && !name.contains(char::is_control)
            };
            let Some((user, hash)) = line.split_once(':').filter(|(user, _)| is_name(user)) else {
                return Err(BookError::Line { place, entry });
            };
            let user = user.to_owned();
            let hash = match PasswordHash::parse(hash) {
                Ok(hash) => hash,
                Err(source) => {
                    return Err(BookError::Hash {
                        place,
                        user,
                        source,
                    });
                }
            };
            if hash.is_weak() {
                tracing::warn!(
                    user,
                    place,
                    "the password of this user is kept as an md5-crypt hash, which is soon guessed: replace the line by one that `windlass hash-password` makes"
                );
            }
            if self.hashes.insert(user.as_str().into(), hash).is_some() {
                return Err(BookError::Twice { place, user });
            }
        }
        Ok(())
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.hashes.len()
    }

    /// The hash of a user.
    pub(super) fn hash(&self, user: &str) -> Option<&PasswordHash> {
        self.hashes.get(user)
    }

    /// What a password of `user` is checked against. A name that is not there gets the
    /// hash of somebody, always the same one: it takes as long as a name that is.
    pub(super) fn challenge(&self, user: &str) -> Challenge {
        if let Some(hash) = self.hashes.get(user) {
            let (hash, is_known) = (hash.clone(), true);
            return Challenge { hash, is_known };
        }
        let number = xxh3_64_with_seed(user.as_bytes(), self.seed);
        let place = number.checked_rem(to_u64(self.hashes.len())).map(index_of);
        let somebody = place.and_then(|place| self.hashes.values().nth(place));
        Challenge {
            hash: somebody.unwrap_or(&self.nobody).clone(),
            is_known: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$6$saltsalt$g3uPFdehVnKoLXdidvSAg1zlVgYomPr0X/xgdXSBn2LuxZUOGgYW4IULZkguZ77fzYteIur49AGHmF9iek6Sf1";

    fn users(text: &str) -> Result<Users, BookError> {
        let mut users = Users::new().unwrap();
        users.add("users", text.lines()).map(|()| users)
    }

    #[test]
    fn lines_are_names_and_hashes() {
        let users = users(&format!("# ours\n\nbob:{HASH}\n  eve:{HASH}  \n")).unwrap();
        assert_eq!(users.count(), 2);
        let bob = users.challenge("bob");
        assert!(bob.is_known && bob.hash.verify("sesame"));
        assert!(users.hash("eve").is_some() && users.hash("mallory").is_none());
    }

    #[test]
    fn a_name_that_is_not_there_is_checked_against_somebody_always_the_same() {
        let users = users(&format!("bob:{HASH}")).unwrap();
        let nobody = users.challenge("mallory");
        assert!(!nobody.is_known);
        assert_eq!(nobody.hash.as_str(), HASH);
        let empty = Users::new().unwrap();
        assert!(!empty.challenge("mallory").is_known);
    }

    #[test]
    fn what_is_wrong_is_named_without_the_hash() {
        let rows = [
            ("bob".to_owned(), "users, entry 1: not `name:hash`"),
            (format!("\n:{HASH}"), "users, entry 2: not `name:hash`"),
            ("bob:sesame".to_owned(), "users, user `bob`: not a bcrypt"),
            (
                format!("bob:{HASH}\nbob:{HASH}"),
                "users: user `bob` is there twice",
            ),
        ];
        for (text, expected) in rows {
            let error = users(&text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
            assert!(!error.contains("sesame"), "{error}");
        }
    }
}
