//! Messages of elections.
//!
//! ```text
//! ballot       u8 version = 1 | u8 kind | fields
//! vote         0 | vote | optional identity of the last entry | is transfer u8
//! pre-vote     1 | as vote
//! transfer     2 | vote of the leader | u64 next leader | optional identity it must have
//! voted        vote | is granted u8 | optional identity of the last entry
//! transferred  u8 result: 0 accepted
//!                         1 vote changed | vote expected | vote here
//!                         2 not flushed | optional identity expected | optional identity here
//! ```
//! Votes and identities are drawn in `message_append.rs`.

use bytes::Bytes;
use openraft::raft::{
    TransferLeaderError, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};

use crate::base::codec::{CodecError, Reader, Writer};

use super::encoding::{flag, read_optional_id, read_vote, version, write_optional_id, write_vote};
use super::types::Types;

const BALLOT_VERSION: u8 = 1;

/// What a node asks another one in an election.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ballot {
    /// A vote.
    Vote(VoteRequest<Types>),
    /// Whether it would vote; nobody is bound by the answer.
    PreVote(VoteRequest<Types>),
    /// To take over, or to let another node take over.
    Transfer(TransferLeaderRequest<Types>),
}

impl Ballot {
    /// The message in bytes.
    pub(super) fn encode(&self) -> Bytes {
        let mut writer = Writer::with_capacity(64);
        writer.u8(BALLOT_VERSION);
        match self {
            Self::Vote(request) => write_request(writer.u8(0), request),
            Self::PreVote(request) => write_request(writer.u8(1), request),
            Self::Transfer(request) => {
                write_vote(writer.u8(2), request.from_leader());
                writer.u64(*request.to_node_id());
                write_optional_id(&mut writer, request.last_log_id());
            }
        }
        Bytes::from(writer.finish())
    }

    /// Reads a message.
    pub(super) fn decode(message: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(message);
        version(&mut reader, BALLOT_VERSION, "ballot")?;
        let ballot = match reader.u8()? {
            0 => Self::Vote(read_request(&mut reader)?),
            1 => Self::PreVote(read_request(&mut reader)?),
            2 => {
                let from = read_vote(&mut reader)?;
                let to = reader.u64()?;
                let last = read_optional_id(&mut reader)?;
                Self::Transfer(TransferLeaderRequest::new(from, to, last))
            }
            _ => return Err(CodecError::Invalid { field: "kind" }),
        };
        reader.end()?;
        Ok(ballot)
    }
}

fn write_request(writer: &mut Writer, request: &VoteRequest<Types>) {
    write_vote(writer, &request.vote);
    write_optional_id(writer, request.last_log_id.as_ref());
    writer.u8(u8::from(request.leadership_transfer));
}

fn read_request(reader: &mut Reader<'_>) -> Result<VoteRequest<Types>, CodecError> {
    Ok(VoteRequest {
        vote: read_vote(reader)?,
        last_log_id: read_optional_id(reader)?,
        leadership_transfer: flag(reader, "is transfer")?,
    })
}

/// Appends the answer to a vote or a pre-vote.
pub(super) fn write_voted(writer: &mut Writer, response: &VoteResponse<Types>) {
    write_vote(writer, &response.vote);
    writer.u8(u8::from(response.vote_granted));
    write_optional_id(writer, response.last_log_id.as_ref());
}

/// Takes the answer to a vote or a pre-vote.
pub(super) fn read_voted(reader: &mut Reader<'_>) -> Result<VoteResponse<Types>, CodecError> {
    Ok(VoteResponse {
        vote: read_vote(reader)?,
        vote_granted: flag(reader, "is granted")?,
        last_log_id: read_optional_id(reader)?,
    })
}

/// Appends the answer to a transfer.
pub(super) fn write_transferred(writer: &mut Writer, response: &TransferLeaderResponse<Types>) {
    match response {
        Ok(()) => drop(writer.u8(0)),
        Err(TransferLeaderError::VoteChanged { expected, actual }) => {
            write_vote(writer.u8(1), expected);
            write_vote(writer, actual);
        }
        Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
            write_optional_id(writer.u8(2), expected.as_ref());
            write_optional_id(writer, actual.as_ref());
        }
    }
}

/// Takes the answer to a transfer.
pub(super) fn read_transferred(
    reader: &mut Reader<'_>,
) -> Result<TransferLeaderResponse<Types>, CodecError> {
    Ok(match reader.u8()? {
        0 => Ok(()),
        1 => Err(TransferLeaderError::VoteChanged {
            expected: read_vote(reader)?,
            actual: read_vote(reader)?,
        }),
        2 => Err(TransferLeaderError::LogNotFlushed {
            expected: read_optional_id(reader)?,
            actual: read_optional_id(reader)?,
        }),
        _ => return Err(CodecError::Invalid { field: "result" }),
    })
}
