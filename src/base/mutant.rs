//! Deliberate bugs, so that the tests of the promises are tested themselves.
//!
//! They exist in builds with the feature `mutants` only, which `tests/run` makes for
//! this and nobody ships; there the variable `MUTANT` names the one that is on. In
//! every other build [`Mutant::is_on`] is a constant `false`, and nothing is left of
//! the branches that ask it.

/// One deliberate bug. The place that has it asks [`Mutant::is_on`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// `acknowledge-before-sync`: the journal answers before its records are synced.
    AcknowledgeBeforeSync,
    /// `skip-directory-sync`: a renamed blob's directory is not synced.
    SkipDirectorySync,
    /// `deny-on-local-miss`: what is not in the local state is answered 404 unasked.
    DenyOnLocalMiss,
    /// `tag-without-read-index`: a tag is read from the local state as it is.
    TagWithoutReadIndex,
    /// `reuse-wiped-identity`: a node that lost its journal starts under its number.
    ReuseWipedIdentity,
    /// `trust-old-state`: what is named by digest is served however old the state is.
    TrustOldState,
    /// `delete-without-barrier`: a delete is answered when it is committed.
    DeleteWithoutBarrier,
}

impl Mutant {
    /// Whether this bug is on.
    #[cfg(feature = "mutants")]
    #[must_use]
    pub fn is_on(self) -> bool {
        static CHOSEN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
        let chosen = CHOSEN.get_or_init(|| std::env::var("MUTANT").ok());
        let name = match self {
            Self::AcknowledgeBeforeSync => "acknowledge-before-sync",
            Self::SkipDirectorySync => "skip-directory-sync",
            Self::DenyOnLocalMiss => "deny-on-local-miss",
            Self::TagWithoutReadIndex => "tag-without-read-index",
            Self::ReuseWipedIdentity => "reuse-wiped-identity",
            Self::TrustOldState => "trust-old-state",
            Self::DeleteWithoutBarrier => "delete-without-barrier",
        };
        chosen.as_deref() == Some(name)
    }

    /// Whether this bug is on: never.
    #[cfg(not(feature = "mutants"))]
    #[must_use]
    #[inline]
    #[expect(clippy::unused_self, reason = "the same call in every build")]
    pub const fn is_on(self) -> bool {
        false
    }
}
