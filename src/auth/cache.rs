//! Tokens that were verified a moment ago.

use std::collections::HashMap;
use std::rc::Rc;

use xxhash_rust::xxh3::Xxh3Builder;

use serde_json::{Map, Value};

use super::scope::{Resource, Scope};
use super::token::Verified;
use crate::base::limits::{KEPT_TOKEN_BYTES_MAX, KEPT_TOKENS_MAX};
use crate::base::random_bytes;

/// Bytes that a value, an entry of a table or a scope takes beside its text, about.
const ENTRY_BYTES: usize = 96;

/// Verified tokens of one shard, by their whole text. Owned by that shard.
///
/// Two halves: when the young one is full the old one goes, and what is asked for in
/// the old one becomes young again. So the bound holds at no cost, and tokens in use
/// stay.
#[derive(Debug)]
pub struct TokenCache {
    young: Half,
    old: Half,
}

#[derive(Debug)]
struct Half {
    /// Seeded: whoever gets tokens made cannot choose them to collide.
    tokens: HashMap<Box<str>, Rc<Verified>, Xxh3Builder>,
    bytes: usize,
}

impl Half {
    fn new(seed: u64) -> Self {
        Self {
            tokens: HashMap::with_hasher(Xxh3Builder::new().with_seed(seed)),
            bytes: 0,
        }
    }
}

impl Default for TokenCache {
    fn default() -> Self {
        let seed = u64::from_le_bytes(random_bytes());
        Self {
            young: Half::new(seed),
            old: Half::new(seed),
        }
    }
}

impl TokenCache {
    /// What `token` says, if it is known and has not ended at `now_seconds`.
    pub fn find(&mut self, token: &str, now_seconds: u64) -> Option<Rc<Verified>> {
        let holds = |verified: &&Rc<Verified>| now_seconds < verified.expires_seconds;
        if let Some(verified) = self.young.tokens.get(token) {
            return Some(verified).filter(holds).cloned();
        }
        let (token, verified) = self.old.tokens.remove_entry(token)?;
        let bytes = kept_bytes(&token, &verified);
        self.old.bytes = self.old.bytes.saturating_sub(bytes);
        let verified = Some(&verified).filter(holds).cloned()?;
        self.put(token, Rc::clone(&verified));
        Some(verified)
    }

    /// Keeps what a token says.
    pub fn keep(&mut self, token: &str, verified: Rc<Verified>) {
        self.put(token.into(), verified);
    }

    /// Forgets everything: the keys have changed.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn put(&mut self, token: Box<str>, verified: Rc<Verified>) {
        let bytes = kept_bytes(&token, &verified);
        let is_full = self.young.tokens.len() >= KEPT_TOKENS_MAX / 2
            || self.young.bytes + bytes > KEPT_TOKEN_BYTES_MAX / 2;
        if is_full {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.tokens.clear();
            self.young.bytes = 0;
        }
        // Whoever is alone larger than a half is checked anew each time.
        if bytes <= KEPT_TOKEN_BYTES_MAX / 2 {
            self.young.bytes += bytes;
            self.young.tokens.insert(token, verified);
        }
    }
}

/// Memory that a token takes here, with what it says.
fn kept_bytes(token: &str, verified: &Verified) -> usize {
    let of_scope = |scope: &Scope| match &scope.resource {
        Resource::Repository(name) => ENTRY_BYTES + name.len(),
        Resource::Catalog => ENTRY_BYTES,
    };
    let access: usize = verified.access.iter().map(of_scope).sum();
    2 * ENTRY_BYTES + token.len() + access + members_bytes(&verified.claims)
}

fn members_bytes(members: &Map<String, Value>) -> usize {
    let members = members.iter();
    members
        .map(|(name, value)| name.len() + value_bytes(value))
        .sum()
}

/// As deep as tokens are, which are read no deeper than they may be.
fn value_bytes(value: &Value) -> usize {
    ENTRY_BYTES
        + match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
            Value::String(text) => text.len(),
            Value::Array(values) => values.iter().map(value_bytes).sum(),
            Value::Object(members) => members_bytes(members),
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verified(expires_seconds: u64) -> Rc<Verified> {
        Rc::new(Verified {
            subject: None,
            access: Vec::new(),
            expires_seconds,
            claims: Map::new(),
        })
    }

    #[test]
    fn a_token_is_known_until_it_ends() {
        let mut cache = TokenCache::default();
        cache.keep("a", verified(10));
        assert!(cache.find("a", 9).is_some());
        assert!(cache.find("a", 10).is_none());
        assert!(cache.find("b", 9).is_none());
        cache.clear();
        assert!(cache.find("a", 9).is_none());
    }

    #[test]
    fn the_number_and_the_bytes_are_bounded_and_used_tokens_stay() {
        let mut cache = TokenCache::default();
        cache.keep("used", verified(10));
        let count = 10 * KEPT_TOKENS_MAX;
        for number in 0..count {
            cache.keep(&format!("token {number}"), verified(10));
            assert!(cache.find("used", 9).is_some());
            let kept = cache.young.tokens.len() + cache.old.tokens.len();
            assert!(kept <= KEPT_TOKENS_MAX);
        }
        assert!(cache.find(&format!("token {}", count - 1), 9).is_some());
        assert!(cache.find("token 0", 9).is_none());
        for number in 0..100 {
            let long = format!("{number}{}", "x".repeat(KEPT_TOKEN_BYTES_MAX / 8));
            cache.keep(&long, verified(10));
            assert!(cache.young.bytes + cache.old.bytes <= KEPT_TOKEN_BYTES_MAX);
        }
    }

    /// A short text may say much: a list of a thousand empty lists has 3 KB.
    #[test]
    fn what_tokens_say_is_bounded_with_their_text() {
        let mut cache = TokenCache::default();
        let lists = Value::Array(vec![Value::Array(Vec::new()); 1000]);
        let claims: Map<_, _> = [("lists".to_owned(), lists)].into_iter().collect();
        let large = Rc::new(Verified {
            claims,
            ..Rc::unwrap_or_clone(verified(10))
        });
        for number in 0..1000 {
            cache.keep(&number.to_string(), Rc::clone(&large));
            let kept = cache.young.tokens.len() + cache.old.tokens.len();
            assert!(
                kept * 1000 * size_of::<Value>() <= KEPT_TOKEN_BYTES_MAX,
                "{kept}"
            );
        }
        assert!(cache.find("999", 9).is_some());
        // What is found again keeps its weight.
        for number in 0..1000 {
            drop(cache.find(&number.to_string(), 9));
        }
        let bytes = |half: &Half| -> usize {
            let tokens = half.tokens.iter();
            tokens
                .map(|(token, verified)| kept_bytes(token, verified))
                .sum()
        };
        assert_eq!(cache.young.bytes, bytes(&cache.young));
        assert_eq!(cache.old.bytes, bytes(&cache.old));
    }
}
