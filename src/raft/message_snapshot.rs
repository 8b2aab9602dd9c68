//! Messages that carry a snapshot file to a node that lags too far behind.
//!
//! ```text
//! message   u8 version = 1 | u8 kind | u64 transfer | fields
//! begin     0 | vote of the leader | u64 bytes of the file | optional identity: last entry
//!             | membership (u32 length, bytes of `encoding.rs`)
//! part      1 | u64 offset | u32 CRC32 of the bytes | the bytes (u32 length first)
//! finish    2
//! answer    u8 result: 0 holding | u64 bytes of the file held from its start
//!                      1 installing
//!                      2 installed, or refused by a higher vote | vote here
//!                      3 no such transfer: begin again
//! ```
//! The receiver keeps what it holds while the connection is lost; `begin` and
//! every answer say where to go on.

use bytes::Bytes;

use crate::base::codec::{CodecError, Reader, Writer};
use crate::base::units::{MIB, to_usize};

use super::encoding::{
    decode_stored, encode_stored, read_optional_id, read_vote, version, write_optional_id,
    write_vote,
};
use super::types::{SnapshotMeta, Vote};

const MESSAGE_VERSION: u8 = 1;
/// Bytes of a part: what the receiver writes at once.
pub(super) const PART_BYTES_MAX: usize = to_usize(MIB);

/// One step of a transfer. `transfer` is a number that the sender never repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SnapshotMessage {
    /// Which transfer.
    pub transfer: u64,
    /// What to do.
    pub step: SnapshotStep,
}

/// What to do with a transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SnapshotStep {
    /// Make room for a file, or say how much of it is there.
    Begin {
        /// The leader's vote.
        vote: Vote,
        /// Length of the file.
        file_bytes: u64,
        /// What the file covers.
        meta: SnapshotMeta,
    },
    /// Write a part of the file.
    Part {
        /// Where it starts.
        offset: u64,
        /// The part.
        bytes: Bytes,
    },
    /// The file is whole: install it.
    Finish,
}

/// How far a transfer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SnapshotProgress {
    /// The first bytes of the file are there.
    Holding {
        /// How many.
        bytes: u64,
    },
    /// The file is being installed: ask again.
    Installing,
    /// It is over; a vote above the leader's means that it was refused.
    Done {
        /// The receiver's vote.
        vote: Vote,
    },
    /// The receiver has forgotten the transfer.
    Unknown,
}

impl SnapshotMessage {
    /// The message in bytes.
    pub(super) fn encode(&self) -> Bytes {
        let body_bytes = match &self.step {
            SnapshotStep::Part { bytes, .. } => bytes.len(),
            SnapshotStep::Begin { .. } | SnapshotStep::Finish => 256,
        };
        let mut writer = Writer::with_capacity(32 + body_bytes);
        writer.u8(MESSAGE_VERSION);
        match &self.step {
            SnapshotStep::Begin {
                vote,
                file_bytes,
                meta,
            } => {
                write_vote(writer.u8(0).u64(self.transfer), vote);
                writer.u64(*file_bytes);
                write_optional_id(&mut writer, meta.last_log_id.as_ref());
                writer.bytes(&encode_stored(&meta.last_membership));
            }
            SnapshotStep::Part { offset, bytes } => {
                writer.u8(1).u64(self.transfer).u64(*offset);
                writer.u32(crc32fast::hash(bytes)).bytes(bytes);
            }
            SnapshotStep::Finish => drop(writer.u8(2).u64(self.transfer)),
        }
        Bytes::from(writer.finish())
    }

    /// Reads a message; a part shares its bytes.
    pub(super) fn decode(message: &Bytes) -> Result<Self, CodecError> {
        let mut reader = Reader::new(message);
        version(&mut reader, MESSAGE_VERSION, "snapshot message")?;
        let kind = reader.u8()?;
        let transfer = reader.u64()?;
        let step = match kind {
            0 => SnapshotStep::Begin {
                vote: read_vote(&mut reader)?,
                file_bytes: reader.u64()?,
                meta: SnapshotMeta {
                    last_log_id: read_optional_id(&mut reader)?,
                    last_membership: decode_stored(reader.bytes()?)?,
                },
            },
            1 => {
                let offset = reader.u64()?;
                let checksum = reader.u32()?;
                let length = to_usize(reader.u32()?);
                let start = message.len() - reader.remaining();
                let is_whole = crc32fast::hash(reader.raw(length)?) == checksum;
                if !is_whole {
                    let record = "snapshot message";
                    return Err(CodecError::Checksum { record });
                }
                if length > PART_BYTES_MAX {
                    return Err(CodecError::Invalid { field: "length" });
                }
                let bytes = message.slice(start..start + length);
                SnapshotStep::Part { offset, bytes }
            }
            2 => SnapshotStep::Finish,
            _ => return Err(CodecError::Invalid { field: "kind" }),
        };
        reader.end()?;
        Ok(Self { transfer, step })
    }
}

/// Appends the answer.
pub(super) fn write_progress(writer: &mut Writer, progress: &SnapshotProgress) {
    match progress {
        SnapshotProgress::Holding { bytes } => drop(writer.u8(0).u64(*bytes)),
        SnapshotProgress::Installing => drop(writer.u8(1)),
        SnapshotProgress::Done { vote } => write_vote(writer.u8(2), vote),
        SnapshotProgress::Unknown => drop(writer.u8(3)),
    }
}

/// Takes the answer.
pub(super) fn read_progress(reader: &mut Reader<'_>) -> Result<SnapshotProgress, CodecError> {
    Ok(match reader.u8()? {
        0 => SnapshotProgress::Holding {
            bytes: reader.u64()?,
        },
        1 => SnapshotProgress::Installing,
        2 => SnapshotProgress::Done {
            vote: read_vote(reader)?,
        },
        3 => SnapshotProgress::Unknown,
        _ => return Err(CodecError::Invalid { field: "result" }),
    })
}
