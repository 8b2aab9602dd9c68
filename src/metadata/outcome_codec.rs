//! The encoding of outcomes, for nodes that proposed through another one.
//!
//! ```text
//! outcome       u8 version = 1 | u8 kind | fields
//! applied       0
//! blob linked   1 | u64 generation
//! condemned gen 2 | u64 next
//! stored        3 | u8 is_new | u8 is_change
//! deleted       4
//! not found     5 | u8 what (0 repository, 1 blob, 2 manifest, 3 tag, 4 node, 5 robot)
//! blobs missing 6 | u32 count, digest…
//! sizes differ  7 | u32 count, digest…
//! refused       8 | u8 why (0 tag immutable, 1 tag moved: each with text tag;
//!                 2 deletes refused, 3 token unknown, 4 token used, 5 token expired,
//!                 6 tokens exhausted, 7 node known, 8 node removed, 9 last voter,
//!                 10 address taken: with u64 node; 11 robot known, 12 robots exhausted,
//!                 13 outdated: with u64 newest)
//! condemned     9
//! kept         10 | u8 why (0 referenced, 1 leased, 2 other generation, 3 absent,
//!                 4 last holder)
//! node admitted 11 | u64 node
//! ```

use super::command_codec::{encode_digests, list, tag};
use super::outcome::{Kept, Outcome, Refusal, What};
use super::policy::flag;
use crate::base::{CodecError, Reader, Writer};
use crate::oci::Digest;

const OUTCOME_VERSION: u8 = 1;

impl Outcome {
    /// Appends the outcome as drawn above.
    pub fn encode(&self, writer: &mut Writer) {
        writer.u8(OUTCOME_VERSION);
        match self {
            Self::Applied => drop(writer.u8(0)),
            Self::BlobLinked { generation } => drop(writer.u8(1).u64(*generation)),
            Self::GenerationCondemned { next } => drop(writer.u8(2).u64(*next)),
            Self::Stored { is_new, is_change } => {
                writer.u8(3).u8(u8::from(*is_new)).u8(u8::from(*is_change));
            }
            Self::Deleted => drop(writer.u8(4)),
            Self::NotFound(what) => drop(writer.u8(5).u8(what_code(*what))),
            Self::BlobsMissing(digests) => encode_digests(digests, writer.u8(6)),
            Self::SizesDiffer(digests) => encode_digests(digests, writer.u8(7)),
            Self::Refused(refusal) => encode_refusal(refusal, writer.u8(8)),
            Self::Condemned => drop(writer.u8(9)),
            Self::Kept(kept) => drop(writer.u8(10).u8(kept_code(*kept))),
            Self::NodeAdmitted { node } => drop(writer.u8(11).u64(*node)),
        }
    }

    /// Takes what [`Outcome::encode`] appended.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let version = reader.u8()?;
        if version != OUTCOME_VERSION {
            return Err(CodecError::Version {
                record: "outcome",
                version,
            });
        }
        Ok(match reader.u8()? {
            0 => Self::Applied,
            1 => Self::BlobLinked {
                generation: reader.u64()?,
            },
            2 => Self::GenerationCondemned {
                next: reader.u64()?,
            },
            3 => Self::Stored {
                is_new: flag(reader, "is_new")?,
                is_change: flag(reader, "is_change")?,
            },
            4 => Self::Deleted,
            5 => Self::NotFound(decode_what(reader)?),
            6 => Self::BlobsMissing(list(reader, Digest::decode)?),
            7 => Self::SizesDiffer(list(reader, Digest::decode)?),
            8 => Self::Refused(decode_refusal(reader)?),
            9 => Self::Condemned,
            10 => Self::Kept(decode_kept(reader)?),
            11 => Self::NodeAdmitted {
                node: reader.u64()?,
            },
            _ => return Err(CodecError::Invalid { field: "outcome" }),
        })
    }
}

const fn what_code(what: What) -> u8 {
    match what {
        What::Repository => 0,
        What::Blob => 1,
        What::Manifest => 2,
        What::Tag => 3,
        What::Node => 4,
        What::Robot => 5,
    }
}

fn decode_what(reader: &mut Reader<'_>) -> Result<What, CodecError> {
    Ok(match reader.u8()? {
        0 => What::Repository,
        1 => What::Blob,
        2 => What::Manifest,
        3 => What::Tag,
        4 => What::Node,
        5 => What::Robot,
        _ => return Err(CodecError::Invalid { field: "what" }),
    })
}

const fn kept_code(kept: Kept) -> u8 {
    match kept {
        Kept::Referenced => 0,
        Kept::Leased => 1,
        Kept::OtherGeneration => 2,
        Kept::Absent => 3,
        Kept::LastHolder => 4,
    }
}

fn decode_kept(reader: &mut Reader<'_>) -> Result<Kept, CodecError> {
    Ok(match reader.u8()? {
        0 => Kept::Referenced,
        1 => Kept::Leased,
        2 => Kept::OtherGeneration,
        3 => Kept::Absent,
        4 => Kept::LastHolder,
        _ => return Err(CodecError::Invalid { field: "kept" }),
    })
}

fn encode_refusal(refusal: &Refusal, writer: &mut Writer) {
    match refusal {
        Refusal::TagImmutable(tag) => drop(writer.u8(0).text(tag.as_str())),
        Refusal::TagMoved(tag) => drop(writer.u8(1).text(tag.as_str())),
        Refusal::DeletesRefused => drop(writer.u8(2)),
        Refusal::TokenUnknown => drop(writer.u8(3)),
        Refusal::TokenUsed => drop(writer.u8(4)),
        Refusal::TokenExpired => drop(writer.u8(5)),
        Refusal::TokensExhausted => drop(writer.u8(6)),
        Refusal::NodeKnown => drop(writer.u8(7)),
        Refusal::NodeRemoved => drop(writer.u8(8)),
        Refusal::LastVoter => drop(writer.u8(9)),
        Refusal::AddressTaken { node } => drop(writer.u8(10).u64(*node)),
        Refusal::RobotKnown => drop(writer.u8(11)),
        Refusal::RobotsExhausted => drop(writer.u8(12)),
        Refusal::Outdated { newest } => drop(writer.u8(13).u64(*newest)),
    }
}

fn decode_refusal(reader: &mut Reader<'_>) -> Result<Refusal, CodecError> {
    Ok(match reader.u8()? {
        0 => Refusal::TagImmutable(tag(reader)?),
        1 => Refusal::TagMoved(tag(reader)?),
        2 => Refusal::DeletesRefused,
        3 => Refusal::TokenUnknown,
        4 => Refusal::TokenUsed,
        5 => Refusal::TokenExpired,
        6 => Refusal::TokensExhausted,
        7 => Refusal::NodeKnown,
        8 => Refusal::NodeRemoved,
        9 => Refusal::LastVoter,
        10 => Refusal::AddressTaken {
            node: reader.u64()?,
        },
        11 => Refusal::RobotKnown,
        12 => Refusal::RobotsExhausted,
        13 => Refusal::Outdated {
            newest: reader.u64()?,
        },
        _ => return Err(CodecError::Invalid { field: "refusal" }),
    })
}

#[cfg(test)]
#[path = "outcome_codec_test.rs"]
mod tests;
