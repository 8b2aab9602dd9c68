//! Bytes in, frames out.

use bytes::Bytes;
use crc32fast::Hasher;

use super::frame::{Frame, FrameError, HEADER_BYTES, Header, checksum_of};
use crate::base::units::{KIB, to_u32, to_usize};

/// Bytes read at once. Frames that fit are copied out of it, so that a small payload
/// that is kept does not keep more; larger payloads are read into their own memory.
const STAGE_BYTES: usize = to_usize(64 * KIB);

/// Puts frames together from the bytes of one connection, however they are cut.
///
/// The caller fills [`Decoder::space`], says how much with [`Decoder::filled`], and
/// takes frames until there is none. After an error nothing more can be taken.
#[derive(Debug)]
pub(super) struct Decoder {
    payload_bytes_max: usize,
    stage: Box<[u8]>,
    /// Bytes of the stage that are filled and not taken yet.
    start: usize,
    end: usize,
    large: Option<Large>,
}

/// A frame that does not fit the stage.
#[derive(Debug)]
struct Large {
    header: Header,
    payload: Vec<u8>,
    filled_bytes: usize,
    checksum: Hasher,
}

impl Decoder {
    /// At the start of a connection whose frames have payloads of at most so many bytes;
    /// a longer one is refused before there is memory for it.
    pub(super) fn new(payload_bytes_max: u32) -> Self {
        Self {
            payload_bytes_max: to_usize(payload_bytes_max),
            stage: vec![0; STAGE_BYTES].into_boxed_slice(),
            start: 0,
            end: 0,
            large: None,
        }
    }

    /// Where the next bytes go; never empty when all frames have been taken.
    pub(super) fn space(&mut self) -> &mut [u8] {
        if let Some(large) = &mut self.large {
            return large.space();
        }
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end > STAGE_BYTES / 2 {
            self.stage.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        self.stage.get_mut(self.end..).unwrap_or_default()
    }

    /// The first `count` bytes of the space are filled now.
    pub(super) fn filled(&mut self, count: usize) {
        match &mut self.large {
            Some(large) => large.filled(count),
            None => self.end += count,
        }
        assert!(self.end <= STAGE_BYTES, "no more is filled than is space");
    }

    /// Takes the next frame; `None` when more bytes are needed for it.
    pub(super) fn take(&mut self) -> Result<Option<Frame>, FrameError> {
        if let Some(large) = self.large.take_if(|large| large.is_whole()) {
            return large.frame().map(Some);
        }
        if self.large.is_some() {
            return Ok(None);
        }
        let waiting = self.stage.get(self.start..self.end).unwrap_or_default();
        let Some((record, rest)) = waiting.split_first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let header = Header::decode(record)?;
        if header.payload_bytes > self.payload_bytes_max {
            return Err(FrameError::Length {
                length_bytes: to_u32(HEADER_BYTES + header.payload_bytes),
            });
        }
        let mut checksum = checksum_of(record);
        if let Some(payload) = rest.get(..header.payload_bytes) {
            checksum.update(payload);
            let payload = Bytes::copy_from_slice(payload);
            self.start += HEADER_BYTES + header.payload_bytes;
            return header.frame(payload, checksum).map(Some);
        }
        if HEADER_BYTES + header.payload_bytes > STAGE_BYTES {
            let mut large = Large {
                header,
                payload: vec![0; header.payload_bytes],
                filled_bytes: 0,
                checksum,
            };
            let (begun, _) = large.space().split_at_mut(rest.len());
            begun.copy_from_slice(rest);
            large.filled(rest.len());
            self.large = Some(large);
            (self.start, self.end) = (0, 0);
        }
        Ok(None)
    }
}

impl Large {
    fn space(&mut self) -> &mut [u8] {
        self.payload
            .get_mut(self.filled_bytes..)
            .unwrap_or_default()
    }

    /// Counts the bytes in, and into the checksum while they are in the cache.
    fn filled(&mut self, count: usize) {
        let filled = self.payload.get(self.filled_bytes..).unwrap_or_default();
        self.checksum.update(filled.split_at(count).0);
        self.filled_bytes += count;
    }

    const fn is_whole(&self) -> bool {
        self.filled_bytes == self.payload.len()
    }

    fn frame(self) -> Result<Frame, FrameError> {
        self.header.frame(Bytes::from(self.payload), self.checksum)
    }
}

#[cfg(test)]
#[path = "decoder_test.rs"]
mod tests;
