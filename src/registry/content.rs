//! The bytes of a blob on their way out, whatever they come from.

use bytes::Bytes;

use crate::base::units::to_u64;
use crate::blob::{Piece, ReadError, Reader};
use crate::replication::{self, ContentError};

/// Where the selected bytes are.
#[derive(Debug)]
pub enum Content {
    /// In memory: a small blob that lives in the state.
    Memory(Bytes),
    /// In a file, read piece by piece.
    Stored(StoredContent),
}

/// Why a stored blob cannot be sent to its end. Nothing more can be sent then.
#[derive(Debug, thiserror::Error)]
pub enum BrokenContent {
    /// The file cannot be read.
    #[error("read a blob")]
    Read(#[from] ReadError),
    /// It does not come from other nodes as it should.
    #[error("fetch a blob while it is sent")]
    Fetch(#[from] ContentError),
}

impl Content {
    /// The part `start..end` of a blob whose file is here.
    pub(super) fn stored(mut reader: Reader, start: u64, end: u64) -> Self {
        reader.range(start, end);
        Self::Stored(StoredContent(Source::File {
            reader: Box::new(reader),
            position: start,
        }))
    }

    /// A blob that is here, or comes from another node meanwhile.
    pub(super) fn replicated(content: replication::Content) -> Self {
        Self::Stored(StoredContent(Source::Replicated(content)))
    }
}

/// Pieces of a stored blob, in order; bounded memory however large the blob is.
#[derive(Debug)]
pub struct StoredContent(Source);

#[derive(Debug)]
enum Source {
    File {
        reader: Box<Reader>,
        /// First byte not handed out.
        position: u64,
    },
    Replicated(replication::Content),
}

impl StoredContent {
    /// The next piece, or `None` at the end of the range.
    ///
    /// - Errors: nothing more can be sent.
    pub async fn next(&mut self) -> Result<Option<Piece>, BrokenContent> {
        let (reader, position) = match &mut self.0 {
            Source::File { reader, position } => (reader, position),
            Source::Replicated(content) => return Ok(content.next().await?),
        };
        let piece = reader.next().await?;
        *position += match &piece {
            Some(Piece::Resident { bytes, .. }) => *bytes,
            Some(Piece::Memory(chunk)) => to_u64(chunk.len()),
            None => 0,
        };
        Ok(piece)
    }

    /// Goes back over the last `bytes` handed out, for a sender that gave its
    /// buffer away before they were sent.
    pub fn give_back(&mut self, bytes: usize) {
        match &mut self.0 {
            Source::File { reader, position } => {
                *position -= to_u64(bytes);
                reader.rewind(*position);
            }
            Source::Replicated(content) => content.give_back(bytes),
        }
    }
}
