//! Tests of the messages between nodes: frozen bytes, round trips, hostile input.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use openraft::impls::leader_id_adv::LeaderId;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderError, TransferLeaderRequest,
    VoteRequest, VoteResponse,
};
use openraft::{BasicNode, EntryPayload};
use proptest::prelude::*;

use super::*;
use crate::base::CodecError;
use crate::metadata::Outcome;
use crate::raft::members::{Member, Members};
use crate::raft::message_append::*;
use crate::raft::message_snapshot::*;
use crate::raft::message_vote::*;
use crate::raft::reply::{Denial, decode_reply};
use crate::raft::types::*;

/// One `name hex` line per message; a changed line is a node of another version
/// that misunderstands this one.
const GOLDEN: &str = include_str!("../../tests/fixtures/raft/messages_v1.txt");

fn vote(committed: bool) -> Vote {
    Vote {
        leader_id: LeaderId {
            term: 3,
            node_id: 7,
        },
        committed,
    }
}

fn id(index: u64) -> LogId {
    LogId {
        leader_id: vote(true).leader_id,
        index,
    }
}

fn membership() -> Membership {
    let nodes = [(1, "a:1"), (7, "b:2")].map(|(node, at)| (node, BasicNode::new(at)));
    Membership::new(vec![BTreeSet::from([1])], BTreeMap::from(nodes)).unwrap()
}

fn entry(index: u64, payload: EntryPayload<Change, u64, BasicNode>) -> Entry {
    Entry {
        log_id: id(index),
        payload,
    }
}

fn proposal(index: u64, bytes: impl Into<Bytes>) -> Entry {
    let bytes = bytes.into();
    entry(index, EntryPayload::Normal(Change { bytes }))
}

fn append() -> AppendEntriesRequest<Types> {
    AppendEntriesRequest {
        vote: vote(true),
        prev_log_id: Some(id(4)),
        leader_commit: Some(id(3)),
        entries: vec![
            proposal(5, &b"change"[..]),
            entry(6, EntryPayload::Blank),
            entry(7, EntryPayload::Membership(membership())),
        ],
    }
}

fn heartbeat() -> AppendEntriesRequest<Types> {
    AppendEntriesRequest {
        vote: vote(true),
        prev_log_id: None,
        leader_commit: None,
        entries: Vec::new(),
    }
}

fn ballots() -> [(&'static str, Ballot); 3] {
    let request = |leadership_transfer, last_log_id| VoteRequest {
        vote: vote(false),
        last_log_id,
        leadership_transfer,
    };
    let transfer = TransferLeaderRequest::new(vote(true), 9, Some(id(5)));
    [
        ("vote", Ballot::Vote(request(true, Some(id(5))))),
        ("pre_vote", Ballot::PreVote(request(false, None))),
        ("transfer", Ballot::Transfer(transfer)),
    ]
}

fn steps() -> [(&'static str, SnapshotMessage); 3] {
    let begin = SnapshotStep::Begin {
        vote: vote(true),
        file_bytes: 1 << 33,
        meta: SnapshotMeta {
            last_log_id: Some(id(5)),
            last_membership: StoredMembership::new(Some(id(2)), membership()),
        },
    };
    let part = SnapshotStep::Part {
        offset: 1 << 32,
        bytes: Bytes::from_static(b"part"),
    };
    [
        ("snapshot_begin", begin),
        ("snapshot_part", part),
        ("snapshot_finish", SnapshotStep::Finish),
    ]
    .map(|(name, step)| (name, SnapshotMessage { transfer: 11, step }))
}

const CLUSTER: [(&str, ClusterRequest); 7] = [
    ("hello", ClusterRequest::Hello),
    ("members", ClusterRequest::Members),
    ("transfer_leader", ClusterRequest::Transfer { to: 7 }),
    ("barrier", ClusterRequest::Barrier { index: 9 }),
    ("seen", ClusterRequest::Seen { index: 9 }),
    ("filled", ClusterRequest::Filled { index: 9 }),
    ("promote", ClusterRequest::Promote { node: 7 }),
];

fn members() -> Members {
    let member = |node, matched_index| Member {
        node,
        address: "a:1".into(),
        is_voter: node == 1,
        is_leader: node == 1,
        matched_index,
    };
    Members {
        term: 3,
        last_index: Some(5),
        is_changing: true,
        nodes: vec![member(1, Some(5)), member(7, None)],
    }
}

fn appended() -> [(&'static str, AppendEntriesResponse<Types>); 5] {
    [
        ("appended_all", AppendEntriesResponse::Success),
        (
            "appended_part",
            AppendEntriesResponse::PartialSuccess(Some(id(5))),
        ),
        ("appended_none", AppendEntriesResponse::PartialSuccess(None)),
        ("appended_conflict", AppendEntriesResponse::Conflict),
        (
            "appended_higher",
            AppendEntriesResponse::HigherVote(vote(false)),
        ),
    ]
}

fn voted(is_granted: bool) -> VoteResponse<Types> {
    VoteResponse {
        vote: vote(false),
        vote_granted: is_granted,
        last_log_id: Some(id(5)),
    }
}

fn transferred() -> [(&'static str, Result<(), TransferLeaderError<Types>>); 3] {
    let changed = TransferLeaderError::VoteChanged {
        expected: vote(true),
        actual: vote(false),
    };
    let unflushed = TransferLeaderError::LogNotFlushed {
        expected: Some(id(5)),
        actual: None,
    };
    [
        ("transferred", Ok(())),
        ("transfer_changed", Err(changed)),
        ("transfer_unflushed", Err(unflushed)),
    ]
}

const PROGRESS: [(&str, SnapshotProgress); 3] = [
    ("snapshot_holding", SnapshotProgress::Holding { bytes: 9 }),
    ("snapshot_installing", SnapshotProgress::Installing),
    ("snapshot_unknown", SnapshotProgress::Unknown),
];

fn proposed() -> [(&'static str, Proposed); 2] {
    let applied = Proposed::Applied {
        index: 5,
        outcome: Outcome::BlobLinked { generation: 2 },
    };
    [
        ("proposed", applied),
        ("proposed_unknown", Proposed::Unknown),
    ]
}

fn filled() -> [(&'static str, Filled); 2] {
    let told = Filled {
        index: Some(9),
        missing_blobs: 2,
        unreached: vec![3, 7],
    };
    [("told_filled", told), ("told_unfilled", Filled::default())]
}

fn denials() -> [(&'static str, Denial); 5] {
    let not_leader = |hint| Denial::NotLeader { hint };
    [
        ("denied_not_leader", not_leader(None)),
        ("denied_other_leads", not_leader(Some(7))),
        ("denied_stranger", Denial::Stranger),
        ("denied_removed", Denial::Removed),
        ("denied_stopped", Denial::Stopped),
    ]
}

fn every_request() -> Vec<(&'static str, Bytes)> {
    let mut all = vec![
        ("append", encode_append(&append()).0),
        ("heartbeat", encode_append(&heartbeat()).0),
    ];
    all.extend(ballots().map(|(name, ballot)| (name, ballot.encode())));
    all.extend(steps().map(|(name, message)| (name, message.encode())));
    let limit = Duration::from_millis(2500);
    all.push(("propose", encode_propose(b"change", limit)));
    all.push(("read_index", encode_read_index()));
    all.extend(CLUSTER.map(|(name, request)| (name, request.encode())));
    all
}

fn every_answer() -> Vec<(&'static str, Bytes)> {
    let mut all = Vec::new();
    for (name, one) in appended() {
        all.push((name, encode_reply(&Ok(one), write_appended)));
    }
    all.push(("voted", encode_reply(&Ok(voted(true)), write_voted)));
    for (name, one) in transferred() {
        all.push((name, encode_reply(&Ok(one), write_transferred)));
    }
    for (name, one) in PROGRESS {
        all.push((name, encode_reply(&Ok(one), write_progress)));
    }
    let done = SnapshotProgress::Done { vote: vote(true) };
    all.push(("snapshot_done", encode_reply(&Ok(done), write_progress)));
    for (name, one) in proposed() {
        all.push((name, encode_reply(&Ok(one), write_proposed)));
    }
    for (name, leader) in [("told_leader", Some(7)), ("told_nobody", None)] {
        all.push((name, encode_reply(&Ok(Hello { leader }), write_hello)));
    }
    all.push(("index", encode_index(&Ok(9))));
    all.push(("told_members", encode_reply(&Ok(members()), write_members)));
    for (name, one) in filled() {
        all.push((name, encode_reply(&Ok(one), write_filled)));
    }
    for (name, denial) in denials() {
        let denied: Reply<()> = Err(denial);
        all.push((name, encode_reply(&denied, |_, ()| {})));
    }
    all
}

#[test]
fn every_message_is_written_as_it_always_was() {
    let mut written = String::new();
    for (name, bytes) in every_request().into_iter().chain(every_answer()) {
        write!(written, "{name} ").unwrap();
        for byte in bytes {
            write!(written, "{byte:02x}").unwrap();
        }
        written.push('\n');
    }
    assert_eq!(written, GOLDEN);
}

#[test]
fn every_request_reads_back() {
    for request in [append(), heartbeat()] {
        let (bytes, sent) = encode_append(&request);
        let read = decode_append(&bytes).unwrap();
        assert_eq!(sent, Sent::All);
        assert_eq!(format!("{read:?}"), format!("{request:?}"));
        assert_eq!(read.entries, request.entries);
    }
    for (_, ballot) in ballots() {
        assert_eq!(Ballot::decode(&ballot.encode()), Ok(ballot));
    }
    for (_, message) in steps() {
        assert_eq!(SnapshotMessage::decode(&message.encode()), Ok(message));
    }
    let limit = Duration::from_millis(2500);
    let change = Bytes::from_static(b"change");
    let propose = encode_propose(&change, limit);
    assert_eq!(decode_propose(&propose), Ok((change, limit)));
    assert_eq!(decode_read_index(&encode_read_index()), Ok(()));
    for (_, request) in CLUSTER {
        assert_eq!(ClusterRequest::decode(&request.encode()), Ok(request));
    }
}

#[test]
fn every_answer_reads_back() {
    for (_, one) in appended() {
        let answer = encode_reply(&Ok(one.clone()), write_appended);
        assert_eq!(decode_reply(&answer, read_appended), Ok(Ok(one)));
    }
    for is_granted in [false, true] {
        let answer = encode_reply(&Ok(voted(is_granted)), write_voted);
        assert_eq!(decode_reply(&answer, read_voted), Ok(Ok(voted(is_granted))));
    }
    for (_, one) in transferred() {
        let answer = encode_reply(&Ok(one.clone()), write_transferred);
        assert_eq!(decode_reply(&answer, read_transferred), Ok(Ok(one)));
    }
    for (_, one) in PROGRESS {
        let answer = encode_reply(&Ok(one), write_progress);
        assert_eq!(decode_reply(&answer, read_progress), Ok(Ok(one)));
    }
    for (_, one) in proposed() {
        let answer = encode_reply(&Ok(one.clone()), write_proposed);
        assert_eq!(decode_reply(&answer, read_proposed), Ok(Ok(one)));
    }
    for leader in [None, Some(7)] {
        let hello = Hello { leader };
        let answer = encode_reply(&Ok(hello), write_hello);
        assert_eq!(decode_reply(&answer, read_hello), Ok(Ok(hello)));
    }
    let answer = encode_index(&Ok(9));
    assert_eq!(decode_reply(&answer, read_index), Ok(Ok(9)));
    let answer = encode_reply(&Ok(members()), write_members);
    assert_eq!(decode_reply(&answer, read_members), Ok(Ok(members())));
    for (_, denial) in denials() {
        let answer = encode_reply(&Err(denial), |_, ()| {});
        assert_eq!(decode_reply(&answer, |_| Ok(())), Ok(Err(denial)));
    }
}

#[test]
fn a_message_takes_as_many_entries_as_its_bound_lets_in_and_always_one() {
    let entries = (5..13).map(|index| proposal(index, vec![7; 1_000_000]));
    let mut request = AppendEntriesRequest {
        entries: entries.collect(),
        ..append()
    };
    let (bytes, sent) = encode_append(&request);
    assert_eq!(sent, Sent::UpTo(Some(id(8))));
    assert_eq!(decode_append(&bytes).unwrap().entries, request.entries[..4]);
    request.entries = vec![proposal(5, vec![7; 9_000_000]), proposal(6, vec![7])];
    let (bytes, sent) = encode_append(&request);
    assert_eq!(sent, Sent::UpTo(Some(id(5))));
    assert_eq!(decode_append(&bytes).unwrap().entries, request.entries[..1]);
}

#[test]
fn entries_that_do_not_follow_each_other_are_refused() {
    let skipped = AppendEntriesRequest {
        entries: vec![proposal(5, vec![1]), proposal(7, vec![1])],
        ..append()
    };
    let apart = AppendEntriesRequest {
        entries: vec![proposal(6, vec![1])],
        ..append()
    };
    let refused = Err(CodecError::Invalid { field: "entries" });
    for request in [skipped, apart] {
        let read = decode_append(&encode_append(&request).0);
        assert_eq!(read.map(|request| request.entries), refused);
    }
}

#[test]
fn a_damaged_part_is_refused() {
    let (_, message) = &steps()[1];
    let mut bytes = message.encode().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    let refused = SnapshotMessage::decode(&Bytes::from(bytes));
    assert!(matches!(refused, Err(CodecError::Checksum { .. })));
}

/// Reads bytes with every decoder; nothing may panic.
fn read_all(bytes: &Bytes) -> usize {
    let requests = [
        decode_append(bytes).is_ok(),
        Ballot::decode(bytes).is_ok(),
        SnapshotMessage::decode(bytes).is_ok(),
        decode_propose(bytes).is_ok(),
        decode_read_index(bytes).is_ok(),
        ClusterRequest::decode(bytes).is_ok(),
    ];
    let answers = [
        decode_reply(bytes, read_appended).is_ok(),
        decode_reply(bytes, read_voted).is_ok(),
        decode_reply(bytes, read_transferred).is_ok(),
        decode_reply(bytes, read_progress).is_ok(),
        decode_reply(bytes, read_proposed).is_ok(),
        decode_reply(bytes, read_index).is_ok(),
        decode_reply(bytes, read_hello).is_ok(),
        decode_reply(bytes, read_members).is_ok(),
    ];
    let read = requests.into_iter().chain(answers);
    read.filter(|is_read| *is_read).count()
}

#[test]
fn cut_messages_are_refused_by_the_decoder_they_are_for() {
    for (_, message) in every_request().into_iter().chain(every_answer()) {
        assert!(read_all(&message) > 0);
        for length in 0..message.len() {
            read_all(&message.slice(..length));
        }
    }
    let whole = encode_append(&append()).0;
    for length in 0..whole.len() {
        assert!(decode_append(&whole.slice(..length)).is_err());
    }
}

#[test]
fn a_newer_version_of_each_message_is_refused_by_its_decoder_and_named() {
    for (name, message) in every_request().into_iter().chain(every_answer()) {
        let mut newer = message.to_vec();
        newer[0] += 1;
        let newer = Bytes::from(newer);
        let errors = [
            decode_append(&newer).map(drop),
            Ballot::decode(&newer).map(drop),
            SnapshotMessage::decode(&newer).map(drop),
            decode_propose(&newer).map(drop),
            decode_read_index(&newer),
            ClusterRequest::decode(&newer).map(drop),
            decode_reply(&newer, read_appended).map(drop),
        ];
        for error in errors {
            let is_named = matches!(error, Err(CodecError::Version { version: 2, .. }));
            assert!(is_named, "{name}: {error:?}");
        }
    }
}

#[test]
fn forty_members_are_told_and_read_back() {
    let member = |node| Member {
        node,
        address: format!("node-{node}.windlass:5002").into(),
        is_voter: node < 8,
        is_leader: node == 33,
        matched_index: Some(node),
    };
    let members = Members {
        nodes: (1..=40).map(member).collect(),
        ..members()
    };
    let told = encode_reply(&Ok(members.clone()), write_members);
    assert_eq!(decode_reply(&told, read_members), Ok(Ok(members)));
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes: Vec<u8>, version in 0..3_u8, kind in 0..5_u8) {
        read_all(&Bytes::from(bytes.clone()));
        read_all(&Bytes::from([&[version, kind], bytes.as_slice()].concat()));
    }

    #[test]
    fn a_damaged_message_never_panics(
        which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte: u8,
    ) {
        let all = [every_request(), every_answer()].concat();
        let (_, message) = which.get(&all);
        let mut bytes = message.to_vec();
        *at.get_mut(&mut bytes) = byte;
        read_all(&Bytes::from(bytes));
    }
}
