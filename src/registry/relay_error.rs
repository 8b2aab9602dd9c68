//! Why a session did not do what a relaying node asked, as it travels.
//!
//! ```text
//! status  16 unknown | 17 busy session | 18 too large (number: the bound)
//!         19 other digest (digest: the actual one) | 20 disk full (number: bytes free)
//!         21 busy | 22 no leader | 23 unavailable | 24 undecided | 25 failed
//! ```
//! A status of a newer version reads as `failed`.

use super::error::Error;
use crate::base::CodecError;
use crate::oci::Digest;

/// The errors of uploads that callers tell apart. `Failed` stands for all others; its
/// cause is in the log of the node that owns the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the node that owns the session failed: {self:?}")]
pub(super) enum RelayedError {
    Unknown,
    SessionBusy,
    TooLarge { bytes_max: u64 },
    DigestMismatch { actual: Digest },
    DiskFull { free_bytes: u64 },
    Busy,
    NoLeader,
    Unavailable,
    Undecided,
    Failed,
}

/// The lowest status that is an error.
const ERROR_TAG_MIN: u8 = 16;

impl RelayedError {
    /// Status, number and digest.
    pub(super) const fn fields(&self) -> (u8, u64, Option<Digest>) {
        match *self {
            Self::Unknown => (16, 0, None),
            Self::SessionBusy => (17, 0, None),
            Self::TooLarge { bytes_max } => (18, bytes_max, None),
            Self::DigestMismatch { actual } => (19, 0, Some(actual)),
            Self::DiskFull { free_bytes } => (20, free_bytes, None),
            Self::Busy => (21, 0, None),
            Self::NoLeader => (22, 0, None),
            Self::Unavailable => (23, 0, None),
            Self::Undecided => (24, 0, None),
            Self::Failed => (25, 0, None),
        }
    }

    /// Reads the fields back.
    pub(super) fn of_fields(
        status: u8,
        number: u64,
        digest: impl FnOnce() -> Result<Digest, CodecError>,
    ) -> Result<Self, CodecError> {
        Ok(match status {
            16 => Self::Unknown,
            17 => Self::SessionBusy,
            18 => Self::TooLarge { bytes_max: number },
            19 => Self::DigestMismatch { actual: digest()? },
            20 => Self::DiskFull { free_bytes: number },
            21 => Self::Busy,
            22 => Self::NoLeader,
            23 => Self::Unavailable,
            24 => Self::Undecided,
            newer if newer >= ERROR_TAG_MIN => Self::Failed,
            _ => return Err(CodecError::Invalid { field: "status" }),
        })
    }
}

impl From<Error> for RelayedError {
    fn from(error: Error) -> Self {
        match error {
            Error::UploadUnknown => Self::Unknown,
            Error::UploadBusy => Self::SessionBusy,
            Error::BlobTooLarge { bytes_max } => Self::TooLarge { bytes_max },
            Error::DigestMismatch { actual } => Self::DigestMismatch { actual },
            Error::DiskFull { free_bytes } => Self::DiskFull { free_bytes },
            Error::Busy => Self::Busy,
            Error::NoLeader => Self::NoLeader,
            Error::Unavailable => Self::Unavailable,
            Error::Undecided => Self::Undecided,
            // What an upload never comes to, and what was logged where it happened.
            Error::NameUnknown
            | Error::BlobUnknown { .. }
            | Error::ManifestUnknown
            | Error::OutOfOrder { .. }
            | Error::ManifestInvalid(_)
            | Error::ContentMissing { .. }
            | Error::SizesDiffer { .. }
            | Error::TagFixed { .. }
            | Error::TagTaken { .. }
            | Error::DeleteDisabled
            | Error::Internal(_) => Self::Failed,
        }
    }
}

impl From<RelayedError> for Error {
    fn from(error: RelayedError) -> Self {
        match error {
            RelayedError::Unknown => Self::UploadUnknown,
            RelayedError::SessionBusy => Self::UploadBusy,
            RelayedError::TooLarge { bytes_max } => Self::BlobTooLarge { bytes_max },
            RelayedError::DigestMismatch { actual } => Self::DigestMismatch { actual },
            RelayedError::DiskFull { free_bytes } => Self::DiskFull { free_bytes },
            RelayedError::Busy => Self::Busy,
            RelayedError::NoLeader => Self::NoLeader,
            RelayedError::Unavailable => Self::Unavailable,
            RelayedError::Undecided => Self::Undecided,
            RelayedError::Failed => Self::Internal(Box::new(error)),
        }
    }
}
