//! Rules of a part of the name space.
//!
//! ```text
//! policy   u8 version = 1 | u8 acknowledge | u8 tags_are_immutable | u8 deletes_are_refused
//! ```

use crate::base::{CodecError, Reader, Writer};

const POLICY_VERSION: u8 = 1;

/// How many copies of a blob are durable before it is acknowledged. A word of the format
/// and no more: nodes go by their configuration (`cluster.ack` and `cluster.ack_prefixes`),
/// which also says it for a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Acknowledge {
    /// One copy.
    One,
    /// A majority of the voters.
    #[default]
    Quorum,
    /// Every voter.
    All,
}

/// What a repository allows, set for a path prefix of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    /// Copies before an acknowledgement; kept as it was written, and not looked at.
    pub acknowledge: Acknowledge,
    /// A tag that exists never moves.
    pub tags_are_immutable: bool,
    /// Neither manifests, nor tags, nor blobs are deleted by clients.
    pub deletes_are_refused: bool,
}

impl Policy {
    /// Appends the record drawn above.
    pub(super) fn encode(self, writer: &mut Writer) {
        let acknowledge = match self.acknowledge {
            Acknowledge::One => 0,
            Acknowledge::Quorum => 1,
            Acknowledge::All => 2,
        };
        writer
            .u8(POLICY_VERSION)
            .u8(acknowledge)
            .u8(u8::from(self.tags_are_immutable))
            .u8(u8::from(self.deletes_are_refused));
    }

    /// Takes the record drawn above.
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let version = reader.u8()?;
        if version != POLICY_VERSION {
            return Err(CodecError::Version {
                record: "policy",
                version,
            });
        }
        let acknowledge = match reader.u8()? {
            0 => Acknowledge::One,
            1 => Acknowledge::Quorum,
            2 => Acknowledge::All,
            _ => {
                return Err(CodecError::Invalid {
                    field: "acknowledge",
                });
            }
        };
        Ok(Self {
            acknowledge,
            tags_are_immutable: flag(reader, "tags_are_immutable")?,
            deletes_are_refused: flag(reader, "deletes_are_refused")?,
        })
    }
}

/// Takes a byte that is 0 or 1.
pub(super) fn flag(reader: &mut Reader<'_>, field: &'static str) -> Result<bool, CodecError> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(CodecError::Invalid { field }),
    }
}
