//! The secret of a robot, as text that is recognised at sight.
//!
//! ```text
//! wlr_ 16 hex digits of the id _ 64 hex digits of the secret, 8 of the checksum
//! ```
//! The checksum is the CRC32 of everything in front of it: it tells a secret that was
//! found somewhere, or copied badly, from other text; it protects nothing. Tools that
//! look for leaked secrets find `wlr_[0-9a-f]{16}_[0-9a-f]{72}`.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};

use crate::base::random_bytes;

/// In front of every secret of a robot.
const PREFIX: &str = "wlr_";
/// Bytes of a robot's number.
const ID_BYTES: usize = 8;
/// Bytes of a secret: nobody finds 256 random bits by trying. So a fast hash of it is
/// as good as a slow one, and does not let strangers spend the registry's time.
const SECRET_BYTES: usize = 32;
/// Bytes of the checksum.
const CHECKSUM_BYTES: usize = 4;

/// A robot's number and secret. Not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct RobotToken {
    id: [u8; ID_BYTES],
    secret: [u8; SECRET_BYTES],
}

impl std::fmt::Debug for RobotToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RobotToken").finish_non_exhaustive()
    }
}

impl RobotToken {
    /// A new one.
    #[must_use]
    pub fn random() -> Self {
        Self {
            id: random_bytes(),
            secret: random_bytes(),
        }
    }

    /// Reads one; `None` for every other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (id, rest) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let (secret, checksum) = rest.split_at_checked(2 * SECRET_BYTES)?;
        let token = Self {
            id: unhex(id)?,
            secret: unhex(secret)?,
        };
        let stated = u32::from_be_bytes(unhex::<CHECKSUM_BYTES>(checksum)?);
        let body = text.get(..text.len().checked_sub(checksum.len())?)?;
        (crc32fast::hash(body.as_bytes()) == stated).then_some(token)
    }

    /// The text, to be shown once.
    #[must_use]
    pub fn reveal(&self) -> String {
        let mut text = format!("{PREFIX}{}_{}", hex(&self.id), hex(&self.secret));
        let checksum = crc32fast::hash(text.as_bytes());
        text.push_str(&hex(&checksum.to_be_bytes()));
        text
    }

    /// The robot's number, which is no secret.
    #[must_use]
    pub const fn id(&self) -> [u8; ID_BYTES] {
        self.id
    }

    /// What is kept of the secret.
    #[must_use]
    pub fn hash(&self) -> [u8; SECRET_BYTES] {
        let hash = digest(&SHA256, &self.secret);
        let mut bytes = [0; SECRET_BYTES];
        bytes.copy_from_slice(hash.as_ref());
        bytes
    }

    /// Whether this is what was kept, in a time that says nothing about how much of it
    /// is. Without a robot the same is done in vain.
    #[must_use]
    pub fn is_of(&self, kept: Option<&[u8; SECRET_BYTES]>) -> bool {
        let hash = self.hash();
        let is_same = verify_slices_are_equal(&hash, kept.unwrap_or(&[0; SECRET_BYTES])).is_ok();
        is_same && kept.is_some()
    }
}

/// A robot's number as people see it.
#[must_use]
pub fn robot_id_text(id: [u8; ID_BYTES]) -> String {
    hex(&id)
}

/// Reads a robot's number.
#[must_use]
pub fn parse_robot_id(text: &str) -> Option<[u8; ID_BYTES]> {
    unhex(text)
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16);
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(digit).collect()
}

/// Reads exactly so many bytes in small hex digits.
fn unhex<const BYTES: usize>(text: &str) -> Option<[u8; BYTES]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; BYTES];
    if text.len() != 2 * BYTES {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_secret_reads_back_and_has_the_form_that_is_looked_for() {
        let token = RobotToken::random();
        let text = token.reveal();
        assert_eq!(RobotToken::parse(&text), Some(token.clone()));
        let form = regex::Regex::new("^wlr_[0-9a-f]{16}_[0-9a-f]{72}$").unwrap();
        assert!(form.is_match(&text), "{text}");
        assert_ne!(RobotToken::random(), token);
        assert!(!format!("{token:?}").contains(&robot_id_text(token.id())));
    }

    #[test]
    fn every_changed_letter_is_noticed() {
        let text = RobotToken::random().reveal();
        for at in 0..text.len() {
            for other in ["0", "f", "F", "_", "g", "é"] {
                let mut changed = text.clone();
                changed.replace_range(at..=at, other);
                let is_same = changed == text;
                assert_eq!(RobotToken::parse(&changed).is_some(), is_same, "{changed}");
            }
            assert_eq!(RobotToken::parse(text.get(..at).unwrap()), None);
        }
        assert_eq!(RobotToken::parse(&format!("{text}0")), None);
    }

    #[test]
    fn only_its_own_hash_is_a_secrets() {
        let (token, other) = (RobotToken::random(), RobotToken::random());
        assert!(token.is_of(Some(&token.hash())));
        assert!(!token.is_of(Some(&other.hash())));
        assert!(!token.is_of(None));
    }

    #[test]
    fn a_number_reads_back() {
        let id = RobotToken::random().id();
        assert_eq!(parse_robot_id(&robot_id_text(id)), Some(id));
        assert_eq!(parse_robot_id("ci"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in ".*", tail in "[0-9a-f_]{0,100}") {
            drop(RobotToken::parse(&text));
            drop(RobotToken::parse(&format!("wlr_{tail}")));
        }
    }
}
