//! Values of the applied state.
//!
//! ```text
//! blob      u8 version = 1 | u8 state (0 live, 1 condemned) | u8 is_inline
//!             | u64 size | u64 generation | u64 lease_until_ms
//! tag       u8 version = 1 | digest | u64 index | u64 time_ms
//! history   u8 version = 1 | u32 count, (digest | u64 index | u64 time_ms)…
//! manifest  u8 version = 1 | text media_type | u64 size | u64 index | u64 time_ms
//!             | u8 has_subject [digest]
//! parts     u8 version = 1 | u32 count, digest…
//! referrer  u8 version = 1 | u8 has_type [text type] | bytes descriptor
//! link      u8 version = 1 | u64 size
//! extents   u8 version = 1 | u32 count, u32 checksum…
//! mark      u8 version = 1; the key says all: home, tagged, stored, reference,
//!           holder, repository
//! ```

use bytes::Bytes;

use super::command_codec::{encode_digests, list, option, optional};
use super::key;
use super::policy::flag;
use super::view::{View, ViewError};
use crate::base::units::to_u32;
use crate::base::{CodecError, Reader, Writer};
use crate::oci::{Digest, MediaType, Referrer};

const RECORD_VERSION: u8 = 1;
/// Bytes of a blob's record without its version.
const BLOB_FIELDS_BYTES: usize = 26;
/// Room for the records of other kinds; few are longer.
const SMALL_RECORD_BYTES: usize = 128;
/// The value of keys that say all themselves.
pub(super) const MARK: &[u8] = &[RECORD_VERSION];

/// The applied state could not be read; nothing was decided.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The store failed.
    #[error(transparent)]
    View(#[from] ViewError),
    /// A record is not what this build writes.
    #[error("record of the applied state")]
    Record(#[from] CodecError),
}

/// Whether a blob may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobState {
    /// It may.
    Live,
    /// It reads as absent; the record remembers the generation.
    Condemned,
}

/// A blob, whatever repositories it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobRecord {
    /// Its size.
    pub size_bytes: u64,
    /// Names its file together with the digest.
    pub generation: u64,
    /// Whether it may be read.
    pub state: BlobState,
    /// It is not condemned before this time, in ms since the Unix epoch.
    pub lease_until_ms: u64,
    /// Whether its content lives in the state instead of a file.
    pub is_inline: bool,
}

impl BlobRecord {
    /// Whether it may be read.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.state == BlobState::Live
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut writer = start_sized(BLOB_FIELDS_BYTES);
        let state = u8::from(self.state == BlobState::Condemned);
        writer.u8(state).u8(u8::from(self.is_inline));
        writer
            .u64(self.size_bytes)
            .u64(self.generation)
            .u64(self.lease_until_ms);
        writer.finish()
    }

    pub(super) fn decode(record: &[u8]) -> Result<Self, CodecError> {
        decode_record(record, "blob", |reader| {
            let is_condemned = flag(reader, "state")?;
            Ok(Self {
                state: if is_condemned {
                    BlobState::Condemned
                } else {
                    BlobState::Live
                },
                is_inline: flag(reader, "is_inline")?,
                size_bytes: reader.u64()?,
                generation: reader.u64()?,
                lease_until_ms: reader.u64()?,
            })
        })
    }
}

/// Where a tag points, or pointed, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TagRecord {
    /// The manifest.
    pub digest: Digest,
    /// Journal index of the push.
    pub index: u64,
    /// Time of the push, in ms since the Unix epoch.
    pub time_ms: u64,
}

impl TagRecord {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut writer = start_sized(self.digest.encoded_bytes() + 16);
        self.write(&mut writer);
        writer.finish()
    }

    pub(super) fn decode(record: &[u8]) -> Result<Self, CodecError> {
        decode_record(record, "tag", Self::read)
    }

    pub(super) fn encode_history(history: &[Self]) -> Vec<u8> {
        let mut writer = start();
        writer.u32(to_u32(history.len()));
        for one in history {
            one.write(&mut writer);
        }
        writer.finish()
    }

    pub(super) fn decode_history(record: &[u8]) -> Result<Vec<Self>, CodecError> {
        decode_record(record, "history", |reader| list(reader, Self::read))
    }

    fn write(&self, writer: &mut Writer) {
        self.digest.encode(writer);
        writer.u64(self.index).u64(self.time_ms);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self {
            digest: Digest::decode(reader)?,
            index: reader.u64()?,
            time_ms: reader.u64()?,
        })
    }
}

/// A manifest of a repository, without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestRecord {
    /// Content type it was pushed with.
    pub media_type: MediaType,
    /// Length of its bytes.
    pub size_bytes: u64,
    /// Journal index of the push.
    pub index: u64,
    /// Time of the push, in ms since the Unix epoch.
    pub time_ms: u64,
    /// What it is about.
    pub subject: Option<Digest>,
}

impl ManifestRecord {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut writer = start();
        writer.text(self.media_type.as_str());
        writer
            .u64(self.size_bytes)
            .u64(self.index)
            .u64(self.time_ms);
        option(&mut writer, self.subject, |writer, subject| {
            subject.encode(writer);
        });
        writer.finish()
    }

    pub(super) fn decode(record: &[u8]) -> Result<Self, CodecError> {
        decode_record(record, "manifest", |reader| {
            let media_type = MediaType::parse(reader.text("media_type")?);
            Ok(Self {
                media_type: media_type.map_err(|_| CodecError::Invalid {
                    field: "media_type",
                })?,
                size_bytes: reader.u64()?,
                index: reader.u64()?,
                time_ms: reader.u64()?,
                subject: optional(reader, "has_subject", Digest::decode)?,
            })
        })
    }
}

/// Writes a `parts` record.
pub(super) fn encode_parts(parts: &[Digest]) -> Vec<u8> {
    let mut writer = start();
    encode_digests(parts, &mut writer);
    writer.finish()
}

/// Reads a `parts` record.
pub(super) fn decode_parts(record: &[u8]) -> Result<Vec<Digest>, CodecError> {
    decode_record(record, "parts", |reader| list(reader, Digest::decode))
}

/// Writes a `referrer` record; its subject stands in the key.
pub(super) fn encode_referrer(referrer: &Referrer) -> Vec<u8> {
    let mut writer = start();
    option(
        &mut writer,
        referrer.artifact_type.as_deref(),
        |writer, text| {
            writer.text(text);
        },
    );
    writer.bytes(&referrer.descriptor);
    writer.finish()
}

/// Reads a `referrer` record: artifact type and descriptor, in place.
pub(super) fn decode_referrer(record: &[u8]) -> Result<(Option<&str>, &[u8]), CodecError> {
    decode_record(record, "referrer", |reader| {
        let artifact_type = optional(reader, "has_type", |reader| reader.text("type"))?;
        Ok((artifact_type, reader.bytes()?))
    })
}

/// Writes a `link` record.
pub(super) fn encode_link(size_bytes: u64) -> Vec<u8> {
    let mut writer = start_sized(8);
    writer.u64(size_bytes);
    writer.finish()
}

/// Reads a `link` record: the blob's size.
pub(super) fn decode_link(record: &[u8]) -> Result<u64, CodecError> {
    decode_record(record, "link", Reader::u64)
}

/// Writes an `extents` record.
pub(super) fn encode_extents(checksums: &[u32]) -> Vec<u8> {
    let mut writer = start_sized(4 + 4 * checksums.len());
    writer.u32(to_u32(checksums.len()));
    for checksum in checksums {
        writer.u32(*checksum);
    }
    writer.finish()
}

/// Reads an `extents` record.
pub(super) fn decode_extents(record: &[u8]) -> Result<Vec<u32>, CodecError> {
    decode_record(record, "extents", |reader| list(reader, Reader::u32))
}

/// Reads an optional value with its decoder.
pub(super) fn read<T>(
    value: Option<Bytes>,
    decode: impl FnOnce(&[u8]) -> Result<T, CodecError>,
) -> Result<Option<T>, StateError> {
    Ok(value.map(|record| decode(&record)).transpose()?)
}

/// Reads every record whose key starts with `prefix`, in key order; `decode` is given
/// the rest of the key.
pub(super) fn read_all<T>(
    view: &dyn View,
    prefix: &[u8],
    decode: impl Fn(&[u8], &[u8]) -> Result<T, CodecError>,
) -> Result<Vec<T>, StateError> {
    let mut found = Vec::new();
    let mut outcome = Ok(());
    view.scan(prefix, &key::end_of(prefix), &mut |key, value| {
        let tail = key.strip_prefix(prefix).unwrap_or_default();
        match decode(tail, value) {
            Ok(entry) => found.push(entry),
            Err(error) => outcome = Err(error),
        }
        outcome.is_ok()
    })?;
    outcome?;
    Ok(found)
}

/// A record with its version.
pub(super) fn start() -> Writer {
    start_sized(SMALL_RECORD_BYTES)
}

/// A record with its version and exactly the room for its fields, as those have that
/// come by the thousand.
fn start_sized(fields_bytes: usize) -> Writer {
    let mut writer = Writer::with_capacity(1 + fields_bytes);
    writer.u8(RECORD_VERSION);
    writer
}

/// Reads a whole record with the decoder of its fields.
pub(super) fn decode_record<'a, T>(
    record: &'a [u8],
    name: &'static str,
    fields: impl FnOnce(&mut Reader<'a>) -> Result<T, CodecError>,
) -> Result<T, CodecError> {
    let mut reader = Reader::new(record);
    let version = reader.u8()?;
    if version != RECORD_VERSION {
        return Err(CodecError::Version {
            record: name,
            version,
        });
    }
    let value = fields(&mut reader)?;
    reader.end()?;
    Ok(value)
}

#[cfg(test)]
#[path = "record_test.rs"]
mod tests;
