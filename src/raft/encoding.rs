//! Bytes of what consensus keeps: entries, votes, identities, memberships.
//!
//! Written by hand and versioned, because openraft's own types change between
//! versions and what is on disk must not. All integers are little-endian.
//!
//! ```text
//! identity    term u64 | node u64 | index u64
//! vote        version u8 | term u64 | node u64 | is committed u8
//! entry       version u8 | identity | kind u8 | body
//!             kind 0: blank, no body · 1: proposal, the rest · 2: membership
//! membership  count u32 · each: count u32 | voter u64 …
//!             count u32 · each: node u64 | address (u32 length, UTF-8)
//! stored      version u8 | is some u8 | identity if so | membership
//! ```

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use openraft::impls::leader_id_adv::LeaderId;
use openraft::{BasicNode, EntryPayload};

use crate::base::codec::{CodecError, Reader, Writer};

use super::types::{Change, Entry, LogId, Membership, StoredMembership, Vote};

const ENTRY_VERSION: u8 = 1;
const VOTE_VERSION: u8 = 1;
const STORED_VERSION: u8 = 1;
/// Bytes of an entry before a proposal.
const ENTRY_HEAD_BYTES: usize = 26;

/// Bytes of an identity.
pub(super) const ID_BYTES: usize = 24;

/// Tags of what an entry carries.
mod kind {
    pub(super) const BLANK_TAG: u8 = 0;
    pub(super) const PROPOSAL_TAG: u8 = 1;
    pub(super) const MEMBERSHIP_TAG: u8 = 2;
}

/// The entry in bytes.
pub(super) fn encode_entry(entry: &Entry) -> Bytes {
    let payload_bytes = match &entry.payload {
        EntryPayload::Normal(change) => change.bytes.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 64,
    };
    let mut writer = Writer::with_capacity(ENTRY_HEAD_BYTES + payload_bytes);
    writer.u8(ENTRY_VERSION);
    write_id(&mut writer, &entry.log_id);
    match &entry.payload {
        EntryPayload::Blank => writer.u8(kind::BLANK_TAG),
        EntryPayload::Normal(change) => writer.u8(kind::PROPOSAL_TAG).raw(&change.bytes),
        EntryPayload::Membership(membership) => {
            writer.u8(kind::MEMBERSHIP_TAG);
            write_membership(&mut writer, membership)
        }
    };
    Bytes::from(writer.finish())
}

/// Reads an entry back; a proposal shares the bytes it was read from.
pub(super) fn decode_entry(record: &Bytes) -> Result<Entry, CodecError> {
    let mut reader = Reader::new(record);
    version(&mut reader, ENTRY_VERSION, "entry")?;
    let log_id = read_id(&mut reader)?;
    let payload = match reader.u8()? {
        kind::BLANK_TAG => {
            reader.end()?;
            EntryPayload::Blank
        }
        kind::PROPOSAL_TAG => EntryPayload::Normal(Change {
            bytes: record.slice(ENTRY_HEAD_BYTES..),
        }),
        kind::MEMBERSHIP_TAG => {
            let membership = read_membership(&mut reader)?;
            reader.end()?;
            EntryPayload::Membership(membership)
        }
        _ => return Err(CodecError::Invalid { field: "kind" }),
    };
    Ok(Entry { log_id, payload })
}

/// The identity in bytes.
pub(super) fn encode_id(id: &LogId) -> Bytes {
    let mut writer = Writer::with_capacity(ID_BYTES);
    write_id(&mut writer, id);
    Bytes::from(writer.finish())
}

/// Reads an identity back.
pub(super) fn decode_id(record: &[u8]) -> Result<LogId, CodecError> {
    let mut reader = Reader::new(record);
    let id = read_id(&mut reader)?;
    reader.end()?;
    Ok(id)
}

/// The vote in bytes.
pub(super) fn encode_vote(vote: &Vote) -> Bytes {
    let mut writer = Writer::with_capacity(18);
    write_vote(writer.u8(VOTE_VERSION), vote);
    Bytes::from(writer.finish())
}

/// Reads a vote back.
pub(super) fn decode_vote(record: &[u8]) -> Result<Vote, CodecError> {
    let mut reader = Reader::new(record);
    version(&mut reader, VOTE_VERSION, "vote")?;
    let vote = read_vote(&mut reader)?;
    reader.end()?;
    Ok(vote)
}

/// The membership and its entry's identity in bytes.
pub(super) fn encode_stored(stored: &StoredMembership) -> Bytes {
    let mut writer = Writer::with_capacity(64);
    writer.u8(STORED_VERSION);
    write_optional_id(&mut writer, stored.log_id().as_ref());
    write_membership(&mut writer, stored.membership());
    Bytes::from(writer.finish())
}

/// Reads a membership and its entry's identity back.
pub(super) fn decode_stored(record: &[u8]) -> Result<StoredMembership, CodecError> {
    let mut reader = Reader::new(record);
    version(&mut reader, STORED_VERSION, "membership")?;
    let id = read_optional_id(&mut reader)?;
    let membership = read_membership(&mut reader)?;
    reader.end()?;
    Ok(StoredMembership::new(id, membership))
}

/// Appends a vote without a version.
pub(super) fn write_vote(writer: &mut Writer, vote: &Vote) {
    writer
        .u64(vote.leader_id.term)
        .u64(vote.leader_id.node_id)
        .u8(u8::from(vote.committed));
}

/// Takes a vote without a version.
pub(super) fn read_vote(reader: &mut Reader<'_>) -> Result<Vote, CodecError> {
    let leader_id = LeaderId {
        term: reader.u64()?,
        node_id: reader.u64()?,
    };
    let committed = flag(reader, "is committed")?;
    Ok(Vote {
        leader_id,
        committed,
    })
}

/// Appends a presence byte and an identity, if there is one.
pub(super) fn write_optional_id(writer: &mut Writer, id: Option<&LogId>) {
    writer.u8(u8::from(id.is_some()));
    if let Some(id) = id {
        write_id(writer, id);
    }
}

/// Takes a presence byte and an identity, if there is one.
pub(super) fn read_optional_id(reader: &mut Reader<'_>) -> Result<Option<LogId>, CodecError> {
    if flag(reader, "is some")? {
        read_id(reader).map(Some)
    } else {
        Ok(None)
    }
}

fn write_id(writer: &mut Writer, id: &LogId) {
    writer
        .u64(id.leader_id.term)
        .u64(id.leader_id.node_id)
        .u64(id.index);
}

fn read_id(reader: &mut Reader<'_>) -> Result<LogId, CodecError> {
    let leader_id = LeaderId {
        term: reader.u64()?,
        node_id: reader.u64()?,
    };
    Ok(LogId {
        leader_id,
        index: reader.u64()?,
    })
}

fn write_membership<'a>(writer: &'a mut Writer, membership: &Membership) -> &'a mut Writer {
    let configurations = membership.get_joint_config();
    write_count(writer, configurations.len());
    for voters in configurations {
        write_count(writer, voters.len());
        for voter in voters {
            writer.u64(*voter);
        }
    }
    write_count(writer, membership.nodes().count());
    for (node, at) in membership.nodes() {
        writer.u64(*node).text(&at.addr);
    }
    writer
}

fn read_membership(reader: &mut Reader<'_>) -> Result<Membership, CodecError> {
    let mut configurations = Vec::new();
    for _ in 0..reader.u32()? {
        let mut voters = BTreeSet::new();
        for _ in 0..reader.u32()? {
            voters.insert(reader.u64()?);
        }
        configurations.push(voters);
    }
    let mut nodes = BTreeMap::new();
    for _ in 0..reader.u32()? {
        let node = reader.u64()?;
        nodes.insert(node, BasicNode::new(reader.text("address")?));
    }
    if configurations.is_empty() && nodes.is_empty() {
        return Ok(Membership::default());
    }
    Membership::new(configurations, nodes).map_err(|_| CodecError::Invalid {
        field: "membership",
    })
}

fn write_count(writer: &mut Writer, count: usize) {
    writer.u32(crate::base::units::to_u32(count));
}

/// Takes a version and checks that it is the known one.
pub(super) fn version(
    reader: &mut Reader<'_>,
    known: u8,
    record: &'static str,
) -> Result<(), CodecError> {
    let version = reader.u8()?;
    if version == known {
        Ok(())
    } else {
        Err(CodecError::Version { record, version })
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

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn id(index: u64) -> LogId {
        LogId {
            leader_id: LeaderId {
                term: 3,
                node_id: 7,
            },
            index,
        }
    }

    fn proposal(bytes: &'static [u8]) -> Change {
        Change {
            bytes: Bytes::from_static(bytes),
        }
    }

    fn membership() -> Membership {
        let nodes = BTreeMap::from([
            (1, BasicNode::new("a:1")),
            (2, BasicNode::new("b:2")),
            (9, BasicNode::new("c:3")),
        ]);
        let joint = vec![BTreeSet::from([1]), BTreeSet::from([1, 2])];
        Membership::new(joint, nodes).unwrap()
    }

    /// One `name hex` line per format; a changed line is a journal that old builds wrote.
    const GOLDEN: &str = include_str!("../../tests/fixtures/raft/stored_v1.txt");

    #[test]
    fn what_is_stored_is_written_as_it_always_was() {
        let entry = |payload| {
            let log_id = id(5);
            encode_entry(&Entry { log_id, payload })
        };
        let vote = Vote {
            leader_id: id(0).leader_id,
            committed: true,
        };
        let change = EntryPayload::Normal(proposal(b"proposal"));
        let stored = StoredMembership::new(Some(id(4)), membership());
        let formats = [
            ("id", encode_id(&id(8))),
            ("vote", encode_vote(&vote)),
            ("entry_blank", entry(EntryPayload::Blank)),
            ("entry_proposal", entry(change)),
            (
                "entry_membership",
                entry(EntryPayload::Membership(membership())),
            ),
            ("stored_membership", encode_stored(&stored)),
            (
                "stored_nothing",
                encode_stored(&StoredMembership::default()),
            ),
        ];
        let mut written = String::new();
        for (name, bytes) in formats {
            write!(written, "{name} ").unwrap();
            for byte in bytes {
                write!(written, "{byte:02x}").unwrap();
            }
            written.push('\n');
        }
        assert_eq!(written, GOLDEN);
    }

    #[test]
    fn every_kind_of_entry_reads_back() {
        let payloads = [
            EntryPayload::Blank,
            EntryPayload::Normal(proposal(b"proposal")),
            EntryPayload::Membership(membership()),
        ];
        for payload in payloads {
            let entry = Entry {
                log_id: id(5),
                payload,
            };
            assert_eq!(decode_entry(&encode_entry(&entry)), Ok(entry));
        }
    }

    #[test]
    fn a_membership_of_forty_reads_back() {
        let nodes = (1..=40).map(|node| (node, BasicNode::new(format!("node-{node}:1"))));
        let joint = vec![(1..=40).collect(), (2..=40).collect()];
        let members = Membership::new(joint, nodes.collect::<BTreeMap<_, _>>()).unwrap();
        let entry = Entry {
            log_id: id(5),
            payload: EntryPayload::Membership(members.clone()),
        };
        assert_eq!(decode_entry(&encode_entry(&entry)), Ok(entry));
        let stored = StoredMembership::new(Some(id(4)), members);
        assert_eq!(decode_stored(&encode_stored(&stored)), Ok(stored));
    }

    #[test]
    fn votes_identities_and_memberships_read_back() {
        for committed in [false, true] {
            let vote = Vote {
                leader_id: id(0).leader_id,
                committed,
            };
            assert_eq!(decode_vote(&encode_vote(&vote)), Ok(vote));
        }
        assert_eq!(decode_id(&encode_id(&id(8))), Ok(id(8)));
        for at in [None, Some(id(4))] {
            let stored = StoredMembership::new(at, membership());
            assert_eq!(decode_stored(&encode_stored(&stored)), Ok(stored));
        }
        let empty = StoredMembership::default();
        assert_eq!(decode_stored(&encode_stored(&empty)), Ok(empty));
    }

    #[test]
    fn the_bytes_of_an_entry_are_the_drawn_ones() {
        let entry = Entry {
            log_id: id(5),
            payload: EntryPayload::Normal(proposal(b"x")),
        };
        let mut drawn = vec![1];
        for field in [3_u64, 7, 5] {
            drawn.extend(field.to_le_bytes());
        }
        drawn.extend([1, b'x']);
        assert_eq!(encode_entry(&entry).as_ref(), drawn);
    }

    #[test]
    fn a_cut_or_newer_record_is_an_error_and_never_a_panic() {
        let entry = Entry {
            log_id: id(5),
            payload: EntryPayload::Membership(membership()),
        };
        let whole = encode_entry(&entry);
        for length in 0..whole.len() {
            assert!(decode_entry(&whole.slice(..length)).is_err());
        }
        let mut newer = whole.to_vec();
        newer[0] = 2;
        let refused = decode_entry(&Bytes::from(newer));
        assert!(matches!(
            refused,
            Err(CodecError::Version { version: 2, .. })
        ));
    }
}
