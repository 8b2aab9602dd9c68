//! Tests of what nodes say about uploads: it reads back, and nothing else does.

use std::fmt::Write as _;

use super::*;
use crate::oci::Algorithm;
use proptest::prelude::*;

const GOLDEN: &str = include_str!("../../tests/fixtures/registry/relay_v1.txt");

fn id() -> UploadId {
    UploadId::parse(&"abcdefgh".repeat(8)).unwrap()
}

fn repository() -> Repository {
    Repository::parse("library/app").unwrap()
}

fn digest(algorithm: Algorithm) -> Digest {
    Digest::of(algorithm, b"content")
}

fn requests() -> Vec<RelayRequest> {
    let longest = Repository::parse(&"a".repeat(REPOSITORY_BYTES_MAX)).unwrap();
    [(repository(), WhenCut::Keep), (longest, WhenCut::Forget)]
        .map(|(repository, when_cut)| RelayRequest {
            repository,
            id: id(),
            when_cut,
        })
        .into()
}

fn errors() -> Vec<RelayedError> {
    let mut errors = vec![
        RelayedError::Unknown,
        RelayedError::SessionBusy,
        RelayedError::TooLarge { bytes_max: 1 << 40 },
        RelayedError::DiskFull { free_bytes: 7 },
        RelayedError::Busy,
        RelayedError::NoLeader,
        RelayedError::Unavailable,
        RelayedError::Undecided,
        RelayedError::Failed,
    ];
    errors.extend(
        Algorithm::ALL.map(|algorithm| RelayedError::DigestMismatch {
            actual: digest(algorithm),
        }),
    );
    errors
}

fn answers() -> Vec<RelayAnswer> {
    let mut answers = vec![
        RelayAnswer::Held(0),
        RelayAnswer::Held(u64::MAX),
        RelayAnswer::Ended(None),
    ];
    answers.extend(errors().into_iter().map(RelayAnswer::Failed));
    answers
}

const RECORDS: [RelayRecord; 5] = [
    RelayRecord::Data(1),
    RelayRecord::Data(u32::MAX),
    RelayRecord::Keep,
    RelayRecord::Release,
    RelayRecord::Seal,
];

fn calls() -> [RelayCall; 2] {
    [RelayOperation::Held, RelayOperation::Cancel].map(|operation| RelayCall {
        operation,
        repository: repository(),
        id: id(),
    })
}

/// Every record with one bit flipped.
fn flipped(record: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..record.len() * 8).map(|bit| {
        let mut flipped = record.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        flipped
    })
}

#[test]
fn requests_read_back_and_every_flipped_bit_is_refused() {
    for request in requests() {
        let record: [u8; REQUEST_BYTES] = request.encode().try_into().unwrap();
        assert_eq!(RelayRequest::decode(&record), Ok(request));
        for flipped in flipped(&record) {
            assert!(RelayRequest::decode(&flipped.try_into().unwrap()).is_err());
        }
    }
}

#[test]
fn answers_read_back_and_every_flipped_bit_is_refused() {
    for answer in answers() {
        let record: [u8; ANSWER_BYTES] = answer.encode().try_into().unwrap();
        assert_eq!(RelayAnswer::decode(&record), Ok(answer));
        assert_eq!(RelayAnswer::decode_payload(&record), Ok(answer));
        for end in 0..ANSWER_BYTES {
            assert!(RelayAnswer::decode_payload(&record[..end]).is_err());
        }
        for flipped in flipped(&record) {
            assert!(RelayAnswer::decode(&flipped.try_into().unwrap()).is_err());
        }
    }
}

#[test]
fn records_read_back_and_every_flipped_bit_is_refused() {
    for record in RECORDS {
        let bytes = record.encode();
        assert_eq!(RelayRecord::decode(bytes), Ok(record));
        for flipped in flipped(&bytes) {
            assert!(RelayRecord::decode(flipped.try_into().unwrap()).is_err());
        }
    }
    assert!(RelayRecord::decode(RelayRecord::Data(0).encode()).is_err());
    for algorithm in Algorithm::ALL {
        let seal: [u8; SEAL_BYTES] = encode_seal(&digest(algorithm)).try_into().unwrap();
        assert_eq!(decode_seal(&seal), Ok(digest(algorithm)));
        for flipped in flipped(&seal) {
            assert!(decode_seal(&flipped.try_into().unwrap()).is_err());
        }
    }
}

#[test]
fn calls_read_back_and_a_cut_or_longer_one_is_refused() {
    for call in calls() {
        let payload = call.encode();
        assert_eq!(RelayCall::decode(&payload), Ok(call));
        for end in 0..payload.len() {
            assert!(RelayCall::decode(&payload[..end]).is_err());
        }
        assert!(RelayCall::decode(&[&payload, &b"x"[..]].concat()).is_err());
    }
}

#[test]
fn an_error_of_a_newer_version_is_a_failure_and_another_status_is_nonsense() {
    let none = || Err(CodecError::Invalid { field: "digest" });
    assert_eq!(
        RelayedError::of_fields(99, 0, none),
        Ok(RelayedError::Failed)
    );
    assert!(RelayedError::of_fields(3, 0, none).is_err());
    assert!(RelayedError::of_fields(19, 0, none).is_err());
}

#[test]
fn a_newer_version_is_refused_and_named() {
    // Behind the magic; what is sealed by a checksum is sealed anew.
    let newer = |mut record: Vec<u8>| {
        record[4] += 1;
        let end = record.len() - 4;
        let (said, seal) = record.split_at_mut(end);
        seal.copy_from_slice(&crc32fast::hash(said).to_le_bytes());
        record
    };
    let is_named = |error: CodecError| matches!(error, CodecError::Version { version: 2, .. });
    for request in requests() {
        let record = newer(request.encode()).try_into().unwrap();
        assert!(is_named(RelayRequest::decode(&record).unwrap_err()));
    }
    for answer in answers() {
        let record = newer(answer.encode()).try_into().unwrap();
        assert!(is_named(RelayAnswer::decode(&record).unwrap_err()));
    }
    for call in calls() {
        let mut payload = call.encode().to_vec();
        payload[0] += 1;
        assert!(is_named(RelayCall::decode(&payload).unwrap_err()));
    }
}

#[test]
fn an_error_means_the_same_to_the_client_of_either_node() {
    use crate::registry::Error;
    for error in errors() {
        let there = Error::from(error);
        assert_eq!(RelayedError::from(there), error);
    }
}

#[test]
fn every_message_is_written_as_recorded() {
    let mut messages: Vec<(&str, Vec<u8>)> = Vec::new();
    messages.extend(requests().iter().map(|one| ("request", one.encode())));
    messages.extend(answers().iter().map(|one| ("answer", one.encode())));
    messages.extend(RECORDS.map(|one| ("record", one.encode().to_vec())));
    messages.push(("seal", encode_seal(&digest(Algorithm::Sha256))));
    messages.extend(calls().iter().map(|one| ("call", one.encode().to_vec())));
    let mut written = String::new();
    for (name, message) in messages {
        let hex = message.iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").unwrap();
            hex
        });
        writeln!(written, "{name} {hex}").unwrap();
    }
    assert_eq!(written, GOLDEN, "what nodes say about uploads has changed");
}

proptest! {
    #[test]
    fn any_bytes_are_answered(
        request in proptest::collection::vec(any::<u8>(), REQUEST_BYTES),
        payload in proptest::collection::vec(any::<u8>(), 0..200),
        record: [u8; RECORD_BYTES],
    ) {
        let request: [u8; REQUEST_BYTES] = request.try_into().unwrap();
        drop(RelayRequest::decode(&request));
        // The same with what a checksum lets pass.
        let mut body = request[..REQUEST_BYTES - CHECKSUM_BYTES].to_vec();
        body[..4].copy_from_slice(&REQUEST_MAGIC);
        body[4] = RELAY_VERSION;
        let checksum = crc32fast::hash(&body);
        body.extend(checksum.to_le_bytes());
        drop(RelayRequest::decode(&body.try_into().unwrap()));
        drop(RelayCall::decode(&payload));
        drop(RelayAnswer::decode_payload(&payload));
        drop(RelayRecord::decode(record));
    }
}
