//! How nodes speak about upload sessions of each other.
//!
//! ```text
//! request                                    answer
//! 0    [4]  magic "WLUQ"                     0    [4]  magic "WLUA"
//! 4    u8   version, 1                       4    u8   version, 1
//! 5    u8   when cut (1 keep, 2 forget)      5    u8   status (1 held, 2 ended, else
//! 6    u8   bytes of the repository's name             see `RelayedError`)
//! 7    u8   zero                             6    [2]  zero
//! 8    [64] upload id, as text               8    u64  number: bytes held, or of the error
//! 72   [255] repository, zero beyond its end 16   [65] digest of the error, or zero
//! 327  u8   zero                             81   [3]  zero
//! 328  u32  CRC32 of all above               84   u32  CRC32 of all above
//!
//! record                                     seal
//! 0    u8   kind (1 data, 2 keep,            0    [65] digest, zero beyond its end
//!                 3 release, 4 seal)         65   [3]  zero
//! 1    [3]  zero                             68   u32  CRC32 of all above
//! 4    u32  bytes that follow
//! 8    u32  CRC32 of all above
//! ```
//! All numbers are little-endian. The number of an answer that a session has ended is the
//! journal's index of the entry that made it a blob, or zero. On a connection for uploads the dialer sends a request
//! and the owner of the session answers what it holds; then records follow: data, as
//! often as there is some, and one of the ends, which the owner answers. Then the next
//! request may follow. Data has no checksum here: the digest is held against all of it.
//! An answer that comes before an end is an error: the owner passes over what still
//! comes up to the end, and does not answer that. What stops in between breaks the
//! request off, and the connection ends.
//!
//! A call of `Service::Upload` is `u8 version, 1 | u8 operation (1 held, 2 cancel) |
//! [64] upload id, as text | text repository`, answered by an answer.

use bytes::Bytes;

use super::relay_error::RelayedError;
use crate::base::limits::REPOSITORY_BYTES_MAX;
use crate::base::units::{to_u32, to_usize};
use crate::base::{CodecError, Reader, Writer};
use crate::blob::UploadId;
use crate::oci::{Digest, Repository};

const REQUEST_MAGIC: [u8; 4] = *b"WLUQ";
const ANSWER_MAGIC: [u8; 4] = *b"WLUA";
const RELAY_VERSION: u8 = 1;
const REQUEST: &str = "upload request";
const ANSWER: &str = "upload answer";
const RECORD: &str = "upload record";
const CALL: &str = "upload call";
/// Characters of an upload id.
const ID_BYTES: usize = 64;
/// Bytes of a digest's place.
const DIGEST_BYTES: usize = 65;
/// Bytes of a checksum.
const CHECKSUM_BYTES: usize = 4;
/// The statuses of answers that are no errors.
const HELD_TAG: u8 = 1;
const ENDED_TAG: u8 = 2;
/// Stands for no entry: the first entry of a journal is the cluster's own.
const NO_ENTRY_ID: u64 = 0;

/// Length of a request.
pub(super) const REQUEST_BYTES: usize = 332;
/// Length of an answer.
pub(super) const ANSWER_BYTES: usize = 88;
/// Length of a record without what follows it.
pub(super) const RECORD_BYTES: usize = 12;
/// Length of what follows the record that seals.
pub(super) const SEAL_BYTES: usize = 72;

/// What becomes of the bytes of a request that breaks off without an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenCut {
    /// They are kept: the client may ask how far it got, and goes on from there.
    Keep,
    /// They are forgotten: the client repeats the whole request.
    Forget,
}

/// Asks for a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RelayRequest {
    /// The repository it must be of.
    pub(super) repository: Repository,
    /// The session.
    pub(super) id: UploadId,
    /// What becomes of it when the connection breaks.
    pub(super) when_cut: WhenCut,
}

/// What the owner of a session says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RelayAnswer {
    /// The session holds so many bytes.
    Held(u64),
    /// The session has ended as was asked; by this entry of the journal, when a blob was
    /// made of it.
    Ended(Option<u64>),
    /// It did not go so.
    Failed(RelayedError),
}

/// What follows in a request under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RelayRecord {
    /// So many bytes of the upload.
    Data(u32),
    /// The end; what came is kept.
    Keep,
    /// The end; nothing came.
    Release,
    /// The end of the upload; a digest follows.
    Seal,
}

/// A question about a session, without bytes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RelayCall {
    /// What is asked.
    pub(super) operation: RelayOperation,
    /// The repository it must be of.
    pub(super) repository: Repository,
    /// The session.
    pub(super) id: UploadId,
}

/// What is asked about a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RelayOperation {
    /// How much it holds.
    Held,
    /// That it ends and is forgotten.
    Cancel,
}

impl RelayRequest {
    pub(super) fn encode(&self) -> Vec<u8> {
        let name = self.repository.as_str().as_bytes();
        let length = u8::try_from(name.len()).expect("invariant: a name has 255 bytes at most");
        let when_cut = match self.when_cut {
            WhenCut::Keep => 1,
            WhenCut::Forget => 2,
        };
        let mut writer = Writer::with_capacity(REQUEST_BYTES);
        writer.raw(&REQUEST_MAGIC).u8(RELAY_VERSION);
        writer.u8(when_cut).u8(length).u8(0);
        writer.raw(self.id.to_string().as_bytes());
        writer
            .raw(name)
            .raw(&zeros(REPOSITORY_BYTES_MAX, name.len()))
            .u8(0);
        sealed(writer)
    }

    pub(super) fn decode(record: &[u8; REQUEST_BYTES]) -> Result<Self, CodecError> {
        let mut reader = opened(record, REQUEST_MAGIC, REQUEST)?;
        let when_cut = match reader.u8()? {
            1 => WhenCut::Keep,
            2 => WhenCut::Forget,
            _ => return Err(CodecError::Invalid { field: "when cut" }),
        };
        let length = usize::from(reader.u8()?);
        reader.u8()?;
        let id = read_id(&mut reader)?;
        let name = reader.raw(length)?;
        let name = str::from_utf8(name).map_err(|_| CodecError::Invalid { field: "name" })?;
        Ok(Self {
            repository: read_repository(name)?,
            id,
            when_cut,
        })
    }
}

impl RelayAnswer {
    pub(super) fn encode(&self) -> Vec<u8> {
        let (status, number, digest) = match self {
            Self::Held(bytes) => (HELD_TAG, *bytes, None),
            Self::Ended(index) => (ENDED_TAG, index.unwrap_or(NO_ENTRY_ID), None),
            Self::Failed(error) => error.fields(),
        };
        let mut writer = Writer::with_capacity(ANSWER_BYTES);
        writer.raw(&ANSWER_MAGIC).u8(RELAY_VERSION).u8(status);
        writer.raw(&[0; 2]).u64(number).raw(&place(digest.as_ref()));
        writer.raw(&[0; 3]);
        sealed(writer)
    }

    pub(super) fn decode(record: &[u8; ANSWER_BYTES]) -> Result<Self, CodecError> {
        let mut reader = opened(record, ANSWER_MAGIC, ANSWER)?;
        let status = reader.u8()?;
        reader.raw(2)?;
        let number = reader.u64()?;
        let digest = reader.raw(DIGEST_BYTES)?;
        match status {
            HELD_TAG => Ok(Self::Held(number)),
            ENDED_TAG => Ok(Self::Ended(
                Some(number).filter(|index| *index != NO_ENTRY_ID),
            )),
            status => {
                let digest = || Digest::decode(&mut Reader::new(digest));
                RelayedError::of_fields(status, number, digest).map(Self::Failed)
            }
        }
    }

    /// As [`RelayAnswer::decode`], from the answer to a call.
    pub(super) fn decode_payload(payload: &[u8]) -> Result<Self, CodecError> {
        let record: &[u8; ANSWER_BYTES] = payload
            .try_into()
            .map_err(|_| CodecError::Invalid { field: "length" })?;
        Self::decode(record)
    }
}

impl RelayRecord {
    /// The record, without what follows it.
    pub(super) fn encode(self) -> [u8; RECORD_BYTES] {
        let (kind, bytes) = match self {
            Self::Data(bytes) => (1, bytes),
            Self::Keep => (2, 0),
            Self::Release => (3, 0),
            Self::Seal => (4, to_u32(SEAL_BYTES)),
        };
        let mut record = [0; RECORD_BYTES];
        let (head, checksum) = record.split_at_mut(RECORD_BYTES - CHECKSUM_BYTES);
        let (first, length) = head.split_at_mut(4);
        first.copy_from_slice(&[kind, 0, 0, 0]);
        length.copy_from_slice(&bytes.to_le_bytes());
        checksum.copy_from_slice(&crc32fast::hash(head).to_le_bytes());
        record
    }

    pub(super) fn decode(record: [u8; RECORD_BYTES]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(checked(&record, RECORD)?);
        let kind = reader.u8()?;
        reader.raw(3)?;
        match (kind, reader.u32()?) {
            (1, bytes) if bytes > 0 => Ok(Self::Data(bytes)),
            (2, 0) => Ok(Self::Keep),
            (3, 0) => Ok(Self::Release),
            (4, bytes) if to_usize(bytes) == SEAL_BYTES => Ok(Self::Seal),
            _ => Err(CodecError::Invalid { field: "kind" }),
        }
    }
}

/// What follows the record that seals.
pub(super) fn encode_seal(digest: &Digest) -> Vec<u8> {
    let mut writer = Writer::with_capacity(SEAL_BYTES);
    writer.raw(&place(Some(digest))).raw(&[0; 3]);
    sealed(writer)
}

/// Reads what follows the record that seals.
pub(super) fn decode_seal(seal: &[u8; SEAL_BYTES]) -> Result<Digest, CodecError> {
    Digest::decode(&mut Reader::new(checked(seal, RECORD)?))
}

impl RelayCall {
    pub(super) fn encode(&self) -> Bytes {
        let operation = match self.operation {
            RelayOperation::Held => 1,
            RelayOperation::Cancel => 2,
        };
        let mut writer = Writer::default();
        writer.u8(RELAY_VERSION).u8(operation);
        writer.raw(self.id.to_string().as_bytes());
        writer.text(self.repository.as_str());
        writer.finish().into()
    }

    pub(super) fn decode(payload: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(payload);
        check_version(&mut reader, CALL)?;
        let operation = match reader.u8()? {
            1 => RelayOperation::Held,
            2 => RelayOperation::Cancel,
            _ => return Err(CodecError::Invalid { field: "operation" }),
        };
        let id = read_id(&mut reader)?;
        let repository = read_repository(reader.text("repository")?)?;
        reader.end()?;
        Ok(Self {
            operation,
            repository,
            id,
        })
    }
}

fn read_id(reader: &mut Reader<'_>) -> Result<UploadId, CodecError> {
    let invalid = CodecError::Invalid { field: "id" };
    let text = str::from_utf8(reader.raw(ID_BYTES)?).map_err(|_| invalid.clone())?;
    UploadId::parse(text).map_err(|_| invalid)
}

fn read_repository(name: &str) -> Result<Repository, CodecError> {
    Repository::parse(name).map_err(|_| CodecError::Invalid { field: "name" })
}

fn check_version(reader: &mut Reader<'_>, record: &'static str) -> Result<(), CodecError> {
    match reader.u8()? {
        RELAY_VERSION => Ok(()),
        version => Err(CodecError::Version { record, version }),
    }
}

/// A digest in its place.
fn place(digest: Option<&Digest>) -> Vec<u8> {
    let mut writer = Writer::with_capacity(DIGEST_BYTES);
    if let Some(digest) = digest {
        digest.encode(&mut writer);
    }
    let mut place = writer.finish();
    place.resize(DIGEST_BYTES, 0);
    place
}

fn zeros(place_bytes: usize, used_bytes: usize) -> Vec<u8> {
    vec![0; place_bytes.saturating_sub(used_bytes)]
}

/// Ends a record with its checksum.
fn sealed(mut writer: Writer) -> Vec<u8> {
    let checksum = crc32fast::hash(writer.as_slice());
    writer.u32(checksum);
    writer.finish()
}

/// What is before the checksum, when that is right.
fn checked<'a>(record: &'a [u8], name: &'static str) -> Result<&'a [u8], CodecError> {
    let split = record.split_last_chunk::<CHECKSUM_BYTES>();
    let (body, stored) = split.ok_or(CodecError::Short {
        missing_bytes: CHECKSUM_BYTES,
    })?;
    if crc32fast::hash(body) != u32::from_le_bytes(*stored) {
        return Err(CodecError::Checksum { record: name });
    }
    Ok(body)
}

/// Behind magic and version, when they and the checksum are right.
fn opened<'a>(
    record: &'a [u8],
    magic: [u8; 4],
    name: &'static str,
) -> Result<Reader<'a>, CodecError> {
    let mut reader = Reader::new(record);
    if reader.array()? != magic {
        return Err(CodecError::Invalid { field: "magic" });
    }
    let mut reader = Reader::new(checked(record, name)?);
    reader.raw(magic.len())?;
    check_version(&mut reader, name)?;
    Ok(reader)
}

#[cfg(test)]
#[path = "relay_message_test.rs"]
mod tests;
