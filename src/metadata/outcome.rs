//! What applying a command decided.

use crate::oci::{Digest, Tag};

/// What was looked for and is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum What {
    /// The repository itself.
    Repository,
    /// A blob in the repository, or anywhere to mount it from.
    Blob,
    /// A manifest in the repository.
    Manifest,
    /// A tag in the repository.
    Tag,
    /// A machine of the cluster.
    Node,
    /// A robot.
    Robot,
}

/// Why rules kept a command from happening.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The tag exists and tags of this repository do not move.
    TagImmutable(Tag),
    /// The tag points at something else than the client expected.
    TagMoved(Tag),
    /// Deletes are switched off for this repository.
    DeletesRefused,
    /// No such join token; or it ended long ago.
    TokenUnknown,
    /// The join token has admitted another machine.
    TokenUsed,
    /// The join token has ended.
    TokenExpired,
    /// So many join tokens wait that none is added.
    TokensExhausted,
    /// The machine is in the cluster, or another one has its number.
    NodeKnown,
    /// The machine was removed; its number never comes back.
    NodeRemoved,
    /// Without this machine nobody would vote.
    LastVoter,
    /// Another machine of the cluster is reached there.
    AddressTaken {
        /// Its number.
        node: u64,
    },
    /// Another robot that has not ended has the name, or one has the number.
    RobotKnown,
    /// So many robots have not ended that none is added.
    RobotsExhausted,
    /// A change that takes effect once came after a later one of its proposer had taken
    /// its place: a copy that was long on its way, or a clock that went back.
    Outdated {
        /// The number in its place.
        newest: u64,
    },
}

/// Why a blob was not condemned, or a file of it not given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kept {
    /// A manifest names it.
    Referenced,
    /// Its lease has not ended.
    Leased,
    /// Another generation is there by now.
    OtherGeneration,
    /// It is not there, or condemned already.
    Absent,
    /// No other node is known to hold it.
    LastHolder,
}

/// The answer to a command. Nothing changed unless the variant says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Done, and there is nothing to tell.
    Applied,
    /// The blob is in the repository with a lease.
    BlobLinked {
        /// The generation that readers use; a proposer whose file has another one removes it.
        generation: u64,
    },
    /// The generation was condemned meanwhile: rename the file and propose again.
    GenerationCondemned {
        /// The generation to rename to.
        next: u64,
    },
    /// The manifest is stored, its tags point at it.
    Stored {
        /// Whether the manifest was not in the repository before.
        is_new: bool,
        /// Whether anything at all changed.
        is_change: bool,
    },
    /// The tag, manifest or link is gone.
    Deleted,
    /// What the command is about does not exist.
    NotFound(What),
    /// The manifest names contents that the repository lacks; or blobs to lease are gone.
    BlobsMissing(Vec<Digest>),
    /// The manifest states sizes that differ from the stored contents.
    SizesDiffer(Vec<Digest>),
    /// A rule kept it from happening.
    Refused(Refusal),
    /// The blob reads as absent; its file of this generation may go.
    Condemned,
    /// The blob stays.
    Kept(Kept),
    /// The machine may start under this number.
    NodeAdmitted {
        /// Its number in raft, for ever.
        node: u64,
    },
}
