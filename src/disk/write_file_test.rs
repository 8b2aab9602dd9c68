//! Tests of direct writes: lengths, refusals, unlinked files, full disks.

use super::*;

use std::fs;
use std::io::Read;

use crate::base::units::{MIB, sector_ceil, to_u32, to_u64, to_usize};
use crate::memory::{Buffer, Pool};
use crate::runtime::run_alone;

/// A buffer with a pattern that differs from sector to sector.
async fn filled(pool: &Pool, bytes: u32) -> Buffer {
    let mut buffer = pool.acquire(bytes).await;
    for (index, byte) in buffer.iter_mut().enumerate() {
        *byte = u8::try_from((index / 4096 + index) % 251).unwrap();
    }
    buffer
}

fn content_of(path: &Path) -> Vec<u8> {
    let mut content = Vec::new();
    let mut file = fs::File::open(path).unwrap();
    file.read_to_end(&mut content).unwrap();
    content
}

#[test]
fn a_file_of_any_size_has_exactly_its_content() {
    run_alone(|| async {
        let home = tempfile::tempdir().unwrap();
        let pool = Pool::new(MIB);
        for size in [1_usize, 4095, 4096, 4097, 300_001] {
            let path = home.path().join(size.to_string());
            let file = WriteFile::create(&path).await.unwrap();
            let padded = to_u32(usize::try_from(sector_ceil(to_u64(size))).unwrap());
            let buffer = filled(&pool, padded).await;
            let expected = buffer.get(..size).unwrap().to_vec();
            file.write_at(buffer.share(to_usize(padded)), 0)
                .await
                .unwrap();
            file.truncate(to_u64(size)).await.unwrap();
            file.sync_data().await.unwrap();
            file.close().await.unwrap();
            assert_eq!(content_of(&path), expected, "{size}");
        }
    });
}

#[test]
fn writes_may_be_under_way_together_and_keep_their_share_of_the_pool() {
    run_alone(|| async {
        let home = tempfile::tempdir().unwrap();
        let pool = Pool::new(MIB);
        let path = home.path().join("file");
        let file = WriteFile::create(&path).await.unwrap();
        let mut writes = Vec::new();
        for index in 0..4_u64 {
            let buffer = filled(&pool, 4096 * 16).await;
            writes.push(file.write_at(buffer.share(65536), index * 65536));
        }
        assert_eq!(pool.usage().free_bytes, u64::from(MIB) - 4 * 65536);
        for write in writes {
            write.await.unwrap();
        }
        assert_eq!(pool.usage().free_bytes, u64::from(MIB));
        assert_eq!(fs::metadata(&path).unwrap().len(), 4 * 65536);
    });
}

#[test]
fn a_dropped_write_still_reaches_the_file() {
    run_alone(|| async {
        let home = tempfile::tempdir().unwrap();
        let pool = Pool::new(MIB);
        let path = home.path().join("file");
        let file = WriteFile::create(&path).await.unwrap();
        let buffer = filled(&pool, 8192).await;
        let expected = buffer.to_vec();
        drop(file.write_at(buffer.share(8192), 0));
        // The last share of the pool comes back when the kernel is done.
        drop(pool.reserve(512 * 1024).await);
        let whole = (
            pool.reserve(512 * 1024).await,
            pool.reserve(512 * 1024).await,
        );
        assert_eq!(content_of(&path), expected);
        drop(whole);
    });
}

#[test]
fn opening_keeps_what_the_file_holds_and_creating_empties_it() {
    run_alone(|| async {
        let home = tempfile::tempdir().unwrap();
        let pool = Pool::new(MIB);
        let path = home.path().join("file");
        fs::write(&path, vec![7; 8192]).unwrap();
        let file = WriteFile::open(&path).await.unwrap();
        let buffer = filled(&pool, 4096).await;
        file.write_at(buffer.share(4096), 8192).await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 12288);
        let emptied = WriteFile::create(&path).await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
        assert_eq!(emptied.path(), path);
        let missing = WriteFile::open(&home.path().join("missing")).await;
        assert!(missing.unwrap_err().is_missing());
    });
}

/// glommio's own open asks the file system about the path after it has opened it, and
/// panics when the path is gone.
#[test]
fn opening_next_to_unlinking_fails_or_works_but_never_panics() {
    run_alone(|| async {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        let other = path.clone();
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stopped = std::sync::Arc::clone(&stop);
        let unlinker = std::thread::spawn(move || {
            while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
                drop(fs::remove_file(&other));
            }
        });
        for _ in 0..300 {
            let file = WriteFile::create(&path).await.unwrap();
            file.truncate(4096).await.unwrap();
            match WriteFile::open(&path).await {
                Ok(file) => file.close().await.unwrap(),
                Err(error) => assert!(error.is_missing(), "{error}"),
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        unlinker.join().unwrap();
    });
}

#[test]
fn a_write_that_the_kernel_refuses_is_an_error_and_the_shard_goes_on() {
    run_alone(|| async {
        let home = tempfile::tempdir().unwrap();
        let pool = Pool::new(MIB);
        let path = home.path().join("file");
        let file = WriteFile::create(&path).await.unwrap();
        // Beyond the largest file of any file system: the kernel says EFBIG or EINVAL.
        let far = u64::try_from(i64::MAX).unwrap() / 4096 * 4096;
        let refused = file
            .write_at(filled(&pool, 4096).await.share(4096), far)
            .await;
        assert_eq!(refused.unwrap_err().path, path);
        file.write_at(filled(&pool, 4096).await.share(4096), 0)
            .await
            .unwrap();
        file.close().await.unwrap();
    });
}

#[test]
fn a_write_after_the_rename_and_the_unlink_of_its_file_works() {
    run_alone(|| async {
        let home = tempfile::tempdir().unwrap();
        let pool = Pool::new(MIB);
        let (path, renamed) = (home.path().join("a"), home.path().join("b"));
        let file = WriteFile::create(&path).await.unwrap();
        fs::rename(&path, &renamed).unwrap();
        file.write_at(filled(&pool, 4096).await.share(4096), 0)
            .await
            .unwrap();
        file.truncate(5).await.unwrap();
        assert_eq!(fs::metadata(&renamed).unwrap().len(), 5);
        fs::remove_file(&renamed).unwrap();
        file.write_at(filled(&pool, 4096).await.share(4096), 0)
            .await
            .unwrap();
        file.sync_data().await.unwrap();
        file.close().await.unwrap();
    });
}

#[test]
#[should_panic(expected = "writes start on sectors")]
fn a_write_off_the_sectors_is_a_fault_of_the_caller() {
    run_alone(|| async {
        let home = tempfile::tempdir().unwrap();
        let pool = Pool::new(MIB);
        let file = WriteFile::create(&home.path().join("file")).await.unwrap();
        drop(file.write_at(pool.acquire(4096).await.share(4096), 512));
    });
}
