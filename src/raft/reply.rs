//! What every answer between nodes begins with.
//!
//! ```text
//! answer       u8 version = 1 | u8 status | body
//! status       0 done, the body of the service follows
//!              1 not the leader | u8 has_hint [u64 node that may be]
//!              2 the caller is not a member, as far as this node knows
//!              3 the caller was removed from the cluster
//!              4 this node cannot serve now
//! ```

use bytes::Bytes;

use crate::base::codec::{CodecError, Reader, Writer};

use super::encoding::{flag, version};

const ANSWER_VERSION: u8 = 1;

/// Why a node did not do what another one asked for. Nothing was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Denial {
    /// Only the leader does it.
    #[error("the node does not lead")]
    NotLeader {
        /// Who may be leading.
        hint: Option<u64>,
    },
    /// The caller is not a member, as far as the node knows.
    #[error("the node does not know the caller as a member")]
    Stranger,
    /// The caller was removed; that is final.
    #[error("the caller was removed from the cluster")]
    Removed,
    /// The node is stopping, or has lost its storage.
    #[error("the node cannot serve now")]
    Stopped,
}

/// What a node answers.
pub(super) type Reply<T> = Result<T, Denial>;

/// The answer in bytes; `body` writes what the service answers.
pub(super) fn encode_reply<T>(reply: &Reply<T>, body: impl FnOnce(&mut Writer, &T)) -> Bytes {
    let mut writer = Writer::with_capacity(64);
    writer.u8(ANSWER_VERSION);
    match reply {
        Ok(value) => body(writer.u8(0), value),
        Err(Denial::NotLeader { hint }) => {
            writer.u8(1).u8(u8::from(hint.is_some()));
            if let Some(hint) = hint {
                writer.u64(*hint);
            }
        }
        Err(Denial::Stranger) => drop(writer.u8(2)),
        Err(Denial::Removed) => drop(writer.u8(3)),
        Err(Denial::Stopped) => drop(writer.u8(4)),
    }
    Bytes::from(writer.finish())
}

/// Reads an answer; `body` reads what the service answers.
pub(super) fn decode_reply<T>(
    answer: &[u8],
    body: impl FnOnce(&mut Reader<'_>) -> Result<T, CodecError>,
) -> Result<Reply<T>, CodecError> {
    let mut reader = Reader::new(answer);
    version(&mut reader, ANSWER_VERSION, "answer")?;
    let reply = match reader.u8()? {
        0 => Ok(body(&mut reader)?),
        1 if flag(&mut reader, "has_hint")? => Err(Denial::NotLeader {
            hint: Some(reader.u64()?),
        }),
        1 => Err(Denial::NotLeader { hint: None }),
        2 => Err(Denial::Stranger),
        3 => Err(Denial::Removed),
        4 => Err(Denial::Stopped),
        _ => return Err(CodecError::Invalid { field: "status" }),
    };
    reader.end()?;
    Ok(reply)
}
