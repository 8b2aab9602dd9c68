//! Tests of cached reads and of warming.

use super::*;

use std::fs;

use rustix::fs::Advice;

use crate::base::units::MIB;
use crate::memory::Pool;
use crate::runtime::run_alone;

const SIZE_BYTES: usize = 3 * 1024 * 1024 + 5;

fn content() -> Vec<u8> {
    (0..SIZE_BYTES)
        .map(|index| u8::try_from((index / 4096 + index) % 251).unwrap())
        .collect()
}

/// Asks the kernel to forget a file's pages. Whether it does is seen by asking back.
fn evict(path: &Path) {
    let file = fs::File::open(path).unwrap();
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).unwrap();
}

#[test]
fn a_cold_file_is_warmed_without_a_copy_and_then_read_at_once() {
    run_alone(|| async {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        fs::write(&path, content()).unwrap();
        let file = CachedFile::open(&path).await.unwrap();
        let size = u64::try_from(SIZE_BYTES).unwrap();
        if !file.is_resident(0, size) {
            return; // A kernel that cannot tell: everything is cold, nothing to see.
        }
        evict(&path);
        let was_cold = !file.is_resident(0, size);
        file.warm(0, size * 2).await.unwrap();
        assert!(file.is_resident(0, size));
        let mut read = vec![0; SIZE_BYTES];
        assert_eq!(file.read_now(&mut read, 0), Some(SIZE_BYTES));
        assert!(read == content());
        assert_eq!(file.read_now(&mut read, size), Some(0));
        assert!(
            was_cold,
            "the file system keeps pages it was told to forget"
        );
    });
}

#[test]
fn a_read_that_would_wait_is_not_done_now() {
    run_alone(|| async {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        fs::write(&path, content()).unwrap();
        let file = CachedFile::open(&path).await.unwrap();
        evict(&path);
        let mut read = vec![0; 4096];
        if !file.is_resident(0, 4096) {
            assert_eq!(file.read_now(&mut read, 0), None);
        }
        let pool = Pool::new(MIB);
        let permit = pool.reserve(4096).await;
        let piece = file.read_buffered(1, 4096, permit).await.unwrap();
        assert_eq!(piece.to_vec(), content().get(1..4097).unwrap());
        assert_eq!(file.read_now(&mut read, 0), Some(4096));
        assert_eq!(read, content().get(..4096).unwrap());
    });
}

#[test]
fn a_buffered_read_is_shorter_only_at_the_end() {
    run_alone(|| async {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        fs::write(&path, b"hello").unwrap();
        let pool = Pool::new(MIB);
        let file = CachedFile::open(&path).await.unwrap();
        for (offset, expected) in [(0, b"hello".as_slice()), (3, b"lo"), (5, b""), (99, b"")] {
            let permit = pool.reserve(100).await;
            let piece = file.read_buffered(offset, 100, permit).await.unwrap();
            assert_eq!(&*piece, expected);
        }
        assert_eq!(pool.usage().free_bytes, u64::from(MIB));
        let missing = CachedFile::open(&home.path().join("missing")).await;
        assert!(missing.unwrap_err().is_missing());
    });
}
