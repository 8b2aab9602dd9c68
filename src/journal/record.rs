//! One record of the log, sealed with a checksum and chained to the one before.

use bytes::Bytes;

use crate::base::codec::{CodecError, Reader, Writer};

/// Version byte of every record.
const RECORD_VERSION: u8 = 1;
/// Bytes before the payload.
const HEADER_BYTES: usize = 17;
/// First byte of a record's key; the big-endian index follows, so that keys
/// sort as indexes do.
const KEY_TAG: u8 = b'l';

/// Checksum of a record; the next record repeats it.
pub(super) type Link = u32;
/// What the first record of a log is chained to.
pub(super) const NO_LINK: Link = 0;

/// The key of the record at `index`.
pub(super) fn key(index: u64) -> Vec<u8> {
    [[KEY_TAG].as_slice(), &index.to_be_bytes()].concat()
}

/// The index a key stands for, if it is the key of a record.
pub(super) fn index_of_key(key: &[u8]) -> Option<u64> {
    let (tag, index) = key.split_first()?;
    if *tag != KEY_TAG {
        return None;
    }
    Some(u64::from_be_bytes(index.try_into().ok()?))
}

/// A record as read back.
///
/// ```text
/// version u8 | checksum u32 | previous u32 | index u64 | payload
///              CRC32 over everything after it
///                             checksum of the record before
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub index: u64,
    pub previous: Link,
    pub link: Link,
    pub payload: Bytes,
}

/// Seals `payload` as the record at `index` after the one whose checksum is `previous`.
pub(super) fn seal(index: u64, previous: Link, payload: &[u8]) -> (Vec<u8>, Link) {
    let mut sealed = Writer::with_capacity(HEADER_BYTES + payload.len());
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&previous.to_le_bytes());
    hasher.update(&index.to_le_bytes());
    hasher.update(payload);
    let link = hasher.finalize();
    sealed
        .u8(RECORD_VERSION)
        .u32(link)
        .u32(previous)
        .u64(index)
        .raw(payload);
    (sealed.finish(), link)
}

/// Opens a sealed record and checks its checksum.
///
/// - Errors: any byte that differs from what was sealed, version included.
pub(super) fn unseal(sealed: &Bytes) -> Result<Record, CodecError> {
    let mut reader = Reader::new(sealed);
    let version = reader.u8()?;
    if version != RECORD_VERSION {
        return Err(CodecError::Version {
            record: "log record",
            version,
        });
    }
    let link = reader.u32()?;
    let covered = reader.clone().raw(reader.remaining())?;
    if crc32fast::hash(covered) != link {
        return Err(CodecError::Checksum {
            record: "log record",
        });
    }
    let previous = reader.u32()?;
    let index = reader.u64()?;
    Ok(Record {
        index,
        previous,
        link,
        payload: sealed.slice(HEADER_BYTES..),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_opens_as_it_was_sealed() {
        let (sealed, link) = seal(7, 99, b"payload");
        let record = unseal(&Bytes::from(sealed)).unwrap();
        assert_eq!((record.index, record.previous, record.link), (7, 99, link));
        assert_eq!(record.payload.as_ref(), b"payload");
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let (sealed, _) = seal(7, 99, b"payload");
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(unseal(&Bytes::from(flipped)).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_cut_record_is_noticed() {
        let (sealed, _) = seal(7, 99, b"payload");
        for length in 0..sealed.len() {
            assert!(unseal(&Bytes::copy_from_slice(&sealed[..length])).is_err());
        }
    }

    #[test]
    fn keys_sort_as_indexes_do() {
        assert!(key(255) < key(256));
        assert_eq!(index_of_key(&key(256)), Some(256));
        assert_eq!(index_of_key(b"mvote"), None);
    }
}
