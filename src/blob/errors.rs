//! What can go wrong with an upload or a read, as far as callers tell it apart.

use std::path::PathBuf;

use crate::base::CodecError;
use crate::disk;
use crate::oci::Digest;
use crate::runtime::Panicked;

/// Why an upload cannot begin, go on, be suspended or aborted.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// No such session under this repository, or not any more.
    #[error("no such upload session")]
    Unknown,
    /// Another request works on the session and does not end.
    #[error("another request works on the upload session")]
    Busy,
    /// This node holds as many sessions as it may.
    #[error("too many upload sessions")]
    TooMany,
    /// More bytes than `BLOB_BYTES_MAX`.
    #[error("a blob of {held_bytes} bytes and more is too large")]
    TooLarge {
        /// Bytes of the session so far.
        held_bytes: u64,
    },
    /// The file system is full; the session stays as it was acknowledged.
    #[error("no space for the bytes of an upload")]
    NoSpace {
        /// What failed.
        source: disk::Error,
    },
    /// A file of the session could not be written; the session stays as it was
    /// acknowledged.
    #[error("write an upload")]
    Disk {
        /// What failed.
        source: disk::Error,
    },
    /// The session's record is not what was written.
    #[error("read back the upload session {}", path.display())]
    Record {
        /// The record.
        path: PathBuf,
        /// What is wrong with it; `None` when it is not there.
        source: Option<CodecError>,
    },
    /// An earlier write of this upload failed, so that it has a hole.
    #[error("an earlier write of the upload failed")]
    Broken {
        /// Because the file system is full.
        is_full: bool,
    },
    /// A task of the upload panicked; the session is what it was when it was resumed.
    #[error("a task of the upload panicked")]
    Panicked {
        /// What the panic said.
        source: Panicked,
    },
    /// The shard that owns the session has ended; so does the process.
    #[error("the node is stopping")]
    Stopping,
}

/// Why an upload cannot be sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The content is not what the client declared. The session is gone.
    #[error("content is {actual}, client declared {declared}")]
    DigestMismatch {
        /// The digest in the request.
        declared: Digest,
        /// The digest of the bytes.
        actual: Digest,
    },
    /// Writing failed; see [`UploadError`] for what is left of the session.
    #[error("write the last bytes of an upload")]
    Upload(#[from] UploadError),
    /// A sync failed: nobody knows what the disk holds, so the session is gone.
    #[error("sync {size_bytes} bytes of an upload")]
    Sync {
        /// Length of the blob.
        size_bytes: u64,
        /// What failed.
        source: disk::Error,
    },
    /// The bytes read back are not those that were written: the machine went down
    /// since, or the disk is bad.
    /// The session is gone.
    #[error("an upload of {size_bytes} bytes reads back differently")]
    ReadBack {
        /// Length of the blob.
        size_bytes: u64,
    },
}

/// Why a blob cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no file of this blob.
    #[error("the file of a blob is missing")]
    Missing,
    /// The file ends before the blob does.
    #[error("the file of a blob of {size_bytes} bytes ends at {file_bytes}")]
    TooShort {
        /// What the metadata says.
        size_bytes: u64,
        /// What the file holds.
        file_bytes: u64,
    },
    /// Reading failed.
    #[error("read a blob")]
    Disk {
        /// What failed.
        source: disk::Error,
    },
}

impl ReadError {
    /// Whether the file is to blame, and reading it again will not help. A machine
    /// without memory or descriptors is no reason to give a good file up.
    #[must_use]
    pub fn is_of_the_file(&self) -> bool {
        match self {
            Self::TooShort { .. } => true,
            Self::Disk { source } => source.is_of_the_file(),
            Self::Missing => false,
        }
    }
}

impl From<Panicked> for UploadError {
    fn from(source: Panicked) -> Self {
        Self::Panicked { source }
    }
}

impl From<disk::Error> for SealError {
    fn from(source: disk::Error) -> Self {
        Self::Upload(source.into())
    }
}

impl From<disk::Error> for ReadError {
    fn from(source: disk::Error) -> Self {
        if source.is_missing() {
            Self::Missing
        } else {
            Self::Disk { source }
        }
    }
}

impl From<disk::Error> for UploadError {
    fn from(source: disk::Error) -> Self {
        if source.is_full() {
            Self::NoSpace { source }
        } else {
            Self::Disk { source }
        }
    }
}
