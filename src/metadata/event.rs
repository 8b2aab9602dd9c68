//! What entries did, for those who follow along: the id is the journal index.
//!
//! ```text
//! event   u8 version = 1 | u8 kind | u64 time_ms | text repository
//!           | u8 has_digest [digest] | u32 count, text tag…
//! ```

use super::command_codec::{list, option, optional, repository, tag};
use crate::base::units::to_u32;
use crate::base::{CodecError, Reader, Writer};
use crate::oci::{Digest, Repository, Tag};

const EVENT_VERSION: u8 = 1;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// A manifest was stored or tags moved to it.
    ManifestPushed,
    /// A manifest left a repository, with its tags.
    ManifestDeleted,
    /// A tag was removed.
    TagDeleted,
    /// A blob left a repository.
    BlobUnlinked,
}

impl EventKind {
    const ALL: [Self; 4] = [
        Self::ManifestPushed,
        Self::ManifestDeleted,
        Self::TagDeleted,
        Self::BlobUnlinked,
    ];

    const fn code(self) -> u8 {
        match self {
            Self::ManifestPushed => 1,
            Self::ManifestDeleted => 2,
            Self::TagDeleted => 3,
            Self::BlobUnlinked => 4,
        }
    }
}

/// What one entry did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// When, in ms since the Unix epoch.
    pub time_ms: u64,
    /// Where.
    pub repository: Repository,
    /// To which manifest or blob.
    pub digest: Option<Digest>,
    /// Tags that moved or went.
    pub tags: Vec<Tag>,
}

impl Event {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer
            .u8(EVENT_VERSION)
            .u8(self.kind.code())
            .u64(self.time_ms);
        writer.text(self.repository.as_str());
        option(&mut writer, self.digest, |writer, digest| {
            digest.encode(writer);
        });
        writer.u32(to_u32(self.tags.len()));
        for tag in &self.tags {
            writer.text(tag.as_str());
        }
        writer.finish()
    }

    pub(super) fn decode(record: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(record);
        let version = reader.u8()?;
        if version != EVENT_VERSION {
            return Err(CodecError::Version {
                record: "event",
                version,
            });
        }
        let code = reader.u8()?;
        let kind = EventKind::ALL.into_iter().find(|kind| kind.code() == code);
        let event = Self {
            kind: kind.ok_or(CodecError::Invalid { field: "kind" })?,
            time_ms: reader.u64()?,
            repository: repository(&mut reader)?,
            digest: optional(&mut reader, "has_digest", Digest::decode)?,
            tags: list(&mut reader, tag)?,
        };
        reader.end()?;
        Ok(event)
    }
}
