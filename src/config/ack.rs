//! How many copies a push waits for, for all repositories and for some.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::oci::Repository;

/// On how many nodes a blob is durable before it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AckLevel {
    /// On the node that took it.
    One,
    /// On more than half of the voters.
    Quorum,
    /// On every voter.
    All,
}

/// A level for the repositories under a prefix, written `ci/cache=one`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AckPrefix {
    /// Whole components at the beginning of the name, or the whole name.
    pub prefix: Repository,
    /// The level there.
    pub level: AckLevel,
}

/// Why a text is no level for a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a level for a prefix is written `ci/cache=one`, `…=quorum` or `…=all`")]
pub struct AckPrefixError;

impl fmt::Display for AckLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::One => "one",
            Self::Quorum => "quorum",
            Self::All => "all",
        })
    }
}

impl fmt::Display for AckPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.prefix, self.level)
    }
}

impl FromStr for AckPrefix {
    type Err = AckPrefixError;

    fn from_str(text: &str) -> Result<Self, AckPrefixError> {
        let (prefix, level) = text.split_once('=').ok_or(AckPrefixError)?;
        let levels = [AckLevel::One, AckLevel::Quorum, AckLevel::All];
        let level = levels.into_iter().find(|each| each.to_string() == level);
        Ok(Self {
            prefix: Repository::parse(prefix).map_err(|_| AckPrefixError)?,
            level: level.ok_or(AckPrefixError)?,
        })
    }
}

impl Serialize for AckPrefix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AckPrefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_for_a_prefix_reads_back_and_everything_else_is_refused() {
        for text in ["ci=one", "ci/cache=quorum", "release/app=all"] {
            let read = text.parse::<AckPrefix>();
            assert_eq!(read.map(|rule| rule.to_string()), Ok(text.to_owned()));
        }
        for bad in [
            "",
            "ci",
            "ci=",
            "ci=two",
            "=one",
            "CI=one",
            "ci/=one",
            "ci=one=all",
        ] {
            assert_eq!(bad.parse::<AckPrefix>(), Err(AckPrefixError), "{bad}");
        }
    }
}
