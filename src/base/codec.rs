//! Little-endian encoding of records, entries and frames.
//!
//! Every format of the project is written and read by these two types: fixed
//! widths, length-prefixed bytes, no reflection, so that a format is what its
//! drawing says and nothing else.

use bytes::Bytes;

use super::units::{to_u32, to_usize};

/// What a decoder found instead of a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The bytes end before the record does.
    #[error("record ends {missing_bytes} bytes early")]
    Short {
        /// Bytes that would have completed the field.
        missing_bytes: usize,
    },
    /// Bytes remain after the record.
    #[error("{extra_bytes} bytes after the end of the record")]
    Trailing {
        /// Bytes left over.
        extra_bytes: usize,
    },
    /// A field holds a value its type does not have.
    #[error("field `{field}` holds an impossible value")]
    Invalid {
        /// Name of the field, as drawn.
        field: &'static str,
    },
    /// The record was written by a newer version.
    #[error("version {version} of `{record}` is not known to this build")]
    Version {
        /// Name of the record, as drawn.
        record: &'static str,
        /// The version byte found.
        version: u8,
    },
    /// Stored and computed CRC32 differ.
    #[error("checksum of `{record}` does not match")]
    Checksum {
        /// Name of the record, as drawn.
        record: &'static str,
    },
}

/// Appends fields to a byte vector.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// An empty record with room for `capacity_bytes`.
    #[must_use]
    pub fn with_capacity(capacity_bytes: usize) -> Self {
        Self(Vec::with_capacity(capacity_bytes))
    }

    /// Appends one byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    /// Appends four bytes.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// Appends eight bytes.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// Appends bytes without a length; the reader must know it.
    pub fn raw(&mut self, value: &[u8]) -> &mut Self {
        self.0.extend_from_slice(value);
        self
    }

    /// Appends a `u32` length and the bytes.
    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.u32(to_u32(value.len())).raw(value)
    }

    /// Appends a `u32` length and UTF-8.
    pub fn text(&mut self, value: &str) -> &mut Self {
        self.bytes(value.as_bytes())
    }

    /// What was written so far.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// Ends the record.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Takes fields off a byte slice, front to back.
#[derive(Debug, Clone)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Starts at the first byte of a record.
    #[must_use]
    pub const fn new(record: &'a [u8]) -> Self {
        Self(record)
    }

    /// Takes `count` bytes.
    pub fn raw(&mut self, count: usize) -> Result<&'a [u8], CodecError> {
        let Some((field, rest)) = self.0.split_at_checked(count) else {
            return Err(CodecError::Short {
                missing_bytes: count - self.0.len(),
            });
        };
        self.0 = rest;
        Ok(field)
    }

    /// Takes a fixed-size array.
    pub fn array<const BYTES: usize>(&mut self) -> Result<[u8; BYTES], CodecError> {
        let field = self.raw(BYTES)?;
        Ok(field
            .try_into()
            .expect("invariant: raw returns as many bytes"))
    }

    /// Takes one byte.
    pub fn u8(&mut self) -> Result<u8, CodecError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    /// Takes four bytes.
    pub fn u32(&mut self) -> Result<u32, CodecError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Takes eight bytes.
    pub fn u64(&mut self) -> Result<u64, CodecError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Takes a `u32` length and that many bytes.
    pub fn bytes(&mut self) -> Result<&'a [u8], CodecError> {
        let length = self.u32()?;
        self.raw(to_usize(length))
    }

    /// As [`Reader::bytes`], copied into an owned value.
    pub fn owned(&mut self) -> Result<Bytes, CodecError> {
        Ok(Bytes::copy_from_slice(self.bytes()?))
    }

    /// Takes a `u32` length and UTF-8.
    pub fn text(&mut self, field: &'static str) -> Result<&'a str, CodecError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| CodecError::Invalid { field })
    }

    /// Bytes not taken yet.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.0.len()
    }

    /// Checks that nothing is left.
    pub const fn end(&self) -> Result<(), CodecError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(CodecError::Trailing {
                extra_bytes: self.0.len(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_field_by_field() {
        let mut writer = Writer::default();
        writer.u8(7).u32(8).u64(9).bytes(b"ab").text("cd").raw(&[1]);
        let record = writer.finish();
        let mut reader = Reader::new(&record);
        assert_eq!(reader.u8(), Ok(7));
        assert_eq!(reader.u32(), Ok(8));
        assert_eq!(reader.u64(), Ok(9));
        assert_eq!(reader.bytes(), Ok(b"ab".as_slice()));
        assert_eq!(reader.text("t"), Ok("cd"));
        assert_eq!(reader.end(), Err(CodecError::Trailing { extra_bytes: 1 }));
        assert_eq!(reader.array(), Ok([1]));
        assert_eq!(reader.end(), Ok(()));
    }

    #[test]
    fn a_length_beyond_the_record_is_short_not_a_panic() {
        let mut reader = Reader::new(&[255, 255, 255, 255, 1]);
        assert!(matches!(reader.bytes(), Err(CodecError::Short { .. })));
    }
}
