//! The protocol of bytes that go to another node while they come: a transfer
//! connection turned around, so that its content flows from the dialer.
//!
//! ```text
//! request                                  record
//! 0    [4]  magic "WLTT"                   0    u8   kind (1 bytes, 2 end)
//! 4    u8   version, 1                     1    [3]  zero
//! 5    u8   algorithm (1 sha256,           4    u32  length of what follows
//!                      2 sha512)           8    [..] bytes of content; or, in the end
//! 6    [2]  zero                                     record, what all of it is
//! 8    [40] id of the upload
//! 48   [52] zero
//! 100  u32  CRC32 of all above
//! ```
//! All numbers are little-endian. A request is as long as one for content, so that a
//! node reads both alike; one that is too old knows no such magic, and closes. The
//! listener answers with a header: ready, or refused. Then records follow, and after
//! the end one header: held, when all of it is durable, or refused. A header that comes
//! before the end refuses the rest, and the connection ends, as it does when there is
//! no end.

use super::message::{REQUEST_BYTES, opened, sealed};
use crate::base::limits::{BLOB_BYTES_MAX, EXTENT_BYTES, MOVE_BYTES_MAX};
use crate::base::units::{KIB, MIB};
use crate::base::{CodecError, Reader, Writer};
use crate::oci::Algorithm;

pub(super) const TAKE_MAGIC: [u8; 4] = *b"WLTT";
const TAKE: &str = "take request";
const BYTES_TAG: u8 = 1;
const END_TAG: u8 = 2;
/// Length of an upload's id.
const ID_BYTES: usize = 40;
/// Length of a record before what follows it.
pub(super) const RECORD_BYTES: usize = 8;
/// Longest end record: the checksums of the largest blob, and what else there is to say.
pub(super) const END_BYTES_MAX: u32 = 4 * MIB + KIB;
const _: () = assert!(
    BLOB_BYTES_MAX / EXTENT_BYTES as u64 * 4 <= 4 * MIB as u64,
    "the checksums of the largest blob fit its end"
);

/// Asks a node to take what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TakeRequest {
    /// The upload, for the logs of both nodes.
    pub id: [u8; ID_BYTES],
    /// How the bytes will most likely be named.
    pub algorithm: Algorithm,
}

/// What follows a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TakeRecord {
    /// So many bytes of content.
    Bytes(u32),
    /// So many bytes that say what all of it is.
    End(u32),
}

impl TakeRequest {
    pub(super) fn encode(&self) -> Vec<u8> {
        let algorithm = match self.algorithm {
            Algorithm::Sha256 => 1,
            Algorithm::Sha512 => 2,
        };
        let mut writer = Writer::with_capacity(REQUEST_BYTES);
        writer
            .raw(&TAKE_MAGIC)
            .u8(super::message::TRANSFER_VERSION)
            .u8(algorithm)
            .raw(&[0; 2])
            .raw(&self.id)
            .raw(&[0; 52]);
        sealed(writer)
    }

    pub(super) fn decode(record: &[u8; REQUEST_BYTES]) -> Result<Self, CodecError> {
        let mut reader = opened(record, TAKE_MAGIC, TAKE)?;
        let algorithm = match reader.u8()? {
            1 => Algorithm::Sha256,
            2 => Algorithm::Sha512,
            _ => return Err(CodecError::Invalid { field: "algorithm" }),
        };
        reader.raw(2)?;
        let id = reader.array()?;
        Ok(Self { id, algorithm })
    }
}

impl TakeRecord {
    pub(super) fn encode(self) -> [u8; RECORD_BYTES] {
        let (tag, length) = match self {
            Self::Bytes(length) => (BYTES_TAG, length),
            Self::End(length) => (END_TAG, length),
        };
        let [a, b, c, d] = length.to_le_bytes();
        [tag, 0, 0, 0, a, b, c, d]
    }

    /// Reads a record; one that says nothing, or too much, is refused.
    pub(super) fn decode(record: [u8; RECORD_BYTES]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(&record);
        let (tag, zero) = (reader.u8()?, reader.raw(3)?);
        let length = reader.u32()?;
        if zero != [0; 3] || length == 0 {
            return Err(CodecError::Invalid { field: "record" });
        }
        match tag {
            BYTES_TAG if length <= MOVE_BYTES_MAX => Ok(Self::Bytes(length)),
            END_TAG if length <= END_BYTES_MAX => Ok(Self::End(length)),
            _ => Err(CodecError::Invalid { field: "record" }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_request_reads_back_and_every_flipped_bit_is_refused() {
        for algorithm in Algorithm::ALL {
            let request = TakeRequest {
                id: [0x5a; 40],
                algorithm,
            };
            let record: [u8; REQUEST_BYTES] = request.encode().try_into().unwrap();
            assert_eq!(TakeRequest::decode(&record), Ok(request));
            for bit in 0..REQUEST_BYTES * 8 {
                let mut flipped = record;
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(TakeRequest::decode(&flipped).is_err(), "bit {bit}");
            }
        }
    }

    #[test]
    fn records_read_back_within_their_bounds() {
        let longest = [
            TakeRecord::Bytes(MOVE_BYTES_MAX),
            TakeRecord::End(END_BYTES_MAX),
        ];
        for record in longest.into_iter().chain([TakeRecord::Bytes(1)]) {
            assert_eq!(TakeRecord::decode(record.encode()), Ok(record));
        }
        for beyond in [
            TakeRecord::Bytes(0),
            TakeRecord::End(0),
            TakeRecord::Bytes(MOVE_BYTES_MAX + 1),
            TakeRecord::End(END_BYTES_MAX + 1),
        ] {
            assert!(TakeRecord::decode(beyond.encode()).is_err(), "{beyond:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_record_or_refused(bytes: [u8; RECORD_BYTES]) {
            if let Ok(record) = TakeRecord::decode(bytes) {
                prop_assert_eq!(record.encode(), bytes);
            }
        }
    }
}
