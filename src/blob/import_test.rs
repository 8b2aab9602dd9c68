//! Tests of imports: what is right is kept, what is wrong is forgotten, and who reads
//! along sees only the former.

use std::fs;
use std::sync::Arc;

use super::*;
use crate::base::limits::UPLOAD_IDLE_MAX;
use crate::blob::fixture::{Home, checksums, content, file, sha256};
use crate::blob::kernel_boot::KernelBoot;
use crate::blob::{ReadError, Recovery, SealError, Store};
use crate::runtime::{run_alone, yield_if_needed};

const WHOLE_BYTES: usize = 1024 * 1024;

fn expected(content: &[u8]) -> Expected {
    Expected {
        digest: sha256(content),
        generation: 3,
        size_bytes: to_u64(content.len()),
        extent_checksums: checksums(content).into(),
    }
}

/// Takes `content` in from where the import stands, `piece` bytes at a time at most.
async fn take(import: &mut Import, content: &[u8], piece: usize) -> Result<(), ImportError> {
    let mut rest = &content[index_of(import.held_bytes())..];
    while !rest.is_empty() {
        let space = import.space().await?;
        let count = space.len().min(rest.len()).min(piece);
        space[..count].copy_from_slice(&rest[..count]);
        import.advance(count).await?;
        rest = &rest[count..];
    }
    Ok(())
}

async fn until_readable(import: &mut Import, bytes: u64) {
    while import.readable_bytes().unwrap() < bytes {
        yield_if_needed().await;
        crate::runtime::sleep(std::time::Duration::from_millis(1)).await;
    }
}

async fn read_all(store: &Store, content: &[u8]) -> Vec<u8> {
    let size_bytes = to_u64(content.len());
    let reader = store.reader(&sha256(content), 3, size_bytes).await;
    let mut reader = reader.unwrap();
    let mut read = Vec::new();
    while let Some(piece) = reader.next().await.unwrap() {
        match piece {
            crate::blob::Piece::Memory(chunk) => read.extend_from_slice(&chunk),
            crate::blob::Piece::Resident { offset, bytes, .. } => {
                let range = index_of(offset)..index_of(offset + bytes);
                read.extend_from_slice(&content[range]);
            }
        }
    }
    read
}

#[test]
fn an_import_of_any_length_is_exactly_its_content_and_leaves_nothing_else() {
    run_alone(|| async {
        let home = Home::new();
        let (stores, _) = home.start();
        for bytes in [
            1,
            4096,
            16 * 1024 + 1,
            WHOLE_BYTES,
            WHOLE_BYTES + 1,
            3 * WHOLE_BYTES + 777,
        ] {
            let content = content(bytes);
            for piece in [100_000, usize::MAX] {
                let mut import = stores[0].import(expected(&content)).await;
                take(&mut import, &content, piece).await.unwrap();
                assert!(import.is_whole());
                import.seal().await.unwrap();
                assert!(file(&home.blob(&sha256(&content), 3)) == content);
                fs::remove_file(home.blob(&sha256(&content), 3)).unwrap();
            }
        }
        assert_eq!(home.session_files(), [""; 0]);
        home.settle().await;
        assert_eq!(home.metrics.blob.uploaded_bytes.value(), 0);
        assert_eq!(home.metrics.blob.uploads_begun.value(), 0);
    });
}

#[test]
fn a_wrong_extent_is_noticed_at_its_end_and_replaced() {
    run_alone(|| async {
        let home = Home::new();
        let (stores, _) = home.start();
        let content = content(3 * WHOLE_BYTES + 5000);
        for wrong_at in [
            0,
            WHOLE_BYTES - 1,
            WHOLE_BYTES,
            2 * WHOLE_BYTES + 70_000,
            3 * WHOLE_BYTES + 4999,
        ] {
            let mut wrong = content.clone();
            wrong[wrong_at] ^= 1;
            let mut import = stores[0].import(expected(&content)).await;
            let refused = take(&mut import, &wrong, 90_001).await;
            let extent = to_u64(wrong_at / WHOLE_BYTES);
            assert!(
                matches!(refused, Err(ImportError::Corrupt { index }) if index == extent),
                "{refused:?}"
            );
            assert_eq!(import.held_bytes(), extent * to_u64(WHOLE_BYTES));
            take(&mut import, &content, usize::MAX).await.unwrap();
            import.seal().await.unwrap();
            assert!(file(&home.blob(&sha256(&content), 3)) == content);
        }
        home.settle().await;
    });
}

#[test]
fn a_rewound_import_goes_on_at_its_last_right_extent_and_holds_no_memory() {
    run_alone(|| async {
        let home = Home::new();
        let (stores, _) = home.start();
        let content = content(4 * WHOLE_BYTES + 12_345);
        let mut import = stores[0].import(expected(&content)).await;
        for cut in [
            300_000,
            WHOLE_BYTES + 1,
            2 * WHOLE_BYTES,
            3 * WHOLE_BYTES + 999_999,
        ] {
            take(&mut import, &content[..cut], usize::MAX)
                .await
                .unwrap();
            import.rewind().await.unwrap();
            assert_eq!(import.held_bytes(), to_u64(cut / WHOLE_BYTES * WHOLE_BYTES));
            assert_eq!(import.readable_bytes().unwrap(), import.held_bytes());
            home.settle().await;
        }
        take(&mut import, &content, usize::MAX).await.unwrap();
        import.seal().await.unwrap();
        assert!(file(&home.blob(&sha256(&content), 3)) == content);
    });
}

#[test]
fn who_follows_reads_what_is_right_while_the_rest_comes_and_after_the_rename() {
    run_alone(|| async {
        let home = Home::new();
        let (stores, _) = home.start();
        let content = content(3 * WHOLE_BYTES + 100);
        let size_bytes = to_u64(content.len());
        let mut import = stores[0].import(expected(&content)).await;
        let early = stores[1].following(&import.id(), size_bytes).await;
        assert!(matches!(early, Err(ReadError::Missing)));
        take(&mut import, &content[..2 * WHOLE_BYTES + 50], usize::MAX)
            .await
            .unwrap();
        let readable = to_u64(2 * WHOLE_BYTES);
        until_readable(&mut import, readable).await;
        assert_eq!(import.readable_bytes().unwrap(), readable);
        let following = stores[1].following(&import.id(), size_bytes).await;
        let mut following = following.unwrap();
        following.seek(123_457);
        let mut read = Vec::new();
        while to_u64(read.len()) + 123_457 < readable {
            read.extend_from_slice(&following.next(readable).await.unwrap());
        }
        take(&mut import, &content, usize::MAX).await.unwrap();
        import.seal().await.unwrap();
        while to_u64(read.len()) + 123_457 < size_bytes {
            read.extend_from_slice(&following.next(size_bytes).await.unwrap());
        }
        assert!(read == content[123_457..]);
    });
}

#[test]
fn right_extents_under_a_wrong_digest_leave_nothing() {
    run_alone(|| async {
        let home = Home::new();
        let (stores, _) = home.start();
        let content = content(WHOLE_BYTES + 1);
        let mut expected = expected(&content);
        expected.digest = sha256(b"something else");
        let mut import = stores[0].import(expected).await;
        take(&mut import, &content, usize::MAX).await.unwrap();
        let sealed = import.seal().await;
        assert!(matches!(sealed, Err(SealError::DigestMismatch { .. })));
        assert_eq!(home.session_files(), [""; 0]);
        home.settle().await;
    });
}

#[test]
fn a_dropped_import_and_one_that_was_killed_leave_nothing() {
    run_alone(|| async {
        let home = Home::new();
        let (stores, _) = home.start();
        let content = content(2 * WHOLE_BYTES);
        let mut import = stores[0].import(expected(&content)).await;
        take(&mut import, &content[..WHOLE_BYTES], usize::MAX)
            .await
            .unwrap();
        assert_eq!(home.session_files().len(), 1);
        drop(import);
        home.settle().await;
        for _ in 0..2000 {
            if home.session_files().is_empty() {
                break;
            }
            crate::runtime::sleep(std::time::Duration::from_millis(2)).await;
        }
        assert_eq!(home.session_files(), [""; 0]);
        fs::write(home.path(&format!("uploads/{}.data", "a".repeat(64))), "x").unwrap();
        assert_eq!(home.open().1.leftovers, 1);
    });
}

#[test]
fn a_list_of_checksums_must_fit_the_length() {
    let content = content(WHOLE_BYTES + 1);
    let mut short = expected(&content);
    assert!(short.is_consistent());
    let mut empty = short.clone();
    short.extent_checksums = Arc::from([1]);
    (empty.size_bytes, empty.extent_checksums) = (0, Arc::from([]));
    assert!(!short.is_consistent() && !empty.is_consistent());
}

#[test]
fn a_blob_is_durable_when_it_is_there_with_its_length() {
    run_alone(|| async {
        let home = Home::new();
        let (stores, _) = home.start();
        let content = content(20_000);
        let is_durable = async |size_bytes| {
            let durable = stores[1].is_durable(&sha256(&content), 3, size_bytes).await;
            durable.unwrap()
        };
        assert!(!is_durable(20_000).await);
        let mut import = stores[0].import(expected(&content)).await;
        take(&mut import, &content, usize::MAX).await.unwrap();
        assert!(!is_durable(20_000).await);
        import.seal().await.unwrap();
        assert!(is_durable(20_000).await);
        assert!(!is_durable(20_001).await);
        assert!(read_all(&stores[1], &content).await == content);
    });
}

#[test]
fn a_node_among_others_keeps_blobs_that_it_does_not_know() {
    run_alone(|| async {
        let mut home = Home::new();
        home.keeps_unknown = true;
        let (stores, _) = home.start();
        let content = content(20_000);
        let mut import = stores[0].import(expected(&content)).await;
        take(&mut import, &content, usize::MAX).await.unwrap();
        import.seal().await.unwrap();
        drop(stores);
        let (shared, recovery) = home.open();
        let kept = Recovery {
            unknown: 1,
            ..Recovery::default()
        };
        assert_eq!(recovery, kept);
        assert!(shared.is_present(&sha256(&content), 3, 20_000));
        assert_eq!(home.files("quarantine"), [""; 0]);
    });
}

/// More than a record speaks of.
const LONG_BYTES: usize = 34 * WHOLE_BYTES + 5000;

#[test]
fn a_long_import_goes_on_after_a_restart_where_its_record_says() {
    run_alone(|| async {
        let home = Home::new();
        let (stores, _) = home.start();
        let content = content(LONG_BYTES);
        let mut import = stores[0].import(expected(&content)).await;
        take(&mut import, &content[..33 * WHOLE_BYTES], usize::MAX)
            .await
            .unwrap();
        home.settle().await;
        drop((import, stores));
        let (stores, recovery) = home.start();
        let kept = Recovery {
            imports: 1,
            ..Recovery::default()
        };
        assert_eq!(recovery, kept);
        let mut import = stores[1].import(expected(&content)).await;
        assert_eq!(import.held_bytes(), to_u64(32 * WHOLE_BYTES));
        assert_eq!(import.readable_bytes().unwrap(), import.held_bytes());
        // The hash goes on, and so do the checks.
        let mut wrong = content.clone();
        wrong[33 * WHOLE_BYTES] ^= 1;
        let refused = take(&mut import, &wrong, usize::MAX).await;
        assert!(matches!(refused, Err(ImportError::Corrupt { index: 33 })));
        take(&mut import, &content, usize::MAX).await.unwrap();
        import.seal().await.unwrap();
        assert!(file(&home.blob(&sha256(&content), 3)) == content);
        assert_eq!(home.session_files(), [""; 0]);
    });
}

#[test]
fn what_is_kept_of_an_import_goes_with_the_boot_with_time_or_when_told() {
    run_alone(|| async {
        let mut home = Home::new();
        let content = content(17 * WHOLE_BYTES);
        let keep = async |home: &Home| {
            let (stores, _) = home.start();
            let mut import = stores[0].import(expected(&content)).await;
            take(&mut import, &content[..16 * WHOLE_BYTES], usize::MAX)
                .await
                .unwrap();
            drop(import);
            home.settle().await;
            assert_eq!(home.session_files().len(), 2);
            stores
        };
        drop(keep(&home).await);
        home.kernel_boot = KernelBoot([2; 16]);
        assert_eq!(home.open().1.leftovers, 1);
        assert_eq!(home.session_files(), [""; 0]);

        drop(keep(&home).await);
        home.clock.advance(UPLOAD_IDLE_MAX * 2);
        assert_eq!(home.open().1.leftovers, 1);
        assert_eq!(home.session_files(), [""; 0]);

        let stores = keep(&home).await;
        stores[1].forget_import(&sha256(&content), 3).await;
        assert_eq!(home.session_files(), [""; 0]);

        let stores = keep(&home).await;
        stores[1].import(expected(&content)).await.discard().await;
        assert_eq!(home.session_files(), [""; 0]);
        drop(stores);

        drop(keep(&home).await);
        let mut names = home.session_files().into_iter();
        let record = names.find(|name| name.ends_with("import")).unwrap();
        fs::write(home.path("uploads").join(record), "torn").unwrap();
        assert_eq!(home.open().1.leftovers, 1);
        assert_eq!(home.session_files(), [""; 0]);
    });
}

#[test]
fn a_record_whose_bytes_are_gone_is_not_believed() {
    run_alone(|| async {
        let home = Home::new();
        let (stores, _) = home.start();
        let content = content(17 * WHOLE_BYTES);
        let mut import = stores[0].import(expected(&content)).await;
        take(&mut import, &content[..16 * WHOLE_BYTES], usize::MAX)
            .await
            .unwrap();
        let data = home.path(&format!("uploads/{}.data", import.id()));
        drop(import);
        home.settle().await;
        fs::remove_file(data).unwrap();
        let mut import = stores[0].import(expected(&content)).await;
        assert_eq!(import.held_bytes(), 0);
        take(&mut import, &content, usize::MAX).await.unwrap();
        import.seal().await.unwrap();
        assert!(file(&home.blob(&sha256(&content), 3)) == content);
        assert_eq!(home.session_files(), [""; 0]);
    });
}
