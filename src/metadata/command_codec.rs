//! The encoding of proposals, frozen by golden files.
//!
//! ```text
//! proposal      u8 version = 1 | u64 time_ms | u8 command | fields
//! link blob     1 | text repository | digest | u64 size | u64 generation
//!                 | u32 count, u32 checksum… | u8 has_inline [bytes inline]
//! mount blob    2 | u8 has_source [text source] | text target | digest
//! unlink blob   3 | text repository | digest
//! put manifest  4 | text repository | digest | text media_type | bytes content
//!                 | u32 count, part… | u8 has_referrer [referrer]
//!                 | u32 count, text tag… | u8 expected (0 any, 1 absent, 2 digest) [digest]
//! delete manifest 5 | text repository | digest
//! delete tag    6 | text repository | text tag
//! extend leases 7 | u32 count, digest…
//! condemn       8 | digest | u64 generation
//! holders       9 | u64 node | u32 count, digest… | u32 count, digest…
//! set policy   10 | u8 has_prefix [text prefix] | u8 has_policy [policy]
//! probe        11
//! admit node   12 | 16 node_uuid | text address | u8 is_voter | u8 has_token [32 hash]
//! describe node 13 | u64 node | 16 node_uuid | text address
//! set role     14 | u64 node | u8 is_voter
//! remove node  15 | u64 node
//! add join token 16 | 32 hash | u64 expires_ms
//! set level    17 | u64 node | u32 level
//! add robot    18 | 8 id | text name | 32 hash | u32 count, text scope… | u8 has_end [u64 ms]
//! revoke robot 19 | 8 id
//! yield file   20 | u64 node | digest | u64 generation
//! once         21 | u64 node | u64 run | u64 number | u8 command | fields
//! part          u8 role (0 config, 1 layer, 2 child, 3 subject) | u8 may_be_absent
//!                 | digest | u64 size
//! referrer      digest subject | u8 has_type [text type] | bytes descriptor
//! text, bytes   u32 length | content
//! ```

#[cfg(feature = "mutants")]
use super::apply::remark::REMARK_TAG;
use super::command::{ChangeId, Command, Proposal};
use super::node_command::NodeCommand;
use super::policy::{Policy, flag};
use super::put_manifest::{Expected, Part, PutManifest};
use super::robot_command::RobotCommand;
#[cfg(feature = "mutants")]
use crate::base::tomorrow;
use crate::base::units::{to_u32, to_usize};
use crate::base::{CodecError, Reader, Writer};
use crate::oci::{Digest, MediaType, Referrer, Repository, Role, Tag};

const PROPOSAL_VERSION: u8 = 1;
/// `once`
const ONCE_TAG: u8 = 21;
/// Bytes of a proposal before its command.
const HEAD_BYTES: usize = 1 + 8;
/// Bytes of `once` before the command in it.
const ONCE_BYTES: usize = 1 + 8 + 8 + 8;
/// Room for the fixed fields of most commands.
const SMALL_COMMAND_BYTES: usize = 512;
/// Items reserved before they are read; longer lists grow as they prove themselves.
const RESERVED_ITEMS_MAX: usize = 1024;

impl Proposal {
    /// Writes the proposal as drawn above.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let capacity_bytes = match &self.command {
            Command::PutManifest(put) => SMALL_COMMAND_BYTES + put.bytes.len(),
            _ => SMALL_COMMAND_BYTES,
        };
        let mut writer = Writer::with_capacity(capacity_bytes);
        writer.u8(PROPOSAL_VERSION).u64(self.time_ms);
        encode_command(&self.command, &mut writer);
        writer.finish()
    }

    /// Reads what [`Proposal::encode`] wrote.
    pub fn decode(record: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(record);
        let version = reader.u8()?;
        if version != PROPOSAL_VERSION {
            return Err(CodecError::Version {
                record: "proposal",
                version,
            });
        }
        let time_ms = reader.u64()?;
        let command = decode_command(&mut reader)?;
        reader.end()?;
        Ok(Self { time_ms, command })
    }

    /// The bytes of the same change as one that takes effect once, from those that
    /// [`Proposal::encode`] wrote.
    #[must_use]
    pub fn once(record: &[u8], id: ChangeId) -> Vec<u8> {
        let (head, command) = record.split_at_checked(HEAD_BYTES).unwrap_or((record, &[]));
        let mut writer = Writer::with_capacity(record.len() + ONCE_BYTES);
        encode_id(id, writer.raw(head));
        writer.raw(command);
        writer.finish()
    }
}

fn encode_id(id: ChangeId, writer: &mut Writer) {
    writer.u8(ONCE_TAG).u64(id.node).u64(id.run).u64(id.number);
}

fn encode_command(command: &Command, writer: &mut Writer) {
    match command {
        Command::LinkBlob { .. } => encode_link_blob(command, writer),
        Command::MountBlob {
            source,
            target,
            digest,
        } => {
            writer.u8(2);
            option(writer, source.as_ref(), |writer, source| {
                writer.text(source.as_str());
            });
            digest.encode(writer.text(target.as_str()));
        }
        Command::UnlinkBlob { repository, digest } => {
            digest.encode(writer.u8(3).text(repository.as_str()));
        }
        Command::PutManifest(put) => encode_put_manifest(put, writer.u8(4)),
        Command::DeleteManifest { repository, digest } => {
            digest.encode(writer.u8(5).text(repository.as_str()));
        }
        Command::DeleteTag { repository, tag } => {
            writer.u8(6).text(repository.as_str()).text(tag.as_str());
        }
        Command::ExtendLeases { digests } => encode_digests(digests, writer.u8(7)),
        Command::Condemn { digest, generation } => {
            digest.encode(writer.u8(8));
            writer.u64(*generation);
        }
        Command::Holders { node, add, remove } => {
            encode_digests(add, writer.u8(9).u64(*node));
            encode_digests(remove, writer);
        }
        Command::YieldFile {
            node,
            digest,
            generation,
        } => {
            digest.encode(writer.u8(20).u64(*node));
            writer.u64(*generation);
        }
        Command::SetPolicy { prefix, policy } => {
            writer.u8(10);
            option(writer, prefix.as_ref(), |writer, prefix| {
                writer.text(prefix.as_str());
            });
            option(writer, policy.as_ref(), |writer, policy| {
                policy.encode(writer);
            });
        }
        Command::Probe => {
            writer.u8(11);
        }
        Command::Node(command) => command.encode(writer),
        Command::Robot(command) => command.encode(writer),
        Command::Once { id, command } => {
            encode_id(*id, writer);
            encode_command(command, writer);
        }
        #[cfg(feature = "mutants")]
        Command::Remark { node } => drop(writer.u8(REMARK_TAG).u64(*node)),
    }
}

fn encode_link_blob(command: &Command, writer: &mut Writer) {
    let Command::LinkBlob {
        repository,
        digest,
        size_bytes,
        generation,
        extent_checksums,
        inline,
    } = command
    else {
        return;
    };
    digest.encode(writer.u8(1).text(repository.as_str()));
    writer.u64(*size_bytes).u64(*generation);
    writer.u32(to_u32(extent_checksums.len()));
    for checksum in extent_checksums {
        writer.u32(*checksum);
    }
    option(writer, inline.as_ref(), |writer, inline| {
        writer.bytes(inline);
    });
}

fn encode_put_manifest(put: &PutManifest, writer: &mut Writer) {
    put.digest.encode(writer.text(put.repository.as_str()));
    writer.text(put.media_type.as_str()).bytes(&put.bytes);
    writer.u32(to_u32(put.parts.len()));
    for part in &put.parts {
        let role = match part.role {
            Role::Config => 0,
            Role::Layer => 1,
            Role::Child => 2,
            Role::Subject => 3,
        };
        part.digest
            .encode(writer.u8(role).u8(u8::from(part.may_be_absent)));
        writer.u64(part.size_bytes);
    }
    option(writer, put.referrer.as_ref(), |writer, referrer| {
        referrer.subject.encode(writer);
        option(writer, referrer.artifact_type.as_deref(), |writer, text| {
            writer.text(text);
        });
        writer.bytes(&referrer.descriptor);
    });
    writer.u32(to_u32(put.tags.len()));
    for tag in &put.tags {
        writer.text(tag.as_str());
    }
    match put.expected {
        Expected::Any => drop(writer.u8(0)),
        Expected::Absent => drop(writer.u8(1)),
        Expected::Digest(digest) => digest.encode(writer.u8(2)),
    }
}

fn decode_command(reader: &mut Reader<'_>) -> Result<Command, CodecError> {
    let number = reader.u8()?;
    if number != ONCE_TAG {
        return decode_plain(number, reader);
    }
    let id = ChangeId {
        node: reader.u64()?,
        run: reader.u64()?,
        number: reader.u64()?,
    };
    let number = reader.u8()?;
    let command = Box::new(decode_plain(number, reader)?);
    Ok(Command::Once { id, command })
}

/// Takes the fields of any command but `once`.
fn decode_plain(number: u8, reader: &mut Reader<'_>) -> Result<Command, CodecError> {
    Ok(match number {
        1 => decode_link_blob(reader)?,
        2 => Command::MountBlob {
            source: optional(reader, "has_source", repository)?,
            target: repository(reader)?,
            digest: Digest::decode(reader)?,
        },
        3 => Command::UnlinkBlob {
            repository: repository(reader)?,
            digest: Digest::decode(reader)?,
        },
        4 => Command::PutManifest(Box::new(decode_put_manifest(reader)?)),
        5 => Command::DeleteManifest {
            repository: repository(reader)?,
            digest: Digest::decode(reader)?,
        },
        6 => Command::DeleteTag {
            repository: repository(reader)?,
            tag: tag(reader)?,
        },
        7 => Command::ExtendLeases {
            digests: list(reader, Digest::decode)?,
        },
        8 => Command::Condemn {
            digest: Digest::decode(reader)?,
            generation: reader.u64()?,
        },
        9 => Command::Holders {
            node: reader.u64()?,
            add: list(reader, Digest::decode)?,
            remove: list(reader, Digest::decode)?,
        },
        10 => Command::SetPolicy {
            prefix: optional(reader, "has_prefix", repository)?,
            policy: optional(reader, "has_policy", Policy::decode)?,
        },
        11 => Command::Probe,
        tag @ (18 | 19) => Command::Robot(RobotCommand::decode(tag, reader)?),
        20 => Command::YieldFile {
            node: reader.u64()?,
            digest: Digest::decode(reader)?,
            generation: reader.u64()?,
        },
        #[cfg(feature = "mutants")]
        REMARK_TAG if tomorrow::is_on() => Command::Remark {
            node: reader.u64()?,
        },
        tag => Command::Node(NodeCommand::decode(tag, reader)?),
    })
}

fn decode_link_blob(reader: &mut Reader<'_>) -> Result<Command, CodecError> {
    Ok(Command::LinkBlob {
        repository: repository(reader)?,
        digest: Digest::decode(reader)?,
        size_bytes: reader.u64()?,
        generation: reader.u64()?,
        extent_checksums: list(reader, Reader::u32)?,
        inline: optional(reader, "has_inline", Reader::owned)?,
    })
}

fn decode_put_manifest(reader: &mut Reader<'_>) -> Result<PutManifest, CodecError> {
    let invalid = |field| move |_| CodecError::Invalid { field };
    Ok(PutManifest {
        repository: repository(reader)?,
        digest: Digest::decode(reader)?,
        media_type: MediaType::parse(reader.text("media_type")?).map_err(invalid("media_type"))?,
        bytes: reader.owned()?,
        parts: list(reader, part)?,
        referrer: optional(reader, "has_referrer", referrer)?,
        tags: list(reader, tag)?,
        expected: match reader.u8()? {
            0 => Expected::Any,
            1 => Expected::Absent,
            2 => Expected::Digest(Digest::decode(reader)?),
            _ => return Err(CodecError::Invalid { field: "expected" }),
        },
    })
}

fn part(reader: &mut Reader<'_>) -> Result<Part, CodecError> {
    let role = match reader.u8()? {
        0 => Role::Config,
        1 => Role::Layer,
        2 => Role::Child,
        3 => Role::Subject,
        _ => return Err(CodecError::Invalid { field: "role" }),
    };
    Ok(Part {
        role,
        may_be_absent: flag(reader, "may_be_absent")?,
        digest: Digest::decode(reader)?,
        size_bytes: reader.u64()?,
    })
}

fn referrer(reader: &mut Reader<'_>) -> Result<Referrer, CodecError> {
    Ok(Referrer {
        subject: Digest::decode(reader)?,
        artifact_type: optional(reader, "has_type", |reader| {
            reader.text("artifact_type").map(Into::into)
        })?,
        descriptor: reader.bytes()?.to_vec(),
    })
}

/// Appends a presence byte, then the value when there is one.
pub(super) fn option<T>(
    writer: &mut Writer,
    value: Option<T>,
    encode: impl FnOnce(&mut Writer, T),
) {
    writer.u8(u8::from(value.is_some()));
    if let Some(value) = value {
        encode(writer, value);
    }
}

/// Takes a presence byte, then the value when there is one.
pub(super) fn optional<'a, T>(
    reader: &mut Reader<'a>,
    field: &'static str,
    decode: impl FnOnce(&mut Reader<'a>) -> Result<T, CodecError>,
) -> Result<Option<T>, CodecError> {
    if flag(reader, field)? {
        decode(reader).map(Some)
    } else {
        Ok(None)
    }
}

/// Appends a count and digests.
pub(super) fn encode_digests(digests: &[Digest], writer: &mut Writer) {
    writer.u32(to_u32(digests.len()));
    for digest in digests {
        digest.encode(writer);
    }
}

/// Takes a count and as many items; a count beyond the record costs no memory.
pub(super) fn list<'a, T>(
    reader: &mut Reader<'a>,
    mut decode: impl FnMut(&mut Reader<'a>) -> Result<T, CodecError>,
) -> Result<Vec<T>, CodecError> {
    let count = to_usize(reader.u32()?);
    let mut items = Vec::with_capacity(count.min(RESERVED_ITEMS_MAX));
    for _ in 0..count {
        items.push(decode(reader)?);
    }
    Ok(items)
}

/// Takes a repository name.
pub(super) fn repository(reader: &mut Reader<'_>) -> Result<Repository, CodecError> {
    let invalid = |_| CodecError::Invalid {
        field: "repository",
    };
    Repository::parse(reader.text("repository")?).map_err(invalid)
}

/// Takes a tag.
pub(super) fn tag(reader: &mut Reader<'_>) -> Result<Tag, CodecError> {
    Tag::parse(reader.text("tag")?).map_err(|_| CodecError::Invalid { field: "tag" })
}

#[cfg(test)]
#[path = "command_codec_test.rs"]
mod tests;
