//! What the state knows about the machines of the cluster.
//!
//! ```text
//! node    u8 version = 1 | 16 node_uuid | u8 state (0 admitted, 1 member, 2 removed)
//!           | u8 is_voter | text address | u8 has_token [32 hash]
//! token   u8 version = 1 | u64 expires_ms | u64 node (0 while unused)
//! ```

use super::command_codec::{option, optional};
use super::key;
use super::node_address::NodeAddress;
use super::node_command::{JoinTokenHash, NodeUuid, address};
use super::policy::flag;
use super::record::{StateError, decode_record, read, read_all, start};
use super::view::View;
use crate::base::{CodecError, Reader};

/// How far a machine has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodeState {
    /// It has a number and has not used it yet.
    Admitted,
    /// It runs, or ran, under its number.
    Member,
    /// It must not come back.
    Removed,
}

/// A machine of the cluster, or one that was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRecord {
    /// Names the machine.
    pub node_uuid: NodeUuid,
    /// How far it has come.
    pub state: NodeState,
    /// Whether it is to vote.
    pub is_voter: bool,
    /// Where it is reached.
    pub address: NodeAddress,
    /// The token that admitted it.
    pub(super) token: Option<JoinTokenHash>,
}

impl NodeRecord {
    /// A machine that no token admitted.
    #[must_use]
    pub const fn new(
        node_uuid: NodeUuid,
        state: NodeState,
        is_voter: bool,
        address: NodeAddress,
    ) -> Self {
        Self {
            node_uuid,
            state,
            is_voter,
            address,
            token: None,
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut writer = start();
        writer.raw(&self.node_uuid).u8(match self.state {
            NodeState::Admitted => 0,
            NodeState::Member => 1,
            NodeState::Removed => 2,
        });
        writer
            .u8(u8::from(self.is_voter))
            .text(self.address.as_str());
        option(&mut writer, self.token.as_ref(), |writer, token| {
            writer.raw(token);
        });
        writer.finish()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        decode_record(bytes, "node", |reader| {
            Ok(Self {
                node_uuid: reader.array()?,
                state: match reader.u8()? {
                    0 => NodeState::Admitted,
                    1 => NodeState::Member,
                    2 => NodeState::Removed,
                    _ => return Err(CodecError::Invalid { field: "state" }),
                },
                is_voter: flag(reader, "is_voter")?,
                address: address(reader)?,
                token: optional(reader, "has_token", Reader::array)?,
            })
        })
    }
}

/// A join token, without the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TokenRecord {
    /// It admits nobody from this time on.
    pub(super) expires_ms: u64,
    /// The node it admitted; 0 while unused.
    pub(super) node: u64,
}

impl TokenRecord {
    pub(super) fn encode(self) -> Vec<u8> {
        let mut writer = start();
        writer.u64(self.expires_ms).u64(self.node);
        writer.finish()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        decode_record(bytes, "token", |reader| {
            Ok(Self {
                expires_ms: reader.u64()?,
                node: reader.u64()?,
            })
        })
    }
}

/// A machine by its number.
pub fn node(view: &dyn View, node: u64) -> Result<Option<NodeRecord>, StateError> {
    read(view.value(&key::node(node))?, NodeRecord::decode)
}

/// Every machine that ever had a number, removed ones included, by number.
pub fn nodes(view: &dyn View) -> Result<Vec<(u64, NodeRecord)>, StateError> {
    read_all(view, key::NODES, entry)
}

fn entry(number: &[u8], value: &[u8]) -> Result<(u64, NodeRecord), CodecError> {
    let node = Reader::new(number).array().map(u64::from_be_bytes)?;
    Ok((node, NodeRecord::decode(value)?))
}
