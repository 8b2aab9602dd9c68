//! A request body, unwrapped in place from the bytes that carry it.

use crate::base::units::{index_of, to_u64};

use super::chunk::ChunkDecoder;
use super::framing::Framing;
use super::refusal::Refusal;

/// Unwraps one body.
///
/// Bytes are received straight into the buffer they are wanted in, and decoded
/// there: payload moves to the front, framing disappears.
#[derive(Clone, Debug)]
pub struct BodyDecoder(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Length { left_bytes: u64 },
    Chunked(ChunkDecoder),
}

/// What a call to [`BodyDecoder::decode`] made of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Bytes that belonged to this body, framing included; those after them
    /// belong to the next request.
    pub consumed: usize,
    /// Payload bytes, now at the front.
    pub produced: usize,
    /// The body has ended.
    pub is_end: bool,
}

impl BodyDecoder {
    /// A decoder at the first byte after the head.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        Self(match framing {
            Framing::None => Kind::Length { left_bytes: 0 },
            Framing::Length(left_bytes) => Kind::Length { left_bytes },
            Framing::Chunked => Kind::Chunked(ChunkDecoder::default()),
        })
    }

    /// Moves the payload in `bytes` to its front.
    ///
    /// - Errors: 400 or 431 for broken chunks; the connection is closed then.
    pub fn decode(&mut self, bytes: &mut [u8]) -> Result<Decoded, Refusal> {
        match &mut self.0 {
            Kind::Length { left_bytes } => {
                let here_bytes = to_u64(bytes.len()).min(*left_bytes);
                *left_bytes -= here_bytes;
                Ok(Decoded {
                    consumed: index_of(here_bytes),
                    produced: index_of(here_bytes),
                    is_end: *left_bytes == 0,
                })
            }
            Kind::Chunked(decoder) => decoder.decode(bytes),
        }
    }

    /// Payload bytes still to come, when the framing tells: so many bytes may be
    /// received without taking one of the next request.
    #[must_use]
    pub const fn raw_remaining(&self) -> Option<u64> {
        match &self.0 {
            Kind::Length { left_bytes } => Some(*left_bytes),
            Kind::Chunked(_) => None,
        }
    }

    /// True once the last byte of the body, framing included, has been taken.
    #[must_use]
    pub fn is_end(&self) -> bool {
        match &self.0 {
            Kind::Length { left_bytes } => *left_bytes == 0,
            Kind::Chunked(decoder) => decoder.is_end(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_body_takes_its_bytes_and_no_more() {
        let mut body = BodyDecoder::new(Framing::Length(5));
        assert_eq!(body.raw_remaining(), Some(5));
        let decoded = body.decode(&mut b"abc".to_vec()).unwrap();
        assert_eq!((decoded.consumed, decoded.produced), (3, 3));
        assert!(!decoded.is_end && body.raw_remaining() == Some(2));
        let decoded = body.decode(&mut b"deGET /".to_vec()).unwrap();
        assert_eq!((decoded.consumed, decoded.is_end), (2, true));
    }

    #[test]
    fn no_body_ends_before_its_first_byte() {
        let mut body = BodyDecoder::new(Framing::None);
        assert!(body.is_end());
        assert_eq!(body.decode(&mut b"GET".to_vec()).unwrap().consumed, 0);
        assert!(!BodyDecoder::new(Framing::Chunked).is_end());
    }
}
