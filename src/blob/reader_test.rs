//! Tests of readers: every way of reading gives the bytes, and gives memory back.

use std::os::unix::fs::FileExt;

use proptest::prelude::*;

use super::*;
use crate::base::units::to_usize;
use crate::blob::fixture::{Home, content, file, push, sha256};
use crate::runtime::run_alone;

/// Bytes that came one way and the other.
#[derive(Debug, Default, PartialEq, Eq)]
struct Ways {
    resident: u64,
    memory: u64,
}

/// A blob that was written directly, so that the page cache holds nothing of it.
async fn cold_blob(store: &Store, bytes: usize) -> (Vec<u8>, Digest) {
    assert!(bytes > 16 * 1024, "smaller blobs have no file");
    let content = content(bytes);
    push(store, &content).await.unwrap().commit().await;
    let digest = sha256(&content);
    (content, digest)
}

async fn read(reader: &mut Reader) -> (Vec<u8>, Ways) {
    let (mut bytes, mut ways) = (Vec::new(), Ways::default());
    while let Some(piece) = reader.next().await.unwrap() {
        match piece {
            Piece::Memory(chunk) => {
                ways.memory += to_u64(chunk.len());
                bytes.extend_from_slice(&chunk);
            }
            Piece::Resident {
                file,
                offset,
                bytes: count,
            } => {
                ways.resident += count;
                let mut part = vec![0; index_of(count)];
                // As a send does, this waits for pages that are still being read ahead.
                let own = std::fs::File::from(file.as_fd().try_clone_to_owned().unwrap());
                own.read_exact_at(&mut part, offset).unwrap();
                bytes.append(&mut part);
            }
        }
    }
    (bytes, ways)
}

#[test]
fn a_cold_blob_is_read_directly_and_a_cached_one_named() {
    run_alone(|| async {
        let home = Home::new();
        let (stores, _) = home.start();
        let bytes = 3_500_001;
        let (content, digest) = cold_blob(&stores[0], bytes).await;
        let mut reader = stores[0].reader(&digest, 1, 3_500_001).await.unwrap();
        let (read_bytes, ways) = read(&mut reader).await;
        assert!(read_bytes == content);
        assert_eq!((ways.resident, ways.memory), (0, 3_500_001));
        assert!(file(&home.blob(&digest, 1)) == content);
        let mut reader = stores[0].reader(&digest, 1, 3_500_001).await.unwrap();
        let (read_bytes, ways) = read(&mut reader).await;
        assert!(read_bytes == content);
        assert!(ways.resident > ways.memory, "{}", ways.resident);
        home.settle().await;
    });
}

#[test]
fn a_blob_that_is_opened_again_is_brought_into_the_page_cache() {
    run_alone(|| async {
        let home = Home::new();
        let (stores, _) = home.start();
        let (content, digest) = cold_blob(&stores[0], 3_500_001).await;
        drop(stores[0].reader(&digest, 1, 3_500_001).await.unwrap());
        let mut reader = stores[0].reader(&digest, 1, 3_500_001).await.unwrap();
        let (read_bytes, ways) = read(&mut reader).await;
        assert!(read_bytes == content);
        assert_eq!(ways.resident + ways.memory, 3_500_001);
        // The kernel may take pages back in between.
        assert!(ways.resident > ways.memory, "{}", ways.resident);
        assert_eq!(home.metrics.blob.warmed_bytes.value(), 3_500_001);
    });
}

#[test]
fn a_small_blob_comes_in_one_piece_cold_or_warm() {
    run_alone(|| async {
        let home = Home::new();
        let (stores, _) = home.start();
        let (content, digest) = cold_blob(&stores[0], 50_001).await;
        for _ in 0..2 {
            let mut reader = stores[0].reader(&digest, 1, 50_001).await.unwrap();
            let Some(Piece::Memory(chunk)) = reader.next().await.unwrap() else {
                panic!("small blobs are copied");
            };
            assert!(*chunk == *content);
            assert!(reader.next().await.unwrap().is_none());
        }
        home.settle().await;
    });
}

#[test]
fn reading_goes_over_to_the_page_cache_where_it_holds_the_rest() {
    run_alone(|| async {
        let home = Home::new();
        let (stores, _) = home.start();
        let bytes = 6 * to_usize(MIB);
        let (content, digest) = cold_blob(&stores[0], bytes).await;
        let warm = CachedFile::open(&home.blob(&digest, 1)).await.unwrap();
        let half = 3 * u64::from(MIB);
        warm.warm(half, half).await.unwrap();
        let mut reader = stores[0].reader(&digest, 1, 2 * half).await.unwrap();
        let (read_bytes, ways) = read(&mut reader).await;
        assert!(read_bytes == content);
        assert_eq!(ways.memory + ways.resident, 2 * half);
        // The kernel may take pages back in between; what is cold is never sent as warm.
        assert!(ways.resident > 0 && ways.memory >= half, "{}", ways.memory);
    });
}

#[test]
fn a_reader_with_an_empty_pool_waits_and_gives_everything_back() {
    run_alone(|| async {
        let home = Home::with_pool(MIB);
        let (stores, _) = home.start();
        let (content, digest) = cold_blob(&stores[0], 3_000_000).await;
        let readers = (0..8).map(|_| {
            let (store, content) = (stores[0].clone(), content.clone());
            crate::runtime::spawn(async move {
                let mut reader = store.reader(&digest, 1, 3_000_000).await.unwrap();
                // Alone on its shard, so that nobody makes the blob popular.
                reader.is_popular = false;
                assert!(read(&mut reader).await.0 == content);
            })
        });
        for reader in readers.collect::<Vec<_>>() {
            reader.await.unwrap();
        }
        home.settle().await;
    });
}

#[test]
fn a_missing_a_short_and_a_shortened_file_are_told() {
    run_alone(|| async {
        let home = Home::new();
        let (stores, _) = home.start();
        let missing = stores[0].reader(&sha256(b"x"), 1, 1).await;
        assert!(matches!(missing, Err(ReadError::Missing)));
        for bytes in [30_000, 3_000_000] {
            let (_, digest) = cold_blob(&stores[0], bytes).await;
            let bytes = to_u64(bytes);
            let short = stores[0].reader(&digest, 1, bytes + 5000).await;
            assert!(matches!(short, Err(ReadError::TooShort { .. })));
            let mut reader = stores[0].reader(&digest, 1, bytes).await.unwrap();
            let path = home.blob(&digest, 1);
            let file = std::fs::File::options().write(true).open(path);
            file.unwrap().set_len(bytes - 5000).unwrap();
            let outcome = loop {
                match reader.next().await {
                    Ok(Some(_)) => {}
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(error),
                }
            };
            assert!(outcome.is_err(), "{bytes}");
        }
    });
}

#[test]
fn an_unlinked_blob_is_read_to_its_end() {
    run_alone(|| async {
        let home = Home::new();
        let (stores, _) = home.start();
        let (content, digest) = cold_blob(&stores[0], 2_000_000).await;
        let mut reader = stores[0].reader(&digest, 1, 2_000_000).await.unwrap();
        std::fs::remove_file(home.blob(&digest, 1)).unwrap();
        assert!(read(&mut reader).await.0 == content);
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    /// Ranges, rewinds and a page cache that holds a random part: always the bytes.
    #[test]
    fn any_range_gives_its_bytes(
        bytes in 16_385_usize..4_000_000,
        warm in (0.0_f64..1.0, 0.0_f64..1.0),
        ranges in prop::collection::vec((0.0_f64..=1.0, 0.0_f64..=1.0, 0_usize..6), 1..6),
    ) {
        run_alone(move || async move {
            let home = Home::new();
            let (stores, _) = home.start();
            let (content, digest) = cold_blob(&stores[0], bytes).await;
            let at = |share: f64| fraction(bytes, share);
            let cached = CachedFile::open(&home.blob(&digest, 1)).await.unwrap();
            cached.warm(to_u64(at(warm.0)), to_u64(at(warm.1))).await.unwrap();
            for (one, two, rewind_after) in ranges {
                let (start, end) = (at(one).min(at(two)), at(one).max(at(two)));
                let mut reader = stores[0].reader(&digest, 1, to_u64(bytes)).await.unwrap();
                reader.range(to_u64(start), to_u64(end));
                for _ in 0..rewind_after {
                    drop(reader.next().await.unwrap());
                }
                reader.rewind(to_u64(start));
                let (read_bytes, _) = read(&mut reader).await;
                assert!(read_bytes == content[start..end], "{start}..{end} of {bytes}");
            }
            home.settle().await;
        });
    }
}

fn fraction(bytes: usize, share: f64) -> usize {
    let thousandths = (0..=1000).find(|part| f64::from(*part) >= share * 1000.0);
    bytes * usize::try_from(thousandths.unwrap_or(1000)).unwrap() / 1000
}
