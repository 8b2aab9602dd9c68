//! Why a use case did not happen, told apart as far as callers answer apart.

use crate::oci::{Digest, ManifestError, Tag};

/// The outcome of a registry use case that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The repository holds nothing and never did.
    #[error("repository is not known")]
    NameUnknown,
    /// The blob is not linked to the repository.
    #[error("blob is not in this repository")]
    BlobUnknown {
        /// What was asked for.
        digest: Digest,
    },
    /// No manifest has this tag or digest in the repository.
    #[error("manifest is not in this repository")]
    ManifestUnknown,
    /// The upload session does not exist, or not under this repository.
    #[error("upload session is not known")]
    UploadUnknown,
    /// Another request is writing to the session.
    #[error("another request is writing to this upload session")]
    UploadBusy,
    /// A chunk does not start where the session ends.
    #[error("the session holds {held_bytes} bytes, the chunk starts elsewhere")]
    OutOfOrder {
        /// Bytes the session holds.
        held_bytes: u64,
    },
    /// The content does not have the digest the client declared.
    #[error("content does not match the declared digest")]
    DigestMismatch {
        /// What the bytes have.
        actual: Digest,
    },
    /// The blob is larger than any blob may be.
    #[error("blob is larger than {bytes_max} bytes")]
    BlobTooLarge {
        /// The bound.
        bytes_max: u64,
    },
    /// The manifest breaks a rule of its format.
    #[error(transparent)]
    ManifestInvalid(#[from] ManifestError),
    /// The manifest names content that the repository does not hold.
    #[error("manifest names content that is not in this repository")]
    ContentMissing {
        /// Every missing descriptor.
        digests: Vec<Digest>,
    },
    /// The manifest states sizes that the stored contents do not have.
    #[error("the manifest states another size than the stored content has")]
    SizesDiffer {
        /// The descriptors in question.
        digests: Vec<Digest>,
    },
    /// A tag may not move.
    #[error("tag {tag} may not be moved in this repository")]
    TagFixed {
        /// The tag.
        tag: Tag,
    },
    /// A tag exists, and who pushes may make tags only.
    #[error("tag {tag} exists, and moving it needs the right to")]
    TagTaken {
        /// The tag.
        tag: Tag,
    },
    /// The operator switched deletes off.
    #[error("deletes are switched off on this registry")]
    DeleteDisabled,
    /// The disk is past its hard mark.
    #[error("the disk is full: {free_bytes} bytes are left")]
    DiskFull {
        /// Bytes left on the data directory's file system.
        free_bytes: u64,
    },
    /// Too many writes wait for the journal.
    #[error("too many writes are waiting, try again")]
    Busy,
    /// The write was held for a leader, and none came yet; it did not happen.
    #[error("the cluster elects a leader, try again")]
    NoLeader,
    /// This node cannot serve the request now; nothing happened.
    #[error("the journal cannot serve this request now, try again")]
    Unavailable,
    /// The write may or may not happen; repeating it is safe.
    #[error("the change was not confirmed in time and may have happened, try again")]
    Undecided,
    /// The machine failed; logged with its cause where it happened.
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error>),
}
