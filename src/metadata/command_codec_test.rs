//! Tests of the proposal encoding: frozen bytes, round trips, hostile input.

use super::*;
use crate::metadata::world::{digest, hex, name};
use crate::metadata::{Acknowledge, NewRobot, NodeAddress};
use crate::oci::Algorithm;
use bytes::Bytes;
use proptest::prelude::*;

/// One `name hex` line per proposal; a changed line is a format that nodes in
/// the field cannot read.
const GOLDEN: &str = include_str!("../../tests/fixtures/metadata/proposals_v1.txt");

fn put() -> PutManifest {
    let part = |role, may_be_absent| Part {
        digest: digest("part"),
        size_bytes: 3,
        role,
        may_be_absent,
    };
    PutManifest {
        repository: name("a/b"),
        digest: Digest::of(Algorithm::Sha512, b"manifest"),
        media_type: MediaType::parse(MediaType::OCI_MANIFEST).unwrap(),
        bytes: Bytes::from_static(b"{}"),
        parts: vec![
            part(Role::Config, false),
            part(Role::Layer, true),
            part(Role::Child, false),
            part(Role::Subject, true),
        ],
        referrer: Some(Referrer {
            subject: digest("subject"),
            artifact_type: Some("x/y".into()),
            descriptor: b"{\"size\":2}".to_vec(),
        }),
        tags: vec![Tag::parse("one").unwrap(), Tag::parse("two").unwrap()],
        expected: Expected::Digest(digest("before")),
    }
}

fn every_command() -> Vec<(&'static str, Command)> {
    [
        blob_commands(),
        manifest_commands(),
        other_commands(),
        node_commands(),
        robot_commands(),
        once_commands(),
    ]
    .concat()
}

fn blob_commands() -> Vec<(&'static str, Command)> {
    let (repository, digest) = (name("a/b"), digest("content"));
    let link = |extent_checksums, inline| Command::LinkBlob {
        repository: name("a/b"),
        digest,
        size_bytes: 1 << 33,
        generation: 2,
        extent_checksums,
        inline,
    };
    let mount = |source| Command::MountBlob {
        source,
        target: name("a/b"),
        digest,
    };
    let content = Bytes::from_static(b"content");
    vec![
        ("link_file", link(vec![1, u32::MAX], None)),
        ("link_inline", link(Vec::new(), Some(content))),
        ("mount_from", mount(Some(name("c")))),
        ("mount_anywhere", mount(None)),
        ("unlink", Command::UnlinkBlob { repository, digest }),
    ]
}

fn manifest_commands() -> Vec<(&'static str, Command)> {
    let (repository, digest) = (name("a/b"), digest("content"));
    let bare = PutManifest {
        referrer: None,
        expected: Expected::Absent,
        tags: Vec::new(),
        ..put()
    };
    let tag = Tag::parse("v1.0").unwrap();
    let delete = Command::DeleteManifest {
        repository: repository.clone(),
        digest,
    };
    vec![
        ("put_manifest", Command::PutManifest(Box::new(put()))),
        ("put_bare", Command::PutManifest(Box::new(bare))),
        ("delete_manifest", delete),
        ("delete_tag", Command::DeleteTag { repository, tag }),
    ]
}

fn other_commands() -> Vec<(&'static str, Command)> {
    let digest = digest("content");
    let policy = Policy {
        acknowledge: Acknowledge::All,
        tags_are_immutable: true,
        deletes_are_refused: false,
    };
    let set = |prefix, policy| Command::SetPolicy { prefix, policy };
    vec![
        (
            "extend_leases",
            Command::ExtendLeases {
                digests: vec![digest, digest],
            },
        ),
        (
            "condemn",
            Command::Condemn {
                digest,
                generation: 7,
            },
        ),
        (
            "holders",
            Command::Holders {
                node: 3,
                add: vec![digest],
                remove: Vec::new(),
            },
        ),
        (
            "yield_file",
            Command::YieldFile {
                node: 3,
                digest,
                generation: 7,
            },
        ),
        ("set_policy", set(Some(name("a/b")), Some(policy))),
        ("unset_policy", set(None, None)),
        ("probe", Command::Probe),
    ]
}

fn node_commands() -> Vec<(&'static str, Command)> {
    let address = NodeAddress::parse("node-2.windlass:7000").unwrap();
    let admit = |is_voter, token| {
        Command::Node(NodeCommand::Admit {
            node_uuid: [2; 16],
            address: address.clone(),
            is_voter,
            token,
        })
    };
    let describe = NodeCommand::Describe {
        node: 41,
        node_uuid: [2; 16],
        address: address.clone(),
    };
    let set_role = NodeCommand::SetRole {
        node: 41,
        is_voter: true,
    };
    let add_token = NodeCommand::AddJoinToken {
        hash: [7; 32],
        expires_ms: 1_700_000_000_000,
    };
    vec![
        ("admit_voter", admit(true, Some([7; 32]))),
        ("admit_learner", admit(false, None)),
        ("describe_node", Command::Node(describe)),
        ("set_role", Command::Node(set_role)),
        (
            "remove_node",
            Command::Node(NodeCommand::Remove { node: 41 }),
        ),
        ("add_join_token", Command::Node(add_token)),
        (
            "set_level",
            Command::Node(NodeCommand::SetLevel { node: 41, level: 2 }),
        ),
    ]
}

fn robot_commands() -> Vec<(&'static str, Command)> {
    let robot = NewRobot {
        id: [3; 8],
        name: "ci-1".into(),
        hash: [7; 32],
        scopes: vec!["team/*:pull,push".into(), "catalog".into()],
        expires_ms: Some(1_700_000_000_000),
    };
    let endless = NewRobot {
        scopes: Vec::new(),
        expires_ms: None,
        ..robot.clone()
    };
    let command = |command| Command::Robot(command);
    vec![
        ("add_robot", command(RobotCommand::Add(robot))),
        ("add_endless_robot", command(RobotCommand::Add(endless))),
        ("revoke_robot", command(RobotCommand::Revoke { id: [3; 8] })),
    ]
}

const CHANGE: ChangeId = ChangeId {
    node: 41,
    run: 7,
    number: 1 << 50,
};

fn once_commands() -> Vec<(&'static str, Command)> {
    let delete = Command::DeleteTag {
        repository: name("a/b"),
        tag: Tag::parse("v1.0").unwrap(),
    };
    let once = |command| Command::Once {
        id: CHANGE,
        command: Box::new(command),
    };
    vec![
        (
            "put_manifest_once",
            once(Command::PutManifest(Box::new(put()))),
        ),
        ("delete_tag_once", once(delete)),
    ]
}

#[test]
fn every_command_is_written_as_it_always_was() {
    let line = |(name, command): (&str, Command)| {
        let proposal = Proposal {
            time_ms: 1_700_000_000_000,
            command,
        };
        let record = proposal.encode();
        assert_eq!(Proposal::decode(&record), Ok(proposal), "{name}");
        format!("{name} {}\n", hex(&record))
    };
    let written: String = every_command().into_iter().map(line).collect();
    assert_eq!(written, GOLDEN);
}

#[test]
fn a_cut_or_longer_proposal_is_refused() {
    for (name, command) in every_command() {
        let mut record = Proposal {
            time_ms: 1,
            command,
        }
        .encode();
        for cut in 0..record.len() {
            assert!(
                Proposal::decode(&record[..cut]).is_err(),
                "{name} cut at {cut}"
            );
        }
        record.push(0);
        let extra = Err(CodecError::Trailing { extra_bytes: 1 });
        assert_eq!(Proposal::decode(&record), extra, "{name}");
    }
}

#[test]
fn a_newer_version_is_named() {
    let expected = CodecError::Version {
        record: "proposal",
        version: 2,
    };
    for (_, command) in every_command() {
        let mut record = Proposal {
            time_ms: 1,
            command,
        }
        .encode();
        record[0] += 1;
        assert_eq!(Proposal::decode(&record), Err(expected.clone()));
    }
    // A command of a newer version in an entry of this one is no other command.
    let unknown = [&[PROPOSAL_VERSION][..], &[0; 8], &[200]].concat();
    let expected = CodecError::Invalid { field: "command" };
    assert_eq!(Proposal::decode(&unknown), Err(expected));
}

#[test]
fn a_change_becomes_one_that_takes_effect_once() {
    for (name, command) in every_command() {
        let proposal = |command| Proposal {
            time_ms: 1,
            command,
        };
        let record = Proposal::once(&proposal(command.clone()).encode(), CHANGE);
        let read = Proposal::decode(&record);
        if matches!(command, Command::Once { .. }) {
            assert!(read.is_err(), "{name}: once is enough");
            continue;
        }
        let once = proposal(Command::Once {
            id: CHANGE,
            command: Box::new(command),
        });
        assert_eq!(once.encode(), record, "{name}");
        assert_eq!(read, Ok(once), "{name}");
    }
    // However deep, it costs no stack.
    let nested = [&[ONCE_TAG][..], &[0; 24]].concat().repeat(100_000);
    let record = [&[PROPOSAL_VERSION][..], &[0; 8], &nested].concat();
    assert!(Proposal::decode(&record).is_err());
    // What is no proposal stays none.
    assert!(Proposal::decode(&Proposal::once(&[1, 2], CHANGE)).is_err());
}

#[test]
fn a_robot_that_nobody_may_make_is_refused() {
    let refused = |name: &str, scopes: &[&str]| {
        let robot = NewRobot {
            id: [3; 8],
            name: name.into(),
            hash: [7; 32],
            scopes: scopes.iter().map(|text| (*text).into()).collect(),
            expires_ms: None,
        };
        let command = Command::Robot(RobotCommand::Add(robot));
        let record = Proposal {
            time_ms: 1,
            command,
        }
        .encode();
        Proposal::decode(&record).err()
    };
    let long = "x".repeat(400);
    assert_eq!(refused("ci", &["a:pull"]), None);
    for name in ["", "a:b", "-a", ".a", "a b", "ä", &long] {
        let expected = CodecError::Invalid { field: "name" };
        assert_eq!(refused(name, &[]), Some(expected), "{name}");
    }
    for scopes in [&["a b:pull"][..], &["ä:pull"], &[&long], &["a:pull"; 33]] {
        let expected = CodecError::Invalid { field: "scopes" };
        assert_eq!(refused("ci", scopes), Some(expected), "{scopes:?}");
    }
}

#[test]
fn a_huge_count_costs_no_memory() {
    let mut writer = Writer::default();
    writer.u8(1).u64(0).u8(7).u32(u32::MAX);
    assert!(matches!(
        Proposal::decode(writer.as_slice()),
        Err(CodecError::Short { .. })
    ));
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes: Vec<u8>) {
        drop(Proposal::decode(&bytes));
        for command in 0..=ONCE_TAG {
            let record = [&[1, 0, 0, 0, 0, 0, 0, 0, 0, command], bytes.as_slice()].concat();
            drop(Proposal::decode(&record));
        }
    }

    #[test]
    fn a_damaged_proposal_decodes_to_itself_or_fails(
        which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte: u8,
    ) {
        let (_, command) = which.get(&every_command()).clone();
        let mut record = Proposal { time_ms: 9, command }.encode();
        *at.get_mut(&mut record) = byte;
        if let Ok(proposal) = Proposal::decode(&record) {
            prop_assert_eq!(proposal.encode(), record);
        }
    }
}
