//! The one-time token that admits a node.
//!
//! ```text
//! wl1-<secret, 43 characters of base64url>-<fingerprint of the authority, 64 hex>
//! ```
//! The secret proves the node to the cluster, once; the fingerprint proves the cluster
//! to the node, before the secret is sent.

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::certificate::Fingerprint;
use crate::base::random_bytes;

const PREFIX: &str = "wl1-";
const SECRET_BYTES: usize = 32;
/// 32 bytes are 42 characters and four bits of one more.
const SECRET_CHARACTERS: usize = 43;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const HASH_DOMAIN: &[u8] = b"windlass join token 1\0";

/// Admits one node to one cluster. Shown to the operator once, and not printed
/// otherwise; the cluster keeps its [`JoinToken::hash`] only.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    secret: [u8; SECRET_BYTES],
    authority: Fingerprint,
}

/// A text that is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JoinTokenError {
    /// It does not begin like a token, or like one of a newer version.
    #[error("a join token begins with `{PREFIX}`")]
    Prefix,
    /// Characters are missing, or there are too many.
    #[error("the join token is cut off, or something follows it")]
    Length,
    /// The middle part is damaged.
    #[error("the secret of the join token is damaged")]
    Secret,
    /// The last part is damaged.
    #[error("the fingerprint of the join token is damaged")]
    Fingerprint,
}

impl JoinToken {
    /// A new token for the cluster of this authority.
    #[must_use]
    pub fn random(authority: Fingerprint) -> Self {
        Self {
            secret: random_bytes(),
            authority,
        }
    }

    /// Reads the one textual form; whether it still admits anybody is the cluster's
    /// to say.
    pub fn parse(text: &str) -> Result<Self, JoinTokenError> {
        let rest = text.strip_prefix(PREFIX).ok_or(JoinTokenError::Prefix)?;
        let split = rest.split_at_checked(SECRET_CHARACTERS);
        let (secret, rest) = split.ok_or(JoinTokenError::Length)?;
        let fingerprint = rest.strip_prefix('-').ok_or(JoinTokenError::Length)?;
        if fingerprint.len() != Fingerprint::DIGITS {
            return Err(JoinTokenError::Length);
        }
        Ok(Self {
            secret: decode(secret).ok_or(JoinTokenError::Secret)?,
            authority: Fingerprint::parse(fingerprint).ok_or(JoinTokenError::Fingerprint)?,
        })
    }

    /// What the joining node sends, on a connection to the right cluster.
    #[must_use]
    pub const fn secret(&self) -> &[u8; SECRET_BYTES] {
        &self.secret
    }

    /// The authority of the right cluster.
    #[must_use]
    pub const fn authority(&self) -> Fingerprint {
        self.authority
    }

    /// What the cluster keeps of a token, from its secret.
    #[must_use]
    pub fn hash(secret: &[u8; SECRET_BYTES]) -> [u8; 32] {
        let hasher = Sha256::new().chain_update(HASH_DOMAIN);
        hasher.chain_update(secret).finalize().into()
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}-{}", encode(&self.secret), self.authority)
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken")
            .field("authority", &self.authority)
            .finish_non_exhaustive()
    }
}

fn encode(secret: &[u8; SECRET_BYTES]) -> String {
    let bit = |place: usize| {
        let byte = secret.get(place / 8).copied().unwrap_or_default();
        usize::from(byte >> (7 - place % 8) & 1)
    };
    let character = |index: usize| {
        let sextet = (0..6).fold(0, |bits, place| bits << 1 | bit(index * 6 + place));
        char::from(ALPHABET.get(sextet).copied().unwrap_or_default())
    };
    (0..SECRET_CHARACTERS).map(character).collect()
}

fn decode(text: &str) -> Option<[u8; SECRET_BYTES]> {
    let mut secret = [0; SECRET_BYTES];
    for (index, character) in text.bytes().enumerate() {
        let sextet = ALPHABET.iter().position(|each| *each == character)?;
        for place in 0..6 {
            let bit = u8::from(sextet >> (5 - place) & 1 == 1);
            let place = index * 6 + place;
            match secret.get_mut(place / 8) {
                Some(byte) => *byte |= bit << (7 - place % 8),
                // The bits behind the last byte are zero, so that a secret has one text.
                None if bit == 0 => {}
                None => return None,
            }
        }
    }
    Some(secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn token(secret: [u8; 32]) -> JoinToken {
        let authority = Fingerprint::of(b"authority");
        JoinToken { secret, authority }
    }

    #[test]
    fn a_token_is_what_the_drawing_says_and_damage_has_a_place() {
        // base64url of 0, 1, … 31, from RFC 4648.
        let text = token(std::array::from_fn(|at| u8::try_from(at).unwrap())).to_string();
        assert!(text.starts_with("wl1-AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8-"));
        assert_eq!(text.len(), 4 + 43 + 1 + 64);
        let at = |place: usize, with: &str| {
            let mut text = text.clone();
            text.replace_range(place..=place, with);
            JoinToken::parse(&text).unwrap_err()
        };
        assert_eq!(at(2, "2"), JoinTokenError::Prefix);
        assert_eq!(at(4, "+"), JoinTokenError::Secret);
        // The last character holds two bits that mean nothing.
        assert_eq!(at(46, "9"), JoinTokenError::Secret);
        assert_eq!(at(47, "_"), JoinTokenError::Length);
        assert_eq!(at(48, "G"), JoinTokenError::Fingerprint);
        assert_eq!(at(48, "é"), JoinTokenError::Length);
        for end in 0..text.len() {
            assert!(JoinToken::parse(text.get(..end).unwrap()).is_err());
        }
        assert!(JoinToken::parse(&format!("{text}0")).is_err());
        assert!(JoinToken::parse(&format!("{text}\n")).is_err());
    }

    #[test]
    fn a_token_is_not_printed_by_accident_and_its_hash_is_its_own() {
        let token = JoinToken::random(Fingerprint::of(b"authority"));
        assert!(!format!("{token:?}").contains(&encode(&token.secret)));
        let hash = JoinToken::hash(token.secret());
        assert_ne!(hash, JoinToken::hash(&[0; 32]));
        assert_ne!(&hash, token.secret());
    }

    proptest! {
        #[test]
        fn any_token_reads_back(secret: [u8; 32]) {
            let token = token(secret);
            prop_assert_eq!(JoinToken::parse(&token.to_string()), Ok(token));
        }

        #[test]
        fn any_text_is_answered(text in "(wl1-)?.{0,120}") {
            let _ = JoinToken::parse(&text);
        }
    }
}
