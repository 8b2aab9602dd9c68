//! Messages that carry entries from a leader to its followers.
//!
//! ```text
//! append     u8 version = 1 | vote | optional identity: entry before the first
//!              | optional identity: last committed entry
//!              | u32 count · each: entry (u32 length, bytes of `encoding.rs`)
//! appended   u8 result: 0 all of it
//!                       1 the entries up to | optional identity
//!                       2 conflict: the entry before the first is another one here
//!                       3 higher vote | vote
//! vote       term u64 | node u64 | is committed u8
//! optional identity   is some u8 | term u64 | node u64 | index u64
//! ```

use bytes::Bytes;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse};

use crate::base::codec::{CodecError, Reader, Writer};
use crate::base::limits::ENTRY_BYTES_MAX;
use crate::base::units::{MIB, to_u32, to_usize};

use super::encoding::{
    decode_entry, encode_entry, read_optional_id, read_vote, version, write_optional_id, write_vote,
};
use super::types::{Entry, LogId, Types};

/// Entry bytes after which a message takes no more, so that a heartbeat behind
/// it on the same connection waits for some milliseconds only.
const APPEND_BYTES_MAX: usize = to_usize(4 * MIB);
/// Bytes before the entries, at most.
const HEAD_BYTES: usize = 96;
/// Bytes an entry adds to its proposal: length, version, identity, kind.
const ENTRY_OVERHEAD_BYTES: usize = 32;

const APPEND_VERSION: u8 = 1;

const _: () = assert!(
    to_usize(ENTRY_BYTES_MAX) + HEAD_BYTES + ENTRY_OVERHEAD_BYTES < to_usize(16 * MIB),
    "a message with the largest entry fits a frame"
);

/// The message in bytes, and whether all entries are in it: at least one is,
/// else as many as fit the bound.
pub(super) fn encode_append(request: &AppendEntriesRequest<Types>) -> (Bytes, Sent) {
    let (mut count, mut entries_bytes) = (0, 0);
    let mut encoded = Vec::new();
    for entry in &request.entries {
        let bytes = encode_entry(entry);
        entries_bytes += bytes.len() + ENTRY_OVERHEAD_BYTES;
        if count > 0 && entries_bytes > APPEND_BYTES_MAX {
            break;
        }
        encoded.push(bytes);
        count += 1;
    }
    let mut writer = Writer::with_capacity(HEAD_BYTES + entries_bytes);
    write_vote(writer.u8(APPEND_VERSION), &request.vote);
    write_optional_id(&mut writer, request.prev_log_id.as_ref());
    write_optional_id(&mut writer, request.leader_commit.as_ref());
    writer.u32(to_u32(encoded.len()));
    for entry in encoded {
        writer.bytes(&entry);
    }
    let sent = if count == request.entries.len() {
        Sent::All
    } else {
        let last = count.checked_sub(1).and_then(|at| request.entries.get(at));
        Sent::UpTo(last.map(|entry: &Entry| entry.log_id))
    };
    (Bytes::from(writer.finish()), sent)
}

/// How much of a request fitted a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// Every entry.
    All,
    /// The entries up to this one.
    UpTo(Option<LogId>),
}

/// Reads a message; proposals share its bytes.
///
/// - Errors: also when the entries do not follow each other.
pub(super) fn decode_append(message: &Bytes) -> Result<AppendEntriesRequest<Types>, CodecError> {
    let mut reader = Reader::new(message);
    version(&mut reader, APPEND_VERSION, "append")?;
    let vote = read_vote(&mut reader)?;
    let prev_log_id = read_optional_id(&mut reader)?;
    let leader_commit = read_optional_id(&mut reader)?;
    let mut next = prev_log_id.map_or(Some(0), |id| id.index.checked_add(1));
    let mut entries = Vec::new();
    for _ in 0..reader.u32()? {
        let length = to_usize(reader.u32()?);
        let start = message.len() - reader.remaining();
        reader.raw(length)?;
        let entry = decode_entry(&message.slice(start..start + length))?;
        if Some(entry.log_id.index) != next {
            return Err(CodecError::Invalid { field: "entries" });
        }
        next = entry.log_id.index.checked_add(1);
        entries.push(entry);
    }
    reader.end()?;
    Ok(AppendEntriesRequest {
        vote,
        prev_log_id,
        entries,
        leader_commit,
    })
}

/// Appends the answer.
pub(super) fn write_appended(writer: &mut Writer, response: &AppendEntriesResponse<Types>) {
    match response {
        AppendEntriesResponse::Success => drop(writer.u8(0)),
        AppendEntriesResponse::PartialSuccess(last) => {
            write_optional_id(writer.u8(1), last.as_ref());
        }
        AppendEntriesResponse::Conflict => drop(writer.u8(2)),
        AppendEntriesResponse::HigherVote(vote) => write_vote(writer.u8(3), vote),
    }
}

/// Takes the answer.
pub(super) fn read_appended(
    reader: &mut Reader<'_>,
) -> Result<AppendEntriesResponse<Types>, CodecError> {
    Ok(match reader.u8()? {
        0 => AppendEntriesResponse::Success,
        1 => AppendEntriesResponse::PartialSuccess(read_optional_id(reader)?),
        2 => AppendEntriesResponse::Conflict,
        3 => AppendEntriesResponse::HigherVote(read_vote(reader)?),
        _ => return Err(CodecError::Invalid { field: "result" }),
    })
}
