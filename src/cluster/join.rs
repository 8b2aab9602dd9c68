//! The joining end: asks a member to be let in.

use std::time::Duration;

use super::join_message::{JoinReply, JoinRequest};
use crate::base::CodecError;
use crate::metadata::{NodeAddress, NodeUuid};
use crate::peer::{CallError, Calls, ClusterId, PeerNode, RefusalCode, Service};

/// An admission waits for a commit, so it gets as long as a proposal and the way there.
const JOIN_LIMIT: Duration = Duration::from_secs(20);

/// Who wants to join, and where it will be.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The machine.
    pub node_uuid: NodeUuid,
    /// Where other nodes will reach it.
    pub address: NodeAddress,
    /// Whether it is to vote.
    pub is_voter: bool,
}

/// What a node is given.
#[derive(Clone)]
pub struct Joined {
    /// Its number.
    pub node: u64,
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its certificate and key, empty when the cluster has no authority of its own.
    pub chain: Vec<u8>,
    /// See `chain`.
    pub key: Vec<u8>,
    /// The authority's certificate and key, empty likewise.
    pub authority: String,
    /// See `authority`.
    pub authority_key: String,
}

/// Why a node was not let in.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// No member answered, or it refused; the reason is its own.
    #[error("ask {address} to be let in")]
    Call {
        /// The member that was asked.
        address: Box<str>,
        /// What came of it.
        source: CallError,
    },
    /// The answer is not one.
    #[error("read the answer of {address}")]
    Answer {
        /// The member that was asked.
        address: Box<str>,
        /// What is wrong with it.
        source: CodecError,
    },
}

impl JoinError {
    /// Whether the cluster has decided, so that asking again gives the same answer.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        let Self::Call { source, .. } = self else {
            return true;
        };
        matches!(
            source,
            CallError::Refused {
                code: RefusalCode::NotAllowed,
                ..
            }
        )
    }
}

/// Asks the member at `address` to let this node in, with the secret of a token or a
/// proof that it is of a list. Repeating it is safe, with the same secret and machine.
///
/// - Cancel: the node may be admitted all the same.
pub async fn join(
    calls: &Calls,
    address: &str,
    secret: &[u8; 32],
    wish: &Wish,
) -> Result<Joined, JoinError> {
    // Node 0 takes whichever member answers there.
    let member = PeerNode {
        id: 0,
        address: address.into(),
    };
    let request = JoinRequest {
        secret: *secret,
        node_uuid: wish.node_uuid,
        address: wish.address.clone(),
        is_voter: wish.is_voter,
    };
    let answered = calls
        .call(&member, Service::Join, request.encode(), JOIN_LIMIT)
        .await;
    let answer = answered.map_err(|source| JoinError::Call {
        address: address.into(),
        source,
    })?;
    let unreadable = |source| JoinError::Answer {
        address: address.into(),
        source,
    };
    let reply = JoinReply::decode(&answer).map_err(unreadable)?;
    let name = format!("{:032x}", u128::from_be_bytes(reply.cluster));
    let cluster = ClusterId::parse(&name)
        .map_err(|_| unreadable(CodecError::Invalid { field: "cluster" }))?;
    Ok(Joined {
        node: reply.node,
        cluster,
        chain: reply.chain.into(),
        key: reply.key.into(),
        authority: reply.authority,
        authority_key: reply.authority_key,
    })
}
