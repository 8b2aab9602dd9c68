//! Tests of direct reads: every end is cut right, and nothing polls the device.

use super::*;

use std::fs;

use crate::base::units::{MIB, to_u32, to_u64};
use crate::memory::Pool;
use crate::runtime::{run_alone, spawn};

fn content(bytes: usize) -> Vec<u8> {
    (0..bytes)
        .map(|index| u8::try_from((index / 4096 + index) % 251).unwrap())
        .collect()
}

async fn read(file: &ReadFile, pool: &Pool, offset: u64, bytes: u32) -> Result<Vec<u8>, Error> {
    let span = u32::try_from(read_span_bytes(offset, bytes)).unwrap();
    let permit = pool.reserve(span).await;
    file.read_at(offset, bytes, permit)
        .await
        .map(|piece| piece.to_vec())
}

#[test]
fn a_read_never_returns_bytes_beyond_the_end() {
    run_alone(|| async {
        let home = tempfile::tempdir().unwrap();
        let pool = Pool::new(MIB);
        for size in [1_usize, 1023, 4096, 5119, 65_537] {
            let path = home.path().join("file");
            let expected = content(size);
            fs::write(&path, &expected).unwrap();
            let file = ReadFile::open_direct(&path, to_u64(size)).await.unwrap();
            assert_eq!(file.size_bytes(), to_u64(size));
            for offset in [0, 1, 1000, 4095, 4096, 5100, 65_536] {
                if offset >= size {
                    continue;
                }
                for bytes in [1, 19, 4096, 65_536] {
                    let end = size.min(offset + bytes);
                    let piece = read(&file, &pool, to_u64(offset), to_u32(bytes)).await;
                    let wanted = expected.get(offset..end).unwrap();
                    assert_eq!(piece.unwrap(), wanted, "{bytes} at {offset} of {size}");
                }
            }
        }
        assert_eq!(pool.usage().free_bytes, u64::from(MIB));
    });
}

#[test]
fn a_file_shorter_than_its_size_is_an_error() {
    run_alone(|| async {
        let home = tempfile::tempdir().unwrap();
        let pool = Pool::new(MIB);
        let path = home.path().join("file");
        fs::write(&path, content(5000)).unwrap();
        let file = ReadFile::open_direct(&path, 10_000).await.unwrap();
        assert_eq!(read(&file, &pool, 0, 5000).await.unwrap().len(), 5000);
        let error = read(&file, &pool, 0, 5001).await.unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::UnexpectedEof);
        let error = read(&file, &pool, 9000, 100).await.unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::UnexpectedEof);
    });
}

/// On some kernels large polled reads spin for ever, on all of them polled reads fail on
/// virtio; both only show when the device was taken for one that polls.
#[test]
fn many_large_reads_at_once_end() {
    run_alone(|| async {
        let home = tempfile::tempdir().unwrap();
        let pool = Pool::new(4 * MIB);
        let path = home.path().join("file");
        let expected = content(4 * 1024 * 1024);
        fs::write(&path, &expected).unwrap();
        fs::File::open(&path).unwrap().sync_all().unwrap();
        let file = ReadFile::open_direct(&path, 4 * 1024 * 1024).await.unwrap();
        let step = 512 * 1024;
        let mut reads = Vec::new();
        for index in 0..8_u64 {
            let permit = pool.try_reserve(step).unwrap();
            reads.push(file.read_at(index * u64::from(step), step, permit));
        }
        let mut found = Vec::new();
        for read in reads {
            found.extend_from_slice(&read.await.unwrap());
        }
        assert!(found == expected);
    });
}

#[test]
fn opening_a_missing_file_says_so_and_an_unlinked_one_still_reads() {
    run_alone(|| async {
        let home = tempfile::tempdir().unwrap();
        let pool = Pool::new(MIB);
        let missing = ReadFile::open_direct(&home.path().join("missing"), 1).await;
        assert!(missing.unwrap_err().is_missing());
        let path = home.path().join("file");
        fs::write(&path, content(5000)).unwrap();
        let file = ReadFile::open_direct(&path, 5000).await.unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(read(&file, &pool, 0, 5000).await.unwrap(), content(5000));
    });
}

/// Two hundred readers over a pool for eight: each waits for its first buffer and only
/// tries for a second one, so that they cannot hold what the others need.
#[test]
fn readers_that_only_try_for_more_never_deadlock() {
    run_alone(|| async {
        let home = tempfile::tempdir().unwrap();
        let pool = Pool::new(MIB);
        let path = home.path().join("file");
        fs::write(&path, content(1024 * 1024)).unwrap();
        let file = ReadFile::open_direct(&path, u64::from(MIB)).await.unwrap();
        let step = 128 * 1024;
        let readers: Vec<_> = (0..200)
            .map(|_| {
                let (file, pool) = (file.clone(), pool.clone());
                spawn(async move {
                    let mut offset = 0;
                    while offset < file.size_bytes() {
                        let first = file.read_at(offset, step, pool.reserve(step).await);
                        offset += u64::from(step);
                        let ahead = pool
                            .try_reserve(step)
                            .filter(|_| offset < file.size_bytes());
                        let ahead = ahead.map(|permit| file.read_at(offset, step, permit));
                        first.await.unwrap();
                        if let Some(ahead) = ahead {
                            ahead.await.unwrap();
                            offset += u64::from(step);
                        }
                    }
                })
            })
            .collect();
        for reader in readers {
            reader.await.unwrap();
        }
        assert_eq!(pool.usage().free_bytes, u64::from(MIB));
        assert!(pool.usage().waits > 0);
    });
}
