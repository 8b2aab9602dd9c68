//! Tests of the outcome encoding: frozen bytes, round trips, hostile input.

use super::*;
use crate::metadata::world::{digest, hex, tag};
use proptest::prelude::*;

/// One `name hex` line per outcome; a changed line is a node of another version
/// that misunderstands this one.
const GOLDEN: &str = include_str!("../../tests/fixtures/metadata/outcomes_v1.txt");

fn every_outcome() -> Vec<(&'static str, Outcome)> {
    let stored = |is_new, is_change| Outcome::Stored { is_new, is_change };
    vec![
        ("applied", Outcome::Applied),
        ("blob_linked", Outcome::BlobLinked { generation: 3 }),
        (
            "generation_condemned",
            Outcome::GenerationCondemned { next: 4 },
        ),
        ("stored_new", stored(true, true)),
        ("stored_again", stored(false, false)),
        ("deleted", Outcome::Deleted),
        ("no_repository", Outcome::NotFound(What::Repository)),
        ("no_blob", Outcome::NotFound(What::Blob)),
        ("no_manifest", Outcome::NotFound(What::Manifest)),
        ("no_tag", Outcome::NotFound(What::Tag)),
        ("no_node", Outcome::NotFound(What::Node)),
        ("no_robot", Outcome::NotFound(What::Robot)),
        (
            "blobs_missing",
            Outcome::BlobsMissing(vec![digest("a"), digest("b")]),
        ),
        ("sizes_differ", Outcome::SizesDiffer(vec![digest("a")])),
        (
            "tag_immutable",
            Outcome::Refused(Refusal::TagImmutable(tag("v1"))),
        ),
        ("tag_moved", Outcome::Refused(Refusal::TagMoved(tag("v1")))),
        ("deletes_refused", Outcome::Refused(Refusal::DeletesRefused)),
        ("token_unknown", Outcome::Refused(Refusal::TokenUnknown)),
        ("token_used", Outcome::Refused(Refusal::TokenUsed)),
        ("token_expired", Outcome::Refused(Refusal::TokenExpired)),
        (
            "tokens_exhausted",
            Outcome::Refused(Refusal::TokensExhausted),
        ),
        ("node_known", Outcome::Refused(Refusal::NodeKnown)),
        ("node_removed", Outcome::Refused(Refusal::NodeRemoved)),
        ("last_voter", Outcome::Refused(Refusal::LastVoter)),
        (
            "address_taken",
            Outcome::Refused(Refusal::AddressTaken { node: 41 }),
        ),
        ("robot_known", Outcome::Refused(Refusal::RobotKnown)),
        (
            "robots_exhausted",
            Outcome::Refused(Refusal::RobotsExhausted),
        ),
        (
            "outdated",
            Outcome::Refused(Refusal::Outdated { newest: 41 }),
        ),
        ("condemned", Outcome::Condemned),
        ("referenced", Outcome::Kept(Kept::Referenced)),
        ("leased", Outcome::Kept(Kept::Leased)),
        ("other_generation", Outcome::Kept(Kept::OtherGeneration)),
        ("absent", Outcome::Kept(Kept::Absent)),
        ("last_holder", Outcome::Kept(Kept::LastHolder)),
        ("node_admitted", Outcome::NodeAdmitted { node: 41 }),
    ]
}

fn encoded(outcome: &Outcome) -> Vec<u8> {
    let mut writer = Writer::default();
    outcome.encode(&mut writer);
    writer.finish()
}

fn decoded(record: &[u8]) -> Result<Outcome, CodecError> {
    let mut reader = Reader::new(record);
    let outcome = Outcome::decode(&mut reader)?;
    reader.end()?;
    Ok(outcome)
}

#[test]
fn every_outcome_is_written_as_it_always_was() {
    let line = |(name, outcome): (&str, Outcome)| {
        let record = encoded(&outcome);
        assert_eq!(decoded(&record), Ok(outcome), "{name}");
        format!("{name} {}\n", hex(&record))
    };
    let written: String = every_outcome().into_iter().map(line).collect();
    assert_eq!(written, GOLDEN);
}

#[test]
fn a_cut_or_newer_outcome_is_refused() {
    for (name, outcome) in every_outcome() {
        let mut record = encoded(&outcome);
        for cut in 0..record.len() {
            assert!(decoded(&record[..cut]).is_err(), "{name} cut at {cut}");
        }
        record[0] = 2;
        let refused = decoded(&record);
        assert!(matches!(
            refused,
            Err(CodecError::Version { version: 2, .. })
        ));
    }
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes: Vec<u8>) {
        for kind in 0..13 {
            let record = [&[OUTCOME_VERSION, kind], bytes.as_slice()].concat();
            if let Ok(outcome) = decoded(&record) {
                prop_assert_eq!(encoded(&outcome), record);
            }
        }
    }
}
