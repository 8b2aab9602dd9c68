//! What every committed group says about the end of the log.

use crate::base::codec::{CodecError, Reader, Writer};

use super::record::{Link, NO_LINK};

/// Version byte of the tail.
const TAIL_VERSION: u8 = 1;

/// The end of the log as the newest group left it. It travels in the same
/// atomic batch as the records, so after an honest crash the two agree.
///
/// ```text
/// version u8 | checksum u32 | group u64 | floor u64 | first u64
///            | first link u32 | next u64 | link u32 | vote u32
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tail {
    /// Number of the group that wrote this tail; counts up by one, from 1.
    pub group: u64,
    /// Records below this index are deleted; those from here to `first` are
    /// purged and wait for their deletion.
    pub floor: u64,
    /// Index of the first record that is not purged.
    pub first: u64,
    /// Checksum of the record before `first`.
    pub first_link: Link,
    /// Index the next record will get.
    pub next: u64,
    /// Checksum of the last record.
    pub link: Link,
    /// CRC32 of the vote; 0 before the first one.
    pub vote: u32,
}

impl Tail {
    /// The tail of a log that was never written.
    pub(super) const EMPTY: Self = Self {
        group: 0,
        floor: 0,
        first: 0,
        first_link: NO_LINK,
        next: 0,
        link: NO_LINK,
        vote: 0,
    };

    /// The tail in bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut fields = Writer::with_capacity(64);
        fields
            .u64(self.group)
            .u64(self.floor)
            .u64(self.first)
            .u32(self.first_link)
            .u64(self.next)
            .u32(self.link)
            .u32(self.vote);
        let mut record = Writer::with_capacity(64);
        record
            .u8(TAIL_VERSION)
            .u32(crc32fast::hash(fields.as_slice()))
            .raw(fields.as_slice());
        record.finish()
    }

    /// Reads a tail back.
    pub(super) fn decode(record: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(record);
        let version = reader.u8()?;
        if version != TAIL_VERSION {
            return Err(CodecError::Version {
                record: "tail",
                version,
            });
        }
        let checksum = reader.u32()?;
        if crc32fast::hash(reader.clone().raw(reader.remaining())?) != checksum {
            return Err(CodecError::Checksum { record: "tail" });
        }
        let tail = Self {
            group: reader.u64()?,
            floor: reader.u64()?,
            first: reader.u64()?,
            first_link: reader.u32()?,
            next: reader.u64()?,
            link: reader.u32()?,
            vote: reader.u32()?,
        };
        reader.end()?;
        Ok(tail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_reads_back_and_every_flipped_bit_is_noticed() {
        let tail = Tail {
            group: 1,
            floor: 2,
            first: 2,
            first_link: 3,
            next: 4,
            link: 5,
            vote: 6,
        };
        let record = tail.encode();
        assert_eq!(Tail::decode(&record), Ok(tail));
        for bit in 0..record.len() * 8 {
            let mut flipped = record.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Tail::decode(&flipped).is_err(), "bit {bit}");
        }
    }
}
