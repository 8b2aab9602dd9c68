//! What every record begins and ends with that is a file of its own: a mark and a
//! version in front, the CRC32 of all of it behind.

use crate::base::{CodecError, Reader, Writer};

/// Which record is meant.
pub(super) struct Form {
    /// What errors call it.
    pub(super) name: &'static str,
    /// Its first bytes.
    pub(super) magic: [u8; 4],
    /// The version behind them.
    pub(super) version: u8,
}

impl Form {
    /// A record without its fields.
    pub(super) fn begin(&self, capacity_bytes: usize) -> Writer {
        let mut writer = Writer::with_capacity(capacity_bytes);
        writer.raw(&self.magic).u8(self.version);
        writer
    }

    /// The fields of an intact record of this form and version; anything else is refused.
    pub(super) fn open<'a>(&self, record: &'a [u8]) -> Result<Reader<'a>, CodecError> {
        let body = record.split_last_chunk::<4>();
        let (body, stored) = body.ok_or(CodecError::Short { missing_bytes: 4 })?;
        if crc32fast::hash(body) != u32::from_le_bytes(*stored) {
            return Err(CodecError::Checksum { record: self.name });
        }
        let mut reader = Reader::new(body);
        if reader.array()? != self.magic {
            return Err(CodecError::Invalid { field: "magic" });
        }
        let version = reader.u8()?;
        if version != self.version {
            return Err(CodecError::Version {
                record: self.name,
                version,
            });
        }
        Ok(reader)
    }
}

/// Ends a record: its checksum, over everything before.
pub(super) fn finish(mut writer: Writer) -> Vec<u8> {
    let checksum = crc32fast::hash(writer.as_slice());
    writer.u32(checksum);
    writer.finish()
}
