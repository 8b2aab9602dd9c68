//! What a rule asks of the claims of a signed identity.

use serde_json::Value;
use serde_json_path::JsonPath;

use super::matcher::{Matcher, Seen};

/// What is asked of claims.
#[derive(Debug)]
pub(super) enum Claims {
    /// Of the value at a place. Source: RFC 6901.
    Pointer(Box<str>, Matcher),
    /// Of the values that a path selects; without any, of a missing value.
    /// Source: RFC 9535.
    Path(Box<JsonPath>, Quantifier, Matcher),
    And(Vec<Claims>),
    Or(Vec<Claims>),
    Not(Box<Claims>),
}

/// How many of the selected values must match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quantifier {
    Any,
    All,
}

impl Claims {
    /// Whether the claims do; a caller without claims has every value missing.
    pub(super) fn matches(&self, claims: &Value) -> bool {
        match self {
            Self::Pointer(pointer, matcher) => {
                matcher.matches(claims.pointer(pointer).map_or(Seen::Missing, Seen::Json))
            }
            Self::Path(path, quantifier, matcher) => {
                let selected = path.query(claims).all();
                let mut results = selected
                    .into_iter()
                    .map(|value| matcher.matches(Seen::Json(value)));
                match results.len() {
                    0 => matcher.matches(Seen::Missing),
                    _ if *quantifier == Quantifier::Any => results.any(|matched| matched),
                    _ => results.all(|matched| matched),
                }
            }
            Self::And(all) => all.iter().all(|each| each.matches(claims)),
            Self::Or(any) => any.iter().any(|each| each.matches(claims)),
            Self::Not(other) => !other.matches(claims),
        }
    }
}
