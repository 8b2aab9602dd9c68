//! The bytes that this build writes are the bytes that builds before it wrote.

use bytes::Bytes;

use super::mark::Mark;
use super::record::{self, NO_LINK};
use super::tail::Tail;
use crate::base::CodecError;

/// One `name hex` line per format; a changed line is a journal that old builds wrote.
const GOLDEN: &str = include_str!("../../tests/fixtures/journal/formats_v1.txt");

const TAIL: Tail = Tail {
    group: 9,
    floor: 2,
    first: 3,
    first_link: 0x0102_0304,
    next: 8,
    link: 0xa1a2_a3a4,
    vote: 0xb1b2_b3b4,
};

fn golden(name: &str) -> Bytes {
    let line = GOLDEN.lines().find_map(|line| line.strip_prefix(name));
    let hex = line.unwrap_or_else(|| panic!("{name} is frozen")).trim();
    let digit = |digit: &u8| char::from(*digit).to_digit(16).unwrap();
    let byte = |pair: &[u8]| u8::try_from(digit(&pair[0]) * 16 + digit(&pair[1])).unwrap();
    hex.as_bytes().chunks_exact(2).map(byte).collect()
}

#[test]
fn records_are_the_frozen_bytes_and_read_back() {
    let (first, link) = record::seal(7, NO_LINK, b"first");
    let (second, _) = record::seal(8, link, b"");
    assert_eq!(first, golden("record_first "));
    assert_eq!(second, golden("record_second "));
    let read = record::unseal(&golden("record_second ")).unwrap();
    assert_eq!((read.index, read.previous), (8, link));
    assert_eq!(record::key(258), golden("key "));
}

#[test]
fn tails_are_the_frozen_bytes_and_read_back() {
    assert_eq!(TAIL.encode(), golden("tail "));
    assert_eq!(Tail::decode(&golden("tail ")), Ok(TAIL));
}

#[test]
fn a_newer_version_of_each_is_refused_and_named() {
    let newer = |name: &str| {
        let mut bytes = golden(name).to_vec();
        bytes[0] += 1;
        Bytes::from(bytes)
    };
    let is_named = |error: CodecError| matches!(error, CodecError::Version { version: 2, .. });
    assert!(is_named(
        record::unseal(&newer("record_first ")).unwrap_err()
    ));
    assert!(is_named(Tail::decode(&newer("tail ")).unwrap_err()));
    // The version of a mark is the end of its name.
    let mut mark = golden("mark ").to_vec();
    mark[7] += 1;
    assert_eq!(Mark::decode(mark.as_slice().try_into().unwrap()), None);
}

#[test]
fn marks_are_the_frozen_bytes_and_read_back() {
    let mark = Mark::of(&TAIL);
    assert_eq!(mark.encode(), golden("mark "));
    let slot = golden("mark ");
    assert_eq!(Mark::decode(slot.as_ref().try_into().unwrap()), Some(mark));
}
