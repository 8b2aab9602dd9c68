//! The version after this one, so that tests can upgrade a cluster to it.
//!
//! It exists in builds with the feature `mutants` only, which `tests/run` makes for tests
//! and nobody ships. There the variable `TOMORROW` has a process play it; without the
//! variable the same program is today's version, and knows nothing of the other one.
//! Beside what today's version has, tomorrow's has one of each thing that a version may
//! add:
//! * formats of one more level: `Command::Remark`, which it proposes once for itself as
//!   soon as the level of the cluster allows it, and the record that this writes;
//! * a report of one more version: how many remarks there are;
//! * a service and a question about the cluster, on which it tries every other node again
//!   and again, and which today's version refuses.
//!
//! `TOMORROW=hasty` does not wait for the level: a version that breaks the rule.
//!
//! In every other build [`is_on`] is a constant `false`, and nothing is left of the branches
//! that ask it.

/// Whether this process plays the next version.
#[cfg(feature = "mutants")]
#[must_use]
pub fn is_on() -> bool {
    chosen().is_some()
}

/// Whether it writes what the level of the cluster does not allow.
#[cfg(feature = "mutants")]
#[must_use]
pub fn is_hasty() -> bool {
    chosen() == Some("hasty")
}

#[cfg(feature = "mutants")]
fn chosen() -> Option<&'static str> {
    static CHOSEN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let chosen = CHOSEN.get_or_init(|| std::env::var("TOMORROW").ok());
    chosen.as_deref()
}

/// Whether this process plays the next version: never.
#[cfg(not(feature = "mutants"))]
#[must_use]
#[inline]
pub const fn is_on() -> bool {
    false
}
