//! Logins that were proved a moment ago, so that a client that shows a password with
//! every request does not have it hashed with every request.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use crate::auth::Login;
use crate::base::limits::KEPT_LOGINS_MAX;
use crate::base::random_bytes;

/// After this a password is checked again.
const LOGIN_LIFE: Duration = Duration::from_secs(300);

/// Proved logins of one shard. Owned by that shard, and forgotten when users change.
///
/// Nothing in here gives a password away: what is kept is a hash with a salt that
/// only this process knows.
pub(super) struct Proved {
    salt: [u8; 32],
    ends: HashMap<[u8; 32], Instant>,
}

impl Proved {
    pub(super) fn new() -> Self {
        Self {
            salt: random_bytes(),
            ends: HashMap::new(),
        }
    }

    /// Whether the login was proved and still counts.
    pub(super) fn contains(&self, login: &Login, now: Instant) -> bool {
        let end = self.ends.get(&self.name(login));
        end.is_some_and(|end| now < *end)
    }

    /// Keeps a login that was proved now.
    pub(super) fn keep(&mut self, login: &Login, now: Instant) {
        if self.ends.len() >= KEPT_LOGINS_MAX {
            self.ends.retain(|_, end| now < *end);
        }
        if self.ends.len() >= KEPT_LOGINS_MAX {
            self.ends.clear();
        }
        self.ends.insert(self.name(login), now + LOGIN_LIFE);
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.ends.clear();
    }

    /// Names hold no control characters, so that no two logins are one.
    fn name(&self, login: &Login) -> [u8; 32] {
        let hash = Sha256::new()
            .chain_update(self.salt)
            .chain_update(login.username.as_bytes())
            .chain_update([0])
            .chain_update(login.password.as_bytes());
        hash.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Clock;

    fn login(username: &str, password: &str) -> Login {
        Login::new(username, password).unwrap()
    }

    #[test]
    fn a_login_counts_for_a_while_and_for_itself_only() {
        let now = Clock::hand_moved().now();
        let mut proved = Proved::new();
        proved.keep(&login("bob", "sesame"), now);
        assert!(proved.contains(&login("bob", "sesame"), now));
        assert!(!proved.contains(&login("bob", "sesam"), now));
        assert!(!proved.contains(&login("bobs", "esame"), now));
        assert!(!proved.contains(&login("bob", "sesame"), now + LOGIN_LIFE));
        proved.clear();
        assert!(!proved.contains(&login("bob", "sesame"), now));
    }

    #[test]
    fn the_number_is_bounded() {
        let now = Clock::hand_moved().now();
        let mut proved = Proved::new();
        for number in 0..=2 * KEPT_LOGINS_MAX {
            proved.keep(&login("bob", &number.to_string()), now);
            assert!(proved.ends.len() <= KEPT_LOGINS_MAX);
        }
    }
}
