//! Tests of the record encodings: frozen bytes, round trips, hostile input.

use super::*;
use crate::metadata::level;
use crate::metadata::node_record::TokenRecord;
use crate::metadata::once::Done;
use crate::metadata::policy::Policy;
use crate::metadata::state_record::StateRecord;
use crate::metadata::world::hex;
use crate::metadata::{Event, EventKind, NodeAddress, NodeRecord, NodeState, Outcome, RobotRecord};
use crate::oci::{Algorithm, Repository, Tag};
use proptest::prelude::*;

/// One `name hex` line per record; a changed line is a state that old builds wrote.
const GOLDEN: &str = include_str!("../../tests/fixtures/metadata/records_v1.txt");

fn digest(name: &str) -> Digest {
    Digest::of(Algorithm::Sha256, name.as_bytes())
}

const BLOB: BlobRecord = BlobRecord {
    size_bytes: 1 << 40,
    generation: 3,
    state: BlobState::Condemned,
    lease_until_ms: 1_700_000_000_000,
    is_inline: true,
};

fn tag(name: &str) -> TagRecord {
    TagRecord {
        digest: digest(name),
        index: 5,
        time_ms: 6,
    }
}

fn manifest() -> ManifestRecord {
    ManifestRecord {
        media_type: MediaType::parse(MediaType::OCI_INDEX).unwrap(),
        size_bytes: 2,
        index: 3,
        time_ms: 4,
        subject: Some(digest("subject")),
    }
}

fn referrer() -> Referrer {
    Referrer {
        subject: digest("subject"),
        artifact_type: None,
        descriptor: b"{}".to_vec(),
    }
}

fn event() -> Event {
    Event {
        kind: EventKind::ManifestPushed,
        time_ms: 7,
        repository: Repository::parse("a/b").unwrap(),
        digest: Some(digest("manifest")),
        tags: vec![Tag::parse("v1").unwrap()],
    }
}

fn state() -> StateRecord {
    StateRecord {
        hash: [7; 32],
        clock_ms: 1,
        events_from: 2,
        policies: 3,
    }
}

fn node(state: NodeState, token: Option<[u8; 32]>) -> NodeRecord {
    NodeRecord {
        node_uuid: [2; 16],
        state,
        is_voter: state == NodeState::Member,
        address: NodeAddress::parse("node-2.windlass:7000").unwrap(),
        token,
    }
}

fn done() -> Done {
    Done {
        run: 8,
        number: 9,
        outcome: Outcome::Deleted,
    }
}

const TOKEN: TokenRecord = TokenRecord {
    expires_ms: 8,
    node: 41,
};

fn robot(expires_ms: Option<u64>, revoked_ms: Option<u64>) -> RobotRecord {
    RobotRecord {
        name: "ci-1".into(),
        hash: [7; 32],
        scopes: vec!["team/*:pull,push".into(), "catalog".into()],
        created_ms: 1_700_000_000_000,
        expires_ms,
        revoked_ms,
    }
}

fn every_record() -> Vec<(&'static str, Vec<u8>)> {
    let mut policy = Writer::default();
    Policy::default().encode(&mut policy);
    vec![
        ("blob", BLOB.encode()),
        ("tag", tag("a").encode()),
        ("history", TagRecord::encode_history(&[tag("a"), tag("b")])),
        ("manifest", manifest().encode()),
        ("parts", encode_parts(&[digest("a"), digest("b")])),
        ("referrer", encode_referrer(&referrer())),
        ("link", encode_link(9)),
        ("extents", encode_extents(&[1, 2])),
        ("mark", MARK.to_vec()),
        ("event", event().encode()),
        ("state", state().encode()),
        ("policy", policy.finish()),
        (
            "node_admitted",
            node(NodeState::Admitted, Some([7; 32])).encode(),
        ),
        ("node_member", node(NodeState::Member, None).encode()),
        ("node_removed", node(NodeState::Removed, None).encode()),
        ("token", TOKEN.encode()),
        ("robot", robot(None, None).encode()),
        ("robot_ended", robot(Some(8), Some(9)).encode()),
        ("level", level::encode(2)),
        ("done", done().encode()),
    ]
}

/// Reads a record with every decoder; what one accepts it must write the same way.
fn check(bytes: &[u8]) -> usize {
    let again = [
        BlobRecord::decode(bytes).map(|one| one.encode()),
        TagRecord::decode(bytes).map(|one| one.encode()),
        TagRecord::decode_history(bytes).map(|one| TagRecord::encode_history(&one)),
        ManifestRecord::decode(bytes).map(|one| one.encode()),
        decode_parts(bytes).map(|one| encode_parts(&one)),
        decode_referrer(bytes).map(|(artifact_type, descriptor)| {
            let artifact_type = artifact_type.map(Into::into);
            let descriptor = descriptor.to_vec();
            encode_referrer(&Referrer {
                artifact_type,
                descriptor,
                ..referrer()
            })
        }),
        decode_link(bytes).map(encode_link),
        decode_extents(bytes).map(|one| encode_extents(&one)),
        Event::decode(bytes).map(|one| one.encode()),
        StateRecord::decode(bytes).map(|one| one.encode()),
        NodeRecord::decode(bytes).map(|one| one.encode()),
        TokenRecord::decode(bytes).map(TokenRecord::encode),
        RobotRecord::decode(bytes).map(|one| one.encode()),
        level::decode(bytes).map(level::encode),
        Done::decode(bytes).map(|one| one.encode()),
    ];
    again
        .into_iter()
        .flatten()
        .inspect(|again| assert_eq!(again, bytes))
        .count()
}

#[test]
fn every_record_is_written_as_it_always_was() {
    let line = |(name, record): (&str, Vec<u8>)| format!("{name} {}\n", hex(&record));
    let written: String = every_record().into_iter().map(line).collect();
    assert_eq!(written, GOLDEN);
}

#[test]
fn every_record_reads_back() {
    assert_eq!(BlobRecord::decode(&BLOB.encode()), Ok(BLOB));
    assert_eq!(TagRecord::decode(&tag("a").encode()), Ok(tag("a")));
    assert_eq!(ManifestRecord::decode(&manifest().encode()), Ok(manifest()));
    assert_eq!(Event::decode(&event().encode()), Ok(event()));
    assert_eq!(StateRecord::decode(&state().encode()), Ok(state()));
    let member = node(NodeState::Member, Some([7; 32]));
    assert_eq!(NodeRecord::decode(&member.encode()), Ok(member));
    assert_eq!(TokenRecord::decode(&TOKEN.encode()), Ok(TOKEN));
    let ended = robot(Some(8), Some(9));
    assert_eq!(RobotRecord::decode(&ended.encode()), Ok(ended));
    assert_eq!(Done::decode(&done().encode()), Ok(done()));
    for (name, record) in every_record() {
        let is_readable = check(&record) > 0 || name == "mark" || name == "policy";
        assert!(is_readable, "{name}");
    }
}

#[test]
fn a_cut_a_longer_and_a_newer_record_are_refused() {
    let record = manifest().encode();
    for cut in 0..record.len() {
        assert!(ManifestRecord::decode(&record[..cut]).is_err());
    }
    let longer = [record.as_slice(), &[0]].concat();
    let expected = CodecError::Trailing { extra_bytes: 1 };
    assert_eq!(ManifestRecord::decode(&longer), Err(expected));
    let expected = CodecError::Version {
        record: "blob",
        version: 9,
    };
    assert_eq!(BlobRecord::decode(&[9]), Err(expected));
    for (name, mut record) in every_record() {
        record[0] += 1;
        assert_eq!(check(&record), 0, "{name}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes: Vec<u8>) {
        check(&bytes);
        check(&[&[1], bytes.as_slice()].concat());
    }

    #[test]
    fn a_damaged_record_is_itself_or_refused(
        which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte: u8,
    ) {
        let (_, mut record) = which.get(&every_record()).clone();
        *at.get_mut(&mut record) = byte;
        check(&record);
    }
}
