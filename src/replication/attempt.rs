//! One attempt at a blob, as the plan speaks of it.

use super::blob_file::BlobFile;

/// Whether somebody waits. Orders as fetches do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Urgency {
    /// A client, or a node that must acknowledge a push.
    OnDemand,
    /// Nobody yet.
    Background,
}

/// A fetch to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) file: BlobFile,
    pub(super) source: u64,
    pub(super) urgency: Urgency,
}

/// A source of a fetch failed, and another one goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Replaced {
    pub(super) source: u64,
    pub(super) how: Ended,
    pub(super) successor: u64,
}

/// How a fetch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// The file is there.
    Sealed,
    /// The source cannot be reached, broke off or is too slow.
    SourceFailed {
        /// Whether it gave something before.
        has_moved: bool,
    },
    /// The source does not have the file.
    SourceLacks {
        /// Whether it gave something before.
        has_moved: bool,
    },
    /// The source was not asked in earnest, or has no time: it may well have the file.
    SourceBusy {
        /// Whether it gave something before.
        has_moved: bool,
    },
    /// The source sent other bytes than the journal knows.
    SourceLied,
    /// This node cannot write.
    LocalFailed,
    /// Nothing came of it, and nobody is to blame.
    GivenUp,
}

impl Ended {
    /// Whether something came before the source failed or had no more.
    pub(super) const fn has_moved(self) -> bool {
        matches!(
            self,
            Self::SourceFailed { has_moved: true }
                | Self::SourceLacks { has_moved: true }
                | Self::SourceBusy { has_moved: true }
        )
    }
}
