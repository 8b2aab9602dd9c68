//! One upload as the doors see it: bytes go in, in order, until it is sealed.

use super::error::Error;
use super::remote_upload::RemoteUpload;
use crate::base::limits::BLOB_BYTES_MAX;
use crate::blob::{self, UploadError};

/// An upload session that this request holds alone, on whichever node it lives.
///
/// Ends by [`Upload::keep`], [`Upload::release`], or by being sealed; dropped in
/// between, it falls back to what was last acknowledged.
#[derive(Debug)]
pub struct Upload(pub(super) Place);

/// Where the bytes of an upload go.
#[derive(Debug)]
pub(super) enum Place {
    /// Into the store of this node.
    Here(Box<blob::Upload>),
    /// To the node that owns the session.
    Elsewhere(Box<RemoteUpload>),
}

impl From<blob::Upload> for Upload {
    fn from(upload: blob::Upload) -> Self {
        Self(Place::Here(Box::new(upload)))
    }
}

impl Upload {
    /// Bytes the session holds.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        match &self.0 {
            Place::Here(upload) => upload.held_bytes(),
            Place::Elsewhere(upload) => upload.held_bytes(),
        }
    }

    /// Free space in the session's current buffer; waits while the pool is empty.
    pub async fn space(&mut self) -> Result<&mut [u8], Error> {
        match &mut self.0 {
            Place::Here(upload) => upload.space().await.map_err(failed),
            Place::Elsewhere(upload) => Ok(upload.space()),
        }
    }

    /// Takes over `count` bytes that were put into [`Upload::space`].
    pub async fn advance(&mut self, count: usize) -> Result<(), Error> {
        match &mut self.0 {
            Place::Here(upload) => upload.advance(count).await.map_err(failed),
            Place::Elsewhere(upload) => upload.advance(count).await,
        }
    }

    /// Ends the request and keeps every byte it brought; says how many are held now.
    /// They survive the death of the process.
    pub async fn keep(self) -> Result<u64, Error> {
        match self.0 {
            Place::Here(upload) => upload.suspend().await.map_err(failed),
            Place::Elsewhere(upload) => upload.keep().await,
        }
    }

    /// Ends the request without a change.
    pub async fn release(self) {
        let released = match self.0 {
            Place::Here(upload) => upload.suspend().await.map_err(failed),
            Place::Elsewhere(upload) => upload.release().await,
        };
        if let Err(error) = released {
            tracing::warn!(%error, "an upload session was not written back");
        }
    }
}

/// What a failed step means to the client; failures of the machine are logged here.
pub(super) fn failed(error: UploadError) -> Error {
    match error {
        UploadError::Unknown => Error::UploadUnknown,
        UploadError::Busy => Error::UploadBusy,
        UploadError::TooMany => Error::Busy,
        UploadError::Stopping => Error::Unavailable,
        UploadError::TooLarge { .. } => Error::BlobTooLarge {
            bytes_max: BLOB_BYTES_MAX,
        },
        UploadError::NoSpace { source } => {
            tracing::error!(error = %source, "the disk filled up under an upload");
            Error::DiskFull { free_bytes: 0 }
        }
        UploadError::Broken { is_full: true } => Error::DiskFull { free_bytes: 0 },
        error @ (UploadError::Disk { .. }
        | UploadError::Record { .. }
        | UploadError::Broken { .. }
        | UploadError::Panicked { .. }) => {
            tracing::error!(%error, "an upload failed");
            Error::Internal(Box::new(error))
        }
    }
}
