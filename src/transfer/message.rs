//! The protocol of transfer connections: content of blobs, as it is.
//!
//! ```text
//! request                                  header
//! 0    [4]  magic "WLTQ"                   0    [4]  magic "WLTA"
//! 4    u8   version, 1                     4    u8   version, 1
//! 5    [3]  zero                           5    u8   status (1 content follows,
//! 8    u64  generation                               2 not here, 3 no such range,
//! 16   u64  offset                                   4 busy, 5 failed,
//! 24   u64  bytes                                    6 ready, 7 held)
//! 32   u8   algorithm of the digest        6    [2]  zero
//! 33   [64] digest, zero beyond its end    8    u64  size of the whole blob
//! 97   [3]  zero                           16   u64  bytes that follow
//! 100  u32  CRC32 of all above             24   u32  CRC32 of all above
//! ```
//! All numbers are little-endian. The dialer sends a request, the listener answers with
//! a header and so many bytes of content, then the next request may follow. Content has
//! no checksum here: whoever fetches knows the checksum of every extent and the digest.
//! What stops in mid-content ends the connection. Content that flows the other way is
//! in `take.rs`.

use crate::base::{CodecError, Reader, Writer};
use crate::oci::Digest;

const REQUEST_MAGIC: [u8; 4] = *b"WLTQ";
const HEADER_MAGIC: [u8; 4] = *b"WLTA";
pub(super) const TRANSFER_VERSION: u8 = 1;
const REQUEST: &str = "transfer request";
const HEADER: &str = "transfer header";
/// Bytes of a digest's place.
const DIGEST_BYTES: usize = 65;

/// Length of a request.
pub(super) const REQUEST_BYTES: usize = 104;
/// Length of a header.
pub(super) const TRANSFER_HEADER_BYTES: usize = 28;

/// Which bytes of which blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransferRequest {
    /// The blob.
    pub digest: Digest,
    /// Its generation.
    pub generation: u64,
    /// The first byte wanted.
    pub offset: u64,
    /// How many; those beyond the end of the blob are left out.
    pub bytes: u64,
}

/// Why a node sends nothing of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TransferRefusal {
    /// The node has no such blob, or not that generation.
    #[error("the node does not have the blob")]
    NotHere,
    /// The range begins beyond the end of the blob.
    #[error("the blob has no such range")]
    NoSuchRange,
    /// The node has enough to do; another may do, or a later time.
    #[error("the node is busy")]
    Busy,
    /// The node cannot read the blob.
    #[error("the node cannot read the blob")]
    Failed,
}

impl TransferRefusal {
    const ALL: [Self; 4] = [Self::NotHere, Self::NoSuchRange, Self::Busy, Self::Failed];

    const fn code(self) -> u8 {
        match self {
            Self::NotHere => 2,
            Self::NoSuchRange => 3,
            Self::Busy => 4,
            Self::Failed => 5,
        }
    }
}

/// The status of a header whose content follows.
const CONTENT_TAG: u8 = 1;
const READY_TAG: u8 = 6;
const HELD_TAG: u8 = 7;

/// What a node answers to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Header {
    /// `bytes` of content follow.
    Content {
        /// Size of the whole blob.
        size: u64,
        /// Bytes that follow.
        bytes: u64,
    },
    /// Nothing follows.
    Refused(TransferRefusal),
    /// The node takes what comes.
    Ready,
    /// The node holds what came.
    Held,
}

impl TransferRequest {
    /// The bytes of a blob of `size` that answer the request; `None` when it begins
    /// beyond the end.
    #[must_use]
    pub const fn bytes_of(&self, size: u64) -> Option<u64> {
        match size.checked_sub(self.offset) {
            Some(left) if left < self.bytes => Some(left),
            Some(_) => Some(self.bytes),
            None => None,
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut digest = Writer::with_capacity(DIGEST_BYTES);
        self.digest.encode(&mut digest);
        let mut digest = digest.finish();
        digest.resize(DIGEST_BYTES, 0);
        let mut writer = Writer::with_capacity(REQUEST_BYTES);
        writer
            .raw(&REQUEST_MAGIC)
            .u8(TRANSFER_VERSION)
            .raw(&[0; 3])
            .u64(self.generation)
            .u64(self.offset)
            .u64(self.bytes)
            .raw(&digest)
            .raw(&[0; 3]);
        sealed(writer)
    }

    pub(super) fn decode(record: &[u8; REQUEST_BYTES]) -> Result<Self, CodecError> {
        let mut reader = opened(record, REQUEST_MAGIC, REQUEST)?;
        reader.raw(3)?;
        let (generation, offset, bytes) = (reader.u64()?, reader.u64()?, reader.u64()?);
        let digest = Digest::decode(&mut Reader::new(reader.raw(DIGEST_BYTES)?))?;
        Ok(Self {
            digest,
            generation,
            offset,
            bytes,
        })
    }
}

impl Header {
    pub(super) fn encode(&self) -> Vec<u8> {
        let (status, size, bytes) = match self {
            Self::Content { size, bytes } => (CONTENT_TAG, *size, *bytes),
            Self::Refused(refusal) => (refusal.code(), 0, 0),
            Self::Ready => (READY_TAG, 0, 0),
            Self::Held => (HELD_TAG, 0, 0),
        };
        let mut writer = Writer::with_capacity(TRANSFER_HEADER_BYTES);
        writer
            .raw(&HEADER_MAGIC)
            .u8(TRANSFER_VERSION)
            .u8(status)
            .raw(&[0; 2])
            .u64(size)
            .u64(bytes);
        sealed(writer)
    }

    pub(super) fn decode(record: &[u8; TRANSFER_HEADER_BYTES]) -> Result<Self, CodecError> {
        let mut reader = opened(record, HEADER_MAGIC, HEADER)?;
        let status = reader.u8()?;
        reader.raw(2)?;
        let (size, bytes) = (reader.u64()?, reader.u64()?);
        match status {
            CONTENT_TAG => return Ok(Self::Content { size, bytes }),
            READY_TAG => return Ok(Self::Ready),
            HELD_TAG => return Ok(Self::Held),
            _ => {}
        }
        let refusal = TransferRefusal::ALL
            .into_iter()
            .find(|each| each.code() == status);
        let invalid = CodecError::Invalid { field: "status" };
        refusal.map(Self::Refused).ok_or(invalid)
    }
}

/// Ends a record with its checksum.
pub(super) fn sealed(mut writer: Writer) -> Vec<u8> {
    let checksum = crc32fast::hash(writer.as_slice());
    writer.u32(checksum);
    writer.finish()
}

/// Behind magic and version, when they and the checksum are right.
pub(super) fn opened<'a>(
    record: &'a [u8],
    magic: [u8; 4],
    name: &'static str,
) -> Result<Reader<'a>, CodecError> {
    let split = record.split_last_chunk::<4>();
    let (body, stored) = split.ok_or(CodecError::Short { missing_bytes: 4 })?;
    let mut reader = Reader::new(body);
    if reader.array()? != magic {
        return Err(CodecError::Invalid { field: "magic" });
    }
    if crc32fast::hash(body) != u32::from_le_bytes(*stored) {
        return Err(CodecError::Checksum { record: name });
    }
    match reader.u8()? {
        TRANSFER_VERSION => Ok(reader),
        version => Err(CodecError::Version {
            record: name,
            version,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    fn request(algorithm: Algorithm) -> TransferRequest {
        TransferRequest {
            digest: Digest::of(algorithm, b"content"),
            generation: 3,
            offset: 1 << 40,
            bytes: u64::MAX,
        }
    }

    #[test]
    fn records_read_back_and_every_flipped_bit_is_refused() {
        for algorithm in Algorithm::ALL {
            let request = request(algorithm);
            let record: [u8; REQUEST_BYTES] = request.encode().try_into().unwrap();
            assert_eq!(TransferRequest::decode(&record), Ok(request));
            for bit in 0..REQUEST_BYTES * 8 {
                let mut flipped = record;
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(TransferRequest::decode(&flipped).is_err(), "bit {bit}");
            }
        }
        let content = Header::Content { size: 9, bytes: 4 };
        let refused = TransferRefusal::ALL.map(Header::Refused);
        let others = [content, Header::Ready, Header::Held];
        for header in refused.into_iter().chain(others) {
            let record: [u8; TRANSFER_HEADER_BYTES] = header.encode().try_into().unwrap();
            assert_eq!(Header::decode(&record), Ok(header));
            for bit in 0..TRANSFER_HEADER_BYTES * 8 {
                let mut flipped = record;
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(Header::decode(&flipped).is_err(), "bit {bit}");
            }
        }
    }

    #[test]
    fn a_request_gets_what_there_is_of_its_range() {
        let of = |offset, bytes, size| {
            let request = TransferRequest {
                offset,
                bytes,
                ..request(Algorithm::Sha256)
            };
            request.bytes_of(size)
        };
        assert_eq!(of(0, 10, 100), Some(10));
        assert_eq!(of(95, 10, 100), Some(5));
        assert_eq!(of(100, 10, 100), Some(0));
        assert_eq!(of(101, 10, 100), None);
        assert_eq!(of(50, u64::MAX, 100), Some(50));
    }
}
