//! Messages by which a node asks the leader: to commit a change, for a read
//! index, and about the cluster.
//!
//! ```text
//! propose      u8 version = 1 | u32 limit in ms | the proposal, to the end
//! proposed     u8 result: 0 applied | u64 index | outcome (bytes of `metadata`, to the end)
//!                         1 nobody knows whether it was or will be
//! read index   u8 version = 1
//! index        u64: what must be applied before a read
//! cluster      u8 version = 1 | u8 kind: 0 hello · 1 members · 2 transfer | u64 next leader
//!                · 3 barrier | u64 index · 4 seen | u64 index · 5 filled | u64 index
//!                · 6 promote | u64 node
//! told         0: u8 has_leader [u64 node] · 1: members · 2, 3, 4, 6: nothing
//!                · 5: u8 has_index [u64 index] | u64 missing blobs | u32 count · each: u64 node
//! members      u64 term | u8 has_last [u64 index of the last entry] | u8 is_changing
//!                | u32 count · each:
//!                u64 node | address (u32 length, UTF-8) | u8 is_voter | u8 is_leader
//!                | u8 has_matched [u64 index of its last entry that the leader knows of]
//! ```

use std::time::Duration;

use bytes::Bytes;

use crate::base::codec::{CodecError, Reader, Writer};
#[cfg(feature = "mutants")]
use crate::base::tomorrow;
use crate::base::units::to_u32;
use crate::metadata::Outcome;

use super::encoding::{flag, version};
use super::fill::Filled;
use super::members::{Member, Members};
use super::reply::{Reply, encode_reply};

const REQUEST_VERSION: u8 = 1;

/// The proposal and how long the caller waits for its outcome.
pub(super) fn encode_propose(change: &[u8], limit: Duration) -> Bytes {
    let limit_ms = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
    let mut writer = Writer::with_capacity(8 + change.len());
    writer.u8(REQUEST_VERSION).u32(limit_ms).raw(change);
    Bytes::from(writer.finish())
}

/// Reads a proposal; it shares the bytes of the message.
pub(super) fn decode_propose(message: &Bytes) -> Result<(Bytes, Duration), CodecError> {
    let mut reader = Reader::new(message);
    version(&mut reader, REQUEST_VERSION, "propose")?;
    let limit = Duration::from_millis(u64::from(reader.u32()?));
    let start = message.len() - reader.remaining();
    Ok((message.slice(start..), limit))
}

/// What became of a proposal on the leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Proposed {
    /// It is committed and applied there.
    Applied {
        /// Index of its entry.
        index: u64,
        /// What applying it said.
        outcome: Outcome,
    },
    /// It may have been, or may still be, committed.
    Unknown,
}

/// Appends the answer to a proposal.
pub(super) fn write_proposed(writer: &mut Writer, proposed: &Proposed) {
    match proposed {
        Proposed::Applied { index, outcome } => outcome.encode(writer.u8(0).u64(*index)),
        Proposed::Unknown => drop(writer.u8(1)),
    }
}

/// Takes the answer to a proposal.
pub(super) fn read_proposed(reader: &mut Reader<'_>) -> Result<Proposed, CodecError> {
    Ok(match reader.u8()? {
        0 => Proposed::Applied {
            index: reader.u64()?,
            outcome: Outcome::decode(reader)?,
        },
        1 => Proposed::Unknown,
        _ => return Err(CodecError::Invalid { field: "result" }),
    })
}

/// The read index for a node that the leader does not reach: no entry has it, so that the
/// node never has all that it asks for, and still knows that there is a quorum.
pub(super) const WITHHELD_ID: u64 = u64::MAX;

/// The question for a read index.
pub(super) fn encode_read_index() -> Bytes {
    Bytes::from_static(&[REQUEST_VERSION])
}

/// Reads the question for a read index.
pub(super) fn decode_read_index(message: &[u8]) -> Result<(), CodecError> {
    let mut reader = Reader::new(message);
    version(&mut reader, REQUEST_VERSION, "read index")?;
    reader.end()
}

/// The answer with the index that must be applied before a read.
pub(super) fn encode_index(index: &Reply<u64>) -> Bytes {
    encode_reply(index, |writer, index| {
        writer.u64(*index);
    })
}

/// Takes the index that must be applied before a read.
pub(super) fn read_index(reader: &mut Reader<'_>) -> Result<u64, CodecError> {
    reader.u64()
}

/// What a node asks about the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClusterRequest {
    /// Whether the caller still belongs to the cluster, and who leads it.
    Hello,
    /// Who belongs to the cluster and how far they are. Only the leader knows.
    Members,
    /// To hand leadership over. Only the leader can.
    Transfer {
        /// The next leader.
        to: u64,
    },
    /// To answer when no node serves what an entry deleted. Only the leader knows.
    Barrier {
        /// Index of the entry.
        index: u64,
    },
    /// To answer when an entry is applied at the node that is asked.
    Seen {
        /// Index of the entry.
        index: u64,
    },
    /// How far the node that is asked holds the blobs of its state.
    Filled {
        /// What the caller waits for; the answer may wait a moment for it, too.
        index: u64,
    },
    /// To give a node its vote though it may lack blobs. Only the leader can.
    Promote {
        /// The node.
        node: u64,
    },
    /// Whether the other end is of the version after this one; see `base::tomorrow`.
    #[cfg(feature = "mutants")]
    Greeting,
}

impl ClusterRequest {
    /// The message in bytes.
    pub(super) fn encode(self) -> Bytes {
        let mut writer = Writer::with_capacity(16);
        writer.u8(REQUEST_VERSION);
        match self {
            Self::Hello => drop(writer.u8(0)),
            Self::Members => drop(writer.u8(1)),
            Self::Transfer { to } => drop(writer.u8(2).u64(to)),
            Self::Barrier { index } => drop(writer.u8(3).u64(index)),
            Self::Seen { index } => drop(writer.u8(4).u64(index)),
            Self::Filled { index } => drop(writer.u8(5).u64(index)),
            Self::Promote { node } => drop(writer.u8(6).u64(node)),
            #[cfg(feature = "mutants")]
            Self::Greeting => drop(writer.u8(255)),
        }
        Bytes::from(writer.finish())
    }

    /// Reads a message.
    pub(super) fn decode(message: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(message);
        version(&mut reader, REQUEST_VERSION, "cluster")?;
        let request = match reader.u8()? {
            0 => Self::Hello,
            1 => Self::Members,
            2 => Self::Transfer { to: reader.u64()? },
            3 => Self::Barrier {
                index: reader.u64()?,
            },
            4 => Self::Seen {
                index: reader.u64()?,
            },
            5 => Self::Filled {
                index: reader.u64()?,
            },
            6 => Self::Promote {
                node: reader.u64()?,
            },
            #[cfg(feature = "mutants")]
            255 if tomorrow::is_on() => Self::Greeting,
            _ => return Err(CodecError::Invalid { field: "kind" }),
        };
        reader.end()?;
        Ok(request)
    }
}

/// The answer to a hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hello {
    /// Who leads, as far as the node knows.
    pub leader: Option<u64>,
}

/// Appends the answer to a hello.
pub(super) fn write_hello(writer: &mut Writer, hello: &Hello) {
    write_optional(writer, hello.leader);
}

/// Takes the answer to a hello.
pub(super) fn read_hello(reader: &mut Reader<'_>) -> Result<Hello, CodecError> {
    let leader = read_optional(reader, "has_leader")?;
    Ok(Hello { leader })
}

/// Appends how far a node holds its blobs.
pub(super) fn write_filled(writer: &mut Writer, filled: &Filled) {
    write_optional(writer, filled.index);
    writer.u64(filled.missing_blobs);
    writer.u32(to_u32(filled.unreached.len()));
    for node in &filled.unreached {
        writer.u64(*node);
    }
}

/// Takes how far a node holds its blobs.
pub(super) fn read_filled(reader: &mut Reader<'_>) -> Result<Filled, CodecError> {
    let index = read_optional(reader, "has_index")?;
    let missing_blobs = reader.u64()?;
    // Room is made as they come: a count alone takes none.
    let mut unreached = Vec::new();
    for _ in 0..reader.u32()? {
        unreached.push(reader.u64()?);
    }
    Ok(Filled {
        index,
        missing_blobs,
        unreached,
    })
}

/// Appends the members.
pub(super) fn write_members(writer: &mut Writer, members: &Members) {
    writer.u64(members.term);
    write_optional(writer, members.last_index);
    writer.u8(u8::from(members.is_changing));
    writer.u32(to_u32(members.nodes.len()));
    for member in &members.nodes {
        writer.u64(member.node).text(&member.address);
        writer.u8(u8::from(member.is_voter));
        writer.u8(u8::from(member.is_leader));
        write_optional(writer, member.matched_index);
    }
}

/// Takes the members.
pub(super) fn read_members(reader: &mut Reader<'_>) -> Result<Members, CodecError> {
    let term = reader.u64()?;
    let last_index = read_optional(reader, "has_last")?;
    let is_changing = flag(reader, "is_changing")?;
    let mut nodes = Vec::new();
    for _ in 0..reader.u32()? {
        nodes.push(Member {
            node: reader.u64()?,
            address: reader.text("address")?.into(),
            is_voter: flag(reader, "is_voter")?,
            is_leader: flag(reader, "is_leader")?,
            matched_index: read_optional(reader, "has_matched")?,
        });
    }
    Ok(Members {
        term,
        last_index,
        is_changing,
        nodes,
    })
}

fn write_optional(writer: &mut Writer, value: Option<u64>) {
    writer.u8(u8::from(value.is_some()));
    if let Some(value) = value {
        writer.u64(value);
    }
}

fn read_optional(reader: &mut Reader<'_>, field: &'static str) -> Result<Option<u64>, CodecError> {
    if flag(reader, field)? {
        reader.u64().map(Some)
    } else {
        Ok(None)
    }
}

#[cfg(test)]
#[path = "message_test.rs"]
mod tests;
