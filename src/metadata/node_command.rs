//! Changes of the cluster itself: who belongs to it, where, and in which role.
//! What they say is a wish; the leader makes the membership follow.

use super::command_codec::{option, optional};
use super::node_address::NodeAddress;
use super::policy::flag;
use crate::base::{CodecError, Reader, Writer};

/// Names a machine's data directory for ever.
pub type NodeUuid = [u8; 16];
/// SHA-256 of a join token; the token itself is never written down.
pub type JoinTokenHash = [u8; 32];

/// A change of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeCommand {
    /// A machine asks to be a node. The index of the entry becomes its number.
    Admit {
        /// Names the machine.
        node_uuid: NodeUuid,
        /// Where it will be reached.
        address: NodeAddress,
        /// Whether it is to vote once it has caught up; else it learns for ever.
        is_voter: bool,
        /// The token it brought; `None` when an operator vouches for it.
        token: Option<JoinTokenHash>,
    },
    /// A node says that it runs and where it is.
    Describe {
        /// Its number.
        node: u64,
        /// Names the machine.
        node_uuid: NodeUuid,
        /// Where it is reached.
        address: NodeAddress,
    },
    /// A node is to vote, or to learn only.
    SetRole {
        /// Its number.
        node: u64,
        /// Whether it is to vote.
        is_voter: bool,
    },
    /// A node is to leave; its number never comes back.
    Remove {
        /// Its number.
        node: u64,
    },
    /// A token that admits one machine, once.
    AddJoinToken {
        /// Hash of the token.
        hash: JoinTokenHash,
        /// It admits nobody from this time on, in ms since the Unix epoch.
        expires_ms: u64,
    },
    /// A node says which formats it knows.
    SetLevel {
        /// Its number.
        node: u64,
        /// See `FORMAT_LEVEL`.
        level: u32,
    },
}

impl NodeCommand {
    /// Appends tag and fields as `command_codec` draws them.
    pub(super) fn encode(&self, writer: &mut Writer) {
        match self {
            Self::Admit {
                node_uuid,
                address,
                is_voter,
                token,
            } => {
                writer.u8(12).raw(node_uuid).text(address.as_str());
                writer.u8(u8::from(*is_voter));
                option(writer, token.as_ref(), |writer, token| {
                    writer.raw(token);
                });
            }
            Self::Describe {
                node,
                node_uuid,
                address,
            } => {
                writer.u8(13).u64(*node).raw(node_uuid);
                writer.text(address.as_str());
            }
            Self::SetRole { node, is_voter } => {
                writer.u8(14).u64(*node).u8(u8::from(*is_voter));
            }
            Self::Remove { node } => {
                writer.u8(15).u64(*node);
            }
            Self::AddJoinToken { hash, expires_ms } => {
                writer.u8(16).raw(hash).u64(*expires_ms);
            }
            Self::SetLevel { node, level } => {
                writer.u8(17).u64(*node).u32(*level);
            }
        }
    }

    /// Takes the fields behind a tag.
    pub(super) fn decode(tag: u8, reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(match tag {
            12 => Self::Admit {
                node_uuid: reader.array()?,
                address: address(reader)?,
                is_voter: flag(reader, "is_voter")?,
                token: optional(reader, "has_token", Reader::array)?,
            },
            13 => Self::Describe {
                node: reader.u64()?,
                node_uuid: reader.array()?,
                address: address(reader)?,
            },
            14 => Self::SetRole {
                node: reader.u64()?,
                is_voter: flag(reader, "is_voter")?,
            },
            15 => Self::Remove {
                node: reader.u64()?,
            },
            16 => Self::AddJoinToken {
                hash: reader.array()?,
                expires_ms: reader.u64()?,
            },
            17 => Self::SetLevel {
                node: reader.u64()?,
                level: reader.u32()?,
            },
            _ => return Err(CodecError::Invalid { field: "command" }),
        })
    }
}

/// Takes an address.
pub(super) fn address(reader: &mut Reader<'_>) -> Result<NodeAddress, CodecError> {
    let invalid = |_| CodecError::Invalid { field: "address" };
    NodeAddress::parse(reader.text("address")?).map_err(invalid)
}
