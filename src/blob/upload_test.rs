//! Tests of uploads on a real executor: what is held, what survives, what is left.

use std::fs;
use std::time::Duration;

use crate::base::limits::UPLOAD_IDLE_MAX;
use crate::blob::fixture::{Home, checksums, content, file, push, repository, send, sha256};
use crate::blob::{SealError, Store, Upload, UploadError, UploadId};
use crate::oci::{Algorithm, Digest, Repository};
use crate::runtime::{run_alone, sleep, spawn, timeout};

/// A session on `store` that holds `content` after one suspended request.
async fn patched(store: &Store, content: &[u8]) -> UploadId {
    let id = store.begin(&repository(), None).unwrap();
    let mut upload = store.resume(&repository(), &id).await.unwrap();
    send(&mut upload, content, usize::MAX).await.unwrap();
    assert_eq!(upload.suspend().await.unwrap(), content.len() as u64);
    id
}

/// Resumes a session that its former holder is about to let go.
async fn resume(store: &Store, id: &UploadId) -> Upload {
    store.resume(&repository(), id).await.unwrap()
}

#[test]
fn a_small_blob_is_sealed_inline_and_touches_no_file() {
    run_alone(|| async {
        let home = Home::new();
        let (stores, _) = home.start();
        for bytes in [0, 1, 4095, 16 * 1024] {
            let content = content(bytes);
            let sealed = push(&stores[0], &content).await.unwrap();
            assert_eq!(sealed.inline.as_deref(), Some(content.as_slice()));
            assert_eq!(sealed.size_bytes, bytes as u64);
            assert_eq!(sealed.extent_checksums, checksums(&content));
            assert!(!home.blob(&sealed.digest, 1).exists());
            sealed.commit().await;
        }
        assert_eq!(home.session_files(), [""; 0]);
    });
}

#[test]
fn a_large_blob_is_exactly_its_content() {
    run_alone(|| async {
        let home = Home::new();
        let (stores, _) = home.start();
        for bytes in [16 * 1024 + 1, 64 * 1024, 1_048_576, 1_048_577, 5_000_001] {
            let content = content(bytes);
            let sealed = push(&stores[0], &content).await.unwrap();
            assert_eq!(sealed.inline, None);
            assert_eq!(sealed.extent_checksums, checksums(&content));
            assert!(file(&home.blob(&sealed.digest, 1)) == content);
            sealed.commit().await;
        }
        assert_eq!(home.session_files(), [""; 0]);
        assert_eq!(home.pool.usage().free_bytes, home.pool.usage().total_bytes);
    });
}

#[test]
fn a_wrong_digest_ends_the_session_and_leaves_no_file() {
    run_alone(|| async {
        let home = Home::new();
        let (stores, _) = home.start();
        for (bytes, algorithm) in [
            (100, Algorithm::Sha256),
            (100, Algorithm::Sha512),
            (3_000_000, Algorithm::Sha256),
            (3_000_000, Algorithm::Sha512),
        ] {
            let id = patched(&stores[0], &content(bytes)).await;
            let upload = resume(&stores[0], &id).await;
            let wrong = Digest::of(algorithm, b"other");
            let error = upload.seal(&wrong, 1).await.unwrap_err();
            assert!(
                matches!(error, SealError::DigestMismatch { declared, .. } if declared == wrong)
            );
            assert_eq!(home.session_files(), [""; 0]);
            assert!(!home.blob(&wrong, 1).exists());
            let gone = stores[0].held(&repository(), &id).await;
            assert!(matches!(gone, Err(UploadError::Unknown)));
        }
    });
}

#[test]
fn sha512_is_announced_or_found_by_a_second_pass() {
    run_alone(|| async {
        let home = Home::new();
        let (stores, _) = home.start();
        for bytes in [10, 2_500_000] {
            let content = content(bytes);
            let digest = Digest::of(Algorithm::Sha512, &content);
            for announced in [None, Some(Algorithm::Sha512)] {
                let id = stores[0].begin(&repository(), announced).unwrap();
                let mut upload = resume(&stores[0], &id).await;
                send(&mut upload, &content, usize::MAX).await.unwrap();
                let sealed = upload.seal(&digest, 3).await.unwrap();
                assert_eq!(sealed.extent_checksums, checksums(&content));
                if bytes > 16 * 1024 {
                    assert!(file(&home.blob(&digest, 3)) == content);
                }
                sealed.commit().await;
            }
        }
    });
}

#[test]
fn a_session_goes_on_on_another_shard() {
    run_alone(|| async {
        let home = Home::new();
        let (stores, _) = home.start();
        let content = content(1_500_000);
        let id = stores[0].begin(&repository(), None).unwrap();
        let mut from = 0;
        for (at, to) in [5, 4096, 20_000, 1_048_570, 1_048_580, 1_500_000]
            .into_iter()
            .enumerate()
        {
            let store = &stores[at % 2];
            let mut upload = resume(store, &id).await;
            assert_eq!(upload.held_bytes(), from as u64);
            send(&mut upload, &content[from..to], 70_000).await.unwrap();
            assert_eq!(upload.suspend().await.unwrap(), to as u64);
            for other in &stores {
                assert_eq!(other.held(&repository(), &id).await.unwrap(), to as u64);
            }
            from = to;
        }
        let sealed = resume(&stores[1], &id)
            .await
            .seal(&sha256(&content), 1)
            .await
            .unwrap();
        assert_eq!(sealed.extent_checksums, checksums(&content));
        sealed.commit().await;
        assert!(file(&home.blob(&sha256(&content), 1)) == content);
        assert_eq!(home.session_files(), [""; 0]);
    });
}

#[test]
fn a_session_waits_for_its_holder_and_is_busy_in_the_end() {
    run_alone(|| async {
        let home = Home::new();
        let (stores, _) = home.start();
        let id = patched(&stores[0], b"abc").await;
        let held = resume(&stores[1], &id).await;
        assert_eq!(stores[0].held(&repository(), &id).await.unwrap(), 3);
        let waiting = {
            let store = stores[0].clone();
            spawn(async move { resume(&store, &id).await.held_bytes() })
        };
        sleep(Duration::from_millis(20)).await;
        drop(held);
        assert_eq!(waiting.await.unwrap(), 3);
        let _held = resume(&stores[1], &id).await;
        let refused = stores[0].resume(&repository(), &id).await;
        assert!(matches!(refused, Err(UploadError::Busy)));
    });
}

#[test]
fn a_resume_that_was_given_up_leaves_the_session_free() {
    run_alone(|| async {
        let home = Home::new();
        let (stores, _) = home.start();
        let id = patched(&stores[0], b"abc").await;
        for store in &stores {
            let held = resume(store, &id).await;
            let brief = Duration::from_millis(10);
            let (here, there) = (repository(), repository());
            let given_up = (
                timeout(brief, stores[0].resume(&here, &id)).await.is_err(),
                timeout(brief, stores[1].resume(&there, &id)).await.is_err(),
            );
            assert_eq!(given_up, (true, true));
            drop(held);
            assert_eq!(resume(store, &id).await.held_bytes(), 3);
        }
    });
}

#[test]
fn a_client_that_hangs_up_leaves_what_was_acknowledged() {
    run_alone(|| async {
        let home = Home::new();
        let (stores, _) = home.start();
        let content = content(3_000_000);
        let id = patched(&stores[0], &content[..1_000_001]).await;
        let mut upload = resume(&stores[0], &id).await;
        send(&mut upload, &vec![0xee; 1_900_000], usize::MAX)
            .await
            .unwrap();
        drop(upload);
        let mut upload = resume(&stores[1], &id).await;
        assert_eq!(upload.held_bytes(), 1_000_001);
        send(&mut upload, &content[1_000_001..], usize::MAX)
            .await
            .unwrap();
        let sealed = upload.seal(&sha256(&content), 1).await.unwrap();
        assert_eq!(sealed.extent_checksums, checksums(&content));
        assert!(file(&home.blob(&sha256(&content), 1)) == content);
    });
}

#[test]
fn a_dropped_upload_without_a_session_leaves_nothing() {
    run_alone(|| async {
        let home = Home::new();
        let (stores, _) = home.start();
        let mut upload = stores[0].receive(&repository(), Algorithm::Sha256);
        send(&mut upload, &content(2_000_000), usize::MAX)
            .await
            .unwrap();
        assert_eq!(home.session_files().len(), 1);
        drop(upload);
        for _ in 0..500 {
            if home.session_files().is_empty() {
                return;
            }
            sleep(Duration::from_millis(5)).await;
        }
        panic!("{:?}", home.session_files());
    });
}

#[test]
fn abort_ends_a_session_with_and_without_bytes() {
    run_alone(|| async {
        let home = Home::new();
        let (stores, _) = home.start();
        for bytes in [0, 10, 100_000] {
            let id = patched(&stores[0], &content(bytes)).await;
            resume(&stores[1], &id).await.abort().await;
            for store in &stores {
                let gone = store.resume(&repository(), &id).await;
                assert!(matches!(gone, Err(UploadError::Unknown)));
            }
            assert_eq!(home.session_files(), [""; 0]);
        }
        assert_eq!(stores[0].sessions(), 0);
    });
}

#[test]
fn an_id_is_unknown_under_another_repository() {
    run_alone(|| async {
        let home = Home::new();
        let (stores, _) = home.start();
        let id = patched(&stores[0], b"abc").await;
        let other = Repository::parse("library/other").unwrap();
        let refused = stores[0].held(&other, &id).await;
        assert!(matches!(refused, Err(UploadError::Unknown)));
    });
}

#[test]
fn idle_sessions_of_an_earlier_boot_expire_at_open_and_never_come_back() {
    run_alone(|| async {
        let home = Home::new();
        let (stores, _) = home.start();
        let (old, empty) = (
            patched(&stores[0], &content(50_000)).await,
            stores[0].begin(&repository(), None).unwrap(),
        );
        drop(stores);
        home.clock.advance(UPLOAD_IDLE_MAX + Duration::from_secs(1));
        let (stores, recovery) = home.start();
        assert_eq!((recovery.sessions, recovery.sessions_expired), (0, 1));
        assert_eq!(home.session_files(), [""; 0]);
        for id in [old, empty] {
            let gone = stores[1].held(&repository(), &id).await;
            assert!(matches!(gone, Err(UploadError::Unknown)));
        }
    });
}

#[test]
fn a_session_without_bytes_outlives_a_restart_and_an_ended_one_stays_ended() {
    run_alone(|| async {
        let home = Home::new();
        let (stores, _) = home.start();
        let id = stores[1].begin(&repository(), None).unwrap();
        drop(stores);
        let (stores, _) = home.start();
        assert_eq!(stores[0].held(&repository(), &id).await.unwrap(), 0);
        resume(&stores[0], &id).await.abort().await;
        let gone = stores[1].held(&repository(), &id).await;
        assert!(matches!(gone, Err(UploadError::Unknown)));
    });
}

#[test]
fn a_proposal_that_failed_leaves_an_inline_session_as_it_was() {
    run_alone(|| async {
        let home = Home::new();
        let (stores, _) = home.start();
        let id = patched(&stores[0], b"abc").await;
        let sealed = resume(&stores[0], &id)
            .await
            .seal(&sha256(b"abc"), 1)
            .await
            .unwrap();
        drop(sealed);
        let sealed = resume(&stores[1], &id)
            .await
            .seal(&sha256(b"abc"), 1)
            .await
            .unwrap();
        assert_eq!(home.session_files().len(), 1);
        sealed.commit().await;
        assert_eq!(home.session_files(), [""; 0]);
    });
}

#[test]
fn sealing_the_same_content_twice_leaves_one_whole_file() {
    run_alone(|| async {
        let home = Home::new();
        let (stores, _) = home.start();
        let content = content(300_000);
        let first = push(&stores[0], &content).await.unwrap();
        let second = push(&stores[1], &content).await.unwrap();
        first.commit().await;
        second.commit().await;
        let blob = home.blob(&sha256(&content), 1);
        assert!(file(&blob) == content);
        assert_eq!(fs::read_dir(blob.parent().unwrap()).unwrap().count(), 1);
    });
}
