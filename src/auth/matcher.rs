//! Matchers: what a part of a rule asks of one value.

use std::cmp::Ordering;
use std::net::IpAddr;

use globset::GlobMatcher;
use ipnet::IpNet;
use regex::Regex;
use serde_json::{Number, Value};

/// A value as a matcher sees it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Seen<'a> {
    /// There is none.
    Missing,
    /// A name.
    Text(&'a str),
    /// The address of a client.
    Address(IpAddr),
    /// A claim.
    Json(&'a Value),
}

/// What is asked of a value.
#[derive(Debug)]
pub(super) enum Matcher {
    /// A single question; no answer of a missing value.
    Leaf(Leaf),
    /// Whether there is a value.
    Exists(bool),
    And(Vec<Matcher>),
    Or(Vec<Matcher>),
    Not(Box<Matcher>),
}

/// One question about a value that is there.
#[derive(Debug)]
pub(super) enum Leaf {
    /// The exact text; where it reads as an address or a network, addresses in it, too.
    Exact(Box<str>, Option<IpNet>),
    Starts(Box<str>),
    Ends(Box<str>),
    /// Searched, not anchored.
    Regex(Regex),
    /// The whole text; `*` stops at a slash, `**` does not.
    Glob(GlobMatcher),
    /// The same number; never a text that looks like it.
    Equals(Number),
    Greater(Number),
    Less(Number),
    Boolean(bool),
}

impl Matcher {
    /// Whether the value does.
    pub(super) fn matches(&self, seen: Seen<'_>) -> bool {
        match self {
            Self::Leaf(leaf) => leaf.matches(seen),
            Self::Exists(exists) => *exists != matches!(seen, Seen::Missing),
            Self::And(all) => all.iter().all(|each| each.matches(seen)),
            Self::Or(any) => any.iter().any(|each| each.matches(seen)),
            Self::Not(other) => !other.matches(seen),
        }
    }
}

impl Leaf {
    /// An exact text, which may be an address or a network.
    pub(super) fn exact(text: &str) -> Self {
        let network = text.parse().ok();
        let address = || {
            text.parse::<IpAddr>()
                .ok()
                .map(|one| IpNet::from(canonical(one)))
        };
        Self::Exact(text.into(), network.or_else(address))
    }

    fn matches(&self, seen: Seen<'_>) -> bool {
        match seen {
            Seen::Text(text) => self.matches_text(text),
            Seen::Json(Value::String(text)) => self.matches_text(text),
            Seen::Json(Value::Number(number)) => self.matches_number(number),
            Seen::Json(Value::Bool(value)) => matches!(self, Self::Boolean(own) if own == value),
            Seen::Missing | Seen::Json(Value::Null | Value::Array(_) | Value::Object(_)) => false,
            Seen::Address(address) => self.matches_address(canonical(address)),
        }
    }

    fn matches_text(&self, text: &str) -> bool {
        match self {
            Self::Exact(own, _) => **own == *text,
            Self::Starts(own) => text.starts_with(&**own),
            Self::Ends(own) => text.ends_with(&**own),
            Self::Regex(regex) => regex.is_match(text),
            Self::Glob(glob) => glob.is_match(text),
            Self::Equals(_) | Self::Greater(_) | Self::Less(_) | Self::Boolean(_) => false,
        }
    }

    fn matches_address(&self, address: IpAddr) -> bool {
        match self {
            Self::Exact(_, Some(network)) => network.contains(&address),
            _ => self.matches_text(&address.to_string()),
        }
    }

    fn matches_number(&self, number: &Number) -> bool {
        let (own, wanted) = match self {
            Self::Equals(own) => (own, Ordering::Equal),
            Self::Greater(own) => (own, Ordering::Greater),
            Self::Less(own) => (own, Ordering::Less),
            _ => return false,
        };
        compare(number, own) == Some(wanted)
    }
}

/// Whole numbers compare exactly, others as floating-point numbers.
fn compare(left: &Number, right: &Number) -> Option<Ordering> {
    let whole = |number: &Number| -> Option<i128> {
        let signed = number.as_i64().map(i128::from);
        signed.or_else(|| number.as_u64().map(i128::from))
    };
    match (whole(left), whole(right)) {
        (Some(left), Some(right)) => Some(left.cmp(&right)),
        _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
    }
}

/// An IPv4 address that came through an IPv6 socket is the IPv4 address.
fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}
