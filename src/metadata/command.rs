//! What can be proposed. Everything about it is decided where it is applied.

use bytes::Bytes;

use super::node_command::NodeCommand;
use super::policy::Policy;
use super::put_manifest::PutManifest;
use super::robot_command::RobotCommand;
use crate::oci::{Digest, Repository, Tag};

/// A change to the registry. Repeating one is safe: the second application
/// finds its work done.
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
}

/// A command and when it was proposed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// Milliseconds since the Unix epoch on the proposer; made monotonic where it is applied.
    pub time_ms: u64,
    /// The change.
    pub command: Command,
}
