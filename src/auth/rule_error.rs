//! Why a rule cannot be read.

use std::fmt;

/// Below this likeness a suggestion confuses more than it helps.
const LIKENESS_RATIOS_MIN: f64 = 0.6;

/// A rule that cannot be read: which one, where in it, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleError {
    /// Which rule, from 1.
    pub rule: usize,
    /// Keys that lead to the place.
    pub place: String,
    /// What is wrong there.
    pub fault: RuleFault,
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {}", self.rule)?;
        if !self.place.is_empty() {
            write!(f, ", `{}`", self.place)?;
        }
        write!(f, ": {}", self.fault)
    }
}

impl std::error::Error for RuleError {}

/// What is wrong at one place of a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleFault {
    /// A key or an action that does not exist.
    #[error("unknown {what} `{word}`{}", meant(.suggestion.as_ref()))]
    Unknown {
        /// "key" or "action".
        what: &'static str,
        /// As written.
        word: String,
        /// The nearest that exists.
        suggestion: Option<&'static str>,
    },
    /// A value of the wrong type, or the wrong number of keys.
    #[error("expected {0}")]
    Expected(&'static str),
    /// A key that must be there.
    #[error("key `{0}` is missing")]
    Missing(&'static str),
    /// A regular expression, a pattern or a path that cannot be read.
    #[error("{0}")]
    Pattern(String),
    /// Matchers inside matchers without end.
    #[error("nested too deeply")]
    Depth,
}

fn meant(suggestion: Option<&&'static str>) -> String {
    suggestion.map_or_else(String::new, |word| format!(", did you mean `{word}`?"))
}

/// The word among `known` that looks most like `word`.
pub(super) fn nearest(word: &str, known: &[&'static str]) -> Option<&'static str> {
    known
        .iter()
        .map(|each| (strsim::normalized_damerau_levenshtein(word, each), *each))
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .filter(|(ratio, _)| *ratio >= LIKENESS_RATIOS_MIN)
        .map(|(_, each)| each)
}
