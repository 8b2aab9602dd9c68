//! Frames, the units of a connection for calls.
//!
//! ```text
//! 0   u32  length of the frame, these four bytes included
//! 4   u8   version, 1
//! 5   u8   kind (1 call, 2 answer, 3 refusal, 4 ping, 5 pong)
//! 6   u16  service of a call and of what answers it; 0 in pings and pongs
//! 8   u64  id, which an answer repeats
//! 16  u32  CRC32 of bytes 0..16 and the payload
//! 20  […]  payload
//! ```
//! All numbers are little-endian. A frame that says anything else ends its connection:
//! where the next frame would start is not known any more.
//!
//! ```text
//! payload of a refusal   u8 code | reason, UTF-8
//! ```

use bytes::Bytes;
use crc32fast::Hasher;

use crate::base::limits::PEER_PAYLOAD_BYTES_MAX;
use crate::base::units::{to_u32, to_usize};
use crate::base::{CodecError, Reader, Writer};

/// Bytes before the payload.
pub(super) const HEADER_BYTES: usize = 20;
/// Bytes of the header under the checksum, which are all but the checksum.
const CHECKED_BYTES: usize = 16;
const FRAME_VERSION: u8 = 1;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FrameKind {
    /// Asks a service for something.
    Call,
    /// What the service answered.
    Answer,
    /// Why it did not.
    Refusal,
    /// Asks whether the other end is alive.
    Ping,
    /// It is.
    Pong,
}

impl FrameKind {
    const ALL: [Self; 5] = [
        Self::Call,
        Self::Answer,
        Self::Refusal,
        Self::Ping,
        Self::Pong,
    ];

    const fn code(self) -> u8 {
        match self {
            Self::Call => 1,
            Self::Answer => 2,
            Self::Refusal => 3,
            Self::Ping => 4,
            Self::Pong => 5,
        }
    }
}

/// What came is no frame of this protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    /// Shorter than a header, or longer than any frame may be.
    #[error("a frame of {length_bytes} bytes")]
    Length {
        /// The length it says it has.
        length_bytes: u32,
    },
    /// Of another version.
    #[error("a frame of version {version}")]
    Version {
        /// The version it says it has.
        version: u8,
    },
    /// Of an unknown kind.
    #[error("a frame of unknown kind {code}")]
    Kind {
        /// The kind's number.
        code: u8,
    },
    /// Damaged on its way.
    #[error("the checksum of a frame does not match")]
    Checksum,
    /// Not what this end of a connection may be sent.
    #[error("a frame that nobody waits for")]
    Unexpected,
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: FrameKind,
    pub(super) service: u16,
    pub(super) id: u64,
    /// At most `PEER_PAYLOAD_BYTES_MAX`.
    pub(super) payload: Bytes,
}

impl Frame {
    /// The bytes that go before the payload.
    ///
    /// - Panics: for a payload above the limit, which every caller has checked.
    pub(super) fn header(&self) -> [u8; HEADER_BYTES] {
        assert!(fits(self.payload.len()), "a payload fits a frame");
        let header = Header {
            kind: self.kind,
            service: self.service,
            id: self.id,
            payload_bytes: self.payload.len(),
            checksum: 0,
        };
        let mut record = header.encode();
        let mut checksum = checksum_of(&record);
        checksum.update(&self.payload);
        if let Some(place) = record.last_chunk_mut() {
            *place = checksum.finalize().to_le_bytes();
        }
        record
    }
}

/// Whether a payload of so many bytes fits a frame.
pub(super) const fn fits(payload_bytes: usize) -> bool {
    payload_bytes <= to_usize(PEER_PAYLOAD_BYTES_MAX)
}

/// A frame's header, read and within its bounds; the checksum is still to be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: FrameKind,
    pub(super) service: u16,
    pub(super) id: u64,
    pub(super) payload_bytes: usize,
    checksum: u32,
}

impl Header {
    fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut writer = Writer::with_capacity(HEADER_BYTES);
        writer
            .u32(to_u32(HEADER_BYTES + self.payload_bytes))
            .u8(FRAME_VERSION)
            .u8(self.kind.code())
            .raw(&self.service.to_le_bytes())
            .u64(self.id)
            .u32(self.checksum);
        let record = writer.finish();
        record.try_into().expect("invariant: the fields add up")
    }

    /// Reads a header.
    ///
    /// - Errors: everything but `Checksum`, which needs the payload.
    pub(super) fn decode(record: &[u8; HEADER_BYTES]) -> Result<Self, FrameError> {
        let [l0, l1, l2, l3, version, code, s0, s1, rest @ ..] = record;
        let (id, checksum) = rest.split_at(8);
        let length_bytes = u32::from_le_bytes([*l0, *l1, *l2, *l3]);
        let payload_bytes = to_usize(length_bytes).checked_sub(HEADER_BYTES);
        let payload_bytes = payload_bytes.filter(|bytes| fits(*bytes));
        if *version != FRAME_VERSION {
            return Err(FrameError::Version { version: *version });
        }
        let kind = FrameKind::ALL.into_iter().find(|each| each.code() == *code);
        let invariant = "invariant: twelve bytes are eight and four";
        Ok(Self {
            payload_bytes: payload_bytes.ok_or(FrameError::Length { length_bytes })?,
            kind: kind.ok_or(FrameError::Kind { code: *code })?,
            service: u16::from_le_bytes([*s0, *s1]),
            id: u64::from_le_bytes(id.try_into().expect(invariant)),
            checksum: u32::from_le_bytes(checksum.try_into().expect(invariant)),
        })
    }

    /// The frame, when `checksum` over header and payload is the one it came with.
    pub(super) fn frame(self, payload: Bytes, checksum: Hasher) -> Result<Frame, FrameError> {
        if checksum.finalize() != self.checksum {
            return Err(FrameError::Checksum);
        }
        Ok(Frame {
            kind: self.kind,
            service: self.service,
            id: self.id,
            payload,
        })
    }
}

/// A checksum that has seen the header.
pub(super) fn checksum_of(header: &[u8; HEADER_BYTES]) -> Hasher {
    let mut checksum = Hasher::new();
    checksum.update(header.split_at(CHECKED_BYTES).0);
    checksum
}

/// Writes the payload of a refusal; a reason that would not fit is cut.
pub(super) fn encode_refusal(code: u8, reason: &str) -> Bytes {
    /// A refusal is a sentence.
    const REASON_BYTES_MAX: usize = 4096;
    let is_end = |place: &usize| reason.is_char_boundary(*place);
    let longest = reason.len().min(REASON_BYTES_MAX);
    let cut = (0..=longest).rev().find(is_end).unwrap_or_default();
    let mut writer = Writer::with_capacity(1 + cut);
    writer.u8(code);
    writer.raw(reason.as_bytes().split_at(cut).0);
    Bytes::from(writer.finish())
}

/// Reads the payload of a refusal.
pub(super) fn decode_refusal(payload: &[u8]) -> Result<(u8, Box<str>), CodecError> {
    let mut reader = Reader::new(payload);
    let code = reader.u8()?;
    let reason = reader.raw(reader.remaining())?;
    let reason =
        std::str::from_utf8(reason).map_err(|_| CodecError::Invalid { field: "reason" })?;
    Ok((code, reason.into()))
}
