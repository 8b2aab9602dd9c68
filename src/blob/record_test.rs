//! Tests of the session record: frozen in bytes, refused when damaged.

use super::*;
use crate::base::limits::EXTENT_BYTES;
use crate::blob::upload_id::Minter;
use proptest::prelude::*;

const GOLDEN: &[u8] = include_bytes!("../../tests/fixtures/upload_session_v1.bin");

fn content(total: usize) -> Vec<u8> {
    (0..total)
        .map(|at| u8::try_from(at * 7 % 253).unwrap())
        .collect()
}

fn record(total: usize, algorithm: Algorithm, is_sealing: bool) -> Record {
    let bytes = content(total);
    let mut progress = Progress::new(algorithm);
    progress.absorb(&bytes);
    let tail = usize::try_from(tail_start(to_u64(total))).unwrap();
    Record {
        id: UploadId::from_bytes([0x5a; 40]),
        repository: Repository::parse("library/alpine").unwrap(),
        touched_ms: 1_700_000_000_123,
        kernel_boot: KernelBoot([0xb0; 16]),
        progress,
        tail: bytes[tail..].to_vec(),
        sealing: is_sealing.then(|| (Digest::of(algorithm, b"x"), 7)),
    }
}

/// A session of 1 MiB and 5000 bytes: one whole extent, one under way, a tail.
fn golden() -> Record {
    record(1024 * 1024 + 5000, Algorithm::Sha256, true)
}

#[test]
fn the_golden_record_reads_and_writes_alike() {
    assert_eq!(golden().encode(), GOLDEN, "the format has changed");
    let mut read = Record::decode(GOLDEN).unwrap();
    let whole = content(1024 * 1024 + 5000);
    assert_eq!(read.data_bytes(), 1024 * 1024 + 4096);
    assert_eq!(read.tail, whole[1024 * 1024 + 4096..]);
    assert_eq!(read.repository.as_str(), "library/alpine");
    assert_eq!(read.touched_ms, 1_700_000_000_123);
    assert_eq!(read.kernel_boot, KernelBoot([0xb0; 16]));
    assert_eq!(read.sealing, Some((Digest::of(Algorithm::Sha256, b"x"), 7)));
    read.progress.absorb(b"more");
    let more = [whole.as_slice(), b"more"].concat();
    assert_eq!(read.progress.digest(), Digest::of(Algorithm::Sha256, &more));
    let checksums: Vec<u32> = more
        .chunks(usize::try_from(EXTENT_BYTES).unwrap())
        .map(crc32fast::hash)
        .collect();
    assert_eq!(read.progress.extents.finish(), checksums);
}

#[test]
fn every_flipped_bit_and_every_cut_is_refused() {
    let record = golden().encode();
    for bit in 0..record.len() * 8 {
        let mut flipped = record.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(Record::decode(&flipped).is_err(), "bit {bit}");
    }
    for end in 0..record.len() {
        assert!(Record::decode(&record[..end]).is_err(), "cut at {end}");
    }
}

#[test]
fn a_newer_version_is_named_not_guessed() {
    let mut record = golden().encode();
    record[4] = 2;
    let body = record.len() - 4;
    let checksum = crc32fast::hash(&record[..body]).to_le_bytes();
    record[body..].copy_from_slice(&checksum);
    let expected = CodecError::Version {
        record: "upload session",
        version: 2,
    };
    assert_eq!(Record::decode(&record).unwrap_err(), expected);
}

#[test]
fn an_id_of_a_minter_survives_the_record() {
    let repository = Repository::parse("a").unwrap();
    let minter = Minter::new([1; 32], 2, 3);
    let mut one = record(10, Algorithm::Sha256, false);
    one.id = minter.mint(Some(&repository), 4, 5);
    let read = Record::decode(&one.encode()).unwrap();
    assert!(minter.is_authentic(&read.id, &repository));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_record_reads_back(
        total in prop_oneof![0_usize..20_000, 1_040_000_usize..1_060_000],
        is_long: bool,
        is_sealing: bool,
    ) {
        let algorithm = if is_long { Algorithm::Sha512 } else { Algorithm::Sha256 };
        let one = record(total, algorithm, is_sealing);
        let read = Record::decode(&one.encode()).unwrap();
        prop_assert_eq!(read.encode(), one.encode());
        prop_assert_eq!(read.data_bytes() % 4096, 0);
        prop_assert_eq!(read.progress.digest(), Digest::of(algorithm, &content(total)));
    }

    #[test]
    fn any_bytes_are_a_record_or_refused(mut bytes: Vec<u8>) {
        let checksum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        drop(Record::decode(&bytes));
    }
}
