//! What can be proposed. Everything about it is decided where it is applied.

use bytes::Bytes;

use super::node_command::NodeCommand;
use super::policy::Policy;
use super::put_manifest::PutManifest;
use super::robot_command::RobotCommand;
use crate::oci::{Digest, Repository, Tag};

/// A change to the registry. Repeating one finds its work done, unless others changed
/// the same meanwhile: see [`Repeat`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A sealed blob becomes part of a repository and gets a lease.
    LinkBlob {
        /// Where to.
        repository: Repository,
        /// Its digest, checked over the whole stream by the proposer.
        digest: Digest,
        /// Its size.
        size_bytes: u64,
        /// Which file: `next_generation` when the upload was sealed; 0 is fine for inline.
        generation: u64,
        /// CRC32 of each extent; empty when `inline` holds the content.
        extent_checksums: Vec<u32>,
        /// The content itself, up to `INLINE_BLOB_BYTES_MAX`; there is no file then.
        inline: Option<Bytes>,
    },
    /// A blob of another repository becomes part of this one and gets a lease.
    MountBlob {
        /// Where from; `None` takes any repository that has it.
        source: Option<Repository>,
        /// Where to.
        target: Repository,
        /// Its digest.
        digest: Digest,
    },
    /// A blob leaves a repository; the content stays until it is condemned.
    UnlinkBlob {
        /// Where from.
        repository: Repository,
        /// Its digest.
        digest: Digest,
    },
    /// A manifest is stored and its tags move.
    PutManifest(Box<PutManifest>),
    /// A manifest leaves a repository, with every tag on it.
    DeleteManifest {
        /// Where from.
        repository: Repository,
        /// Its digest.
        digest: Digest,
    },
    /// A tag goes, its manifest stays.
    DeleteTag {
        /// Where from.
        repository: Repository,
        /// The tag.
        tag: Tag,
    },
    /// Blobs that clients were told they need not push stay for a while.
    ExtendLeases {
        /// Their digests.
        digests: Vec<Digest>,
    },
    /// A blob reads as absent from here on, unless something needs it.
    Condemn {
        /// Its digest.
        digest: Digest,
        /// The generation that was judged; a newer one is left alone.
        generation: u64,
    },
    /// A node has, or no longer has, the files of blobs.
    Holders {
        /// The node.
        node: u64,
        /// Digests it now has.
        add: Vec<Digest>,
        /// Digests it no longer has.
        remove: Vec<Digest>,
    },
    /// A node cannot read its file of a blob, and asks to take it out of service. Level 2.
    YieldFile {
        /// The node.
        node: u64,
        /// The blob.
        digest: Digest,
        /// Which file; a newer one is left alone.
        generation: u64,
    },
    /// Rules for every repository below a path prefix.
    SetPolicy {
        /// The prefix; `None` sets the rules of the whole registry.
        prefix: Option<Repository>,
        /// The rules; `None` removes them.
        policy: Option<Policy>,
    },
    /// Nothing: shows that entries commit and apply.
    Probe,
    /// A change of the cluster itself.
    Node(NodeCommand),
    /// A change of robots; from `ROBOTS_LEVEL` on.
    Robot(RobotCommand),
    /// A change that takes effect once, however often it is proposed; from `ONCE_LEVEL` on.
    Once {
        /// Which of its proposer's.
        id: ChangeId,
        /// The change; not another one of these.
        command: Box<Self>,
    },
    /// A node of the version after this one was here; see `base::tomorrow`.
    #[cfg(feature = "mutants")]
    Remark {
        /// Its number.
        node: u64,
    },
}

/// Names a change among all that are to take effect once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeId {
    /// The node that proposes it.
    pub node: u64,
    /// Its process, by chance: numbers come again when the clock of a machine goes back
    /// between two of them.
    pub run: u64,
    /// Its number there: grows, also over restarts.
    pub number: u64,
}

/// What may be done when nobody knows whether a change was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// It may be proposed again: twice is as good as once.
    Safe,
    /// It may be proposed again as [`Command::Once`]: a change that came between would
    /// be undone otherwise.
    Once,
    /// Whoever proposed it looks again and decides.
    Never,
}

impl Command {
    /// Whether this change may be proposed again by whoever carries it.
    #[must_use]
    pub const fn repeat(&self) -> Repeat {
        match self {
            Self::ExtendLeases { .. } | Self::Probe => Repeat::Safe,
            Self::LinkBlob { .. }
            | Self::MountBlob { .. }
            | Self::UnlinkBlob { .. }
            | Self::PutManifest(_)
            | Self::DeleteManifest { .. }
            | Self::DeleteTag { .. }
            | Self::SetPolicy { .. }
            | Self::Robot(_) => Repeat::Once,
            Self::Condemn { .. }
            | Self::Holders { .. }
            | Self::YieldFile { .. }
            | Self::Node(_)
            | Self::Once { .. } => Repeat::Never,
            #[cfg(feature = "mutants")]
            Self::Remark { .. } => Repeat::Safe,
        }
    }
}

/// A command and when it was proposed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// Milliseconds since the Unix epoch on the proposer; made monotonic where it is applied.
    pub time_ms: u64,
    /// The change.
    pub command: Command,
}
