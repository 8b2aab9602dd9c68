//! The bytes of a blob on their way out, whatever they come from.

use bytes::Bytes;

use crate::base::units::to_u64;
use crate::blob::{Piece, ReadError, Reader};

/// Where the selected bytes are.
#[derive(Debug)]
pub enum Content {
    /// In memory: a small blob that lives in the state.
    Memory(Bytes),
    /// In a file, read piece by piece.
    Stored(StoredContent),
}

impl Content {
    /// The part `start..end` of a stored blob.
    pub(super) fn stored(mut reader: Reader, start: u64, end: u64) -> Self {
        reader.range(start, end);
        Self::Stored(StoredContent {
            reader,
            position: start,
        })
    }
}

/// Pieces of a stored blob, in order; bounded memory however large the blob is.
#[derive(Debug)]
pub struct StoredContent {
    reader: Reader,
    /// First byte not handed out.
    position: u64,
}

impl StoredContent {
    /// The next piece, or `None` at the end of the range.
    ///
    /// - Errors: the file cannot be read; nothing more can be sent.
    pub async fn next(&mut self) -> Result<Option<Piece>, ReadError> {
        let piece = self.reader.next().await?;
        self.position += match &piece {
            Some(Piece::Resident { bytes, .. }) => *bytes,
            Some(Piece::Memory(chunk)) => to_u64(chunk.len()),
            None => 0,
        };
        Ok(piece)
    }

    /// Goes back over the last `bytes` handed out, for a sender that gave its
    /// buffer away before they were sent.
    pub fn give_back(&mut self, bytes: usize) {
        self.position -= to_u64(bytes);
        self.reader.rewind(self.position);
    }
}
