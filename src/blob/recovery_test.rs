//! Tests of recovery: every row of its table, and nothing live is ever touched.

use std::fs;

use crate::base::limits::UPLOAD_IDLE_MAX;
use crate::blob::fixture::{Home, content, file, push, repository, send, sha256};
use crate::blob::{OpenError, Options, Recovery, SealError, Store, UploadError, UploadId};
use crate::runtime::run_alone;

async fn patched(store: &Store, content: &[u8]) -> UploadId {
    let id = store.begin(&repository(), None).unwrap();
    let mut upload = store.resume(&repository(), &id).await.unwrap();
    send(&mut upload, content, usize::MAX).await.unwrap();
    upload.suspend().await.unwrap();
    id
}

#[test]
fn a_fresh_directory_recovers_nothing() {
    run_alone(|| async {
        let home = Home::new();
        assert_eq!(home.open().1, Recovery::default());
        assert_eq!(home.open().1, Recovery::default());
        assert_eq!(home.files("blobs/sha256").len(), 256);
        assert_eq!(home.files("blobs/sha512").len(), 256);
    });
}

#[test]
fn live_blobs_stay_and_orphans_are_set_aside_for_a_week() {
    run_alone(|| async {
        let mut home = Home::new();
        let (stores, _) = home.start();
        let (live, orphan) = (content(40_000), content(50_000));
        for one in [&live, &orphan] {
            push(&stores[0], one).await.unwrap().commit().await;
        }
        home.live.insert((sha256(&live), 1));
        let (shared, recovery) = home.open();
        assert_eq!((recovery.blobs, recovery.orphans), (1, 1));
        assert!(shared.is_present(&sha256(&live), 1, 40_000));
        assert!(!shared.is_present(&sha256(&live), 1, 40_001));
        assert!(!shared.is_present(&sha256(&orphan), 1, 50_000));
        let aside = home.files("quarantine");
        assert!(file(&home.path("quarantine").join(&aside[0])) == orphan);
        home.clock.advance(UPLOAD_IDLE_MAX * 7);
        assert_eq!(home.open().1.blobs, 1);
        assert_eq!(home.files("quarantine").len(), 1);
        home.clock.advance(UPLOAD_IDLE_MAX);
        assert_eq!(home.open().1.blobs, 1);
        assert_eq!(home.files("quarantine"), [""; 0]);
    });
}

#[test]
fn what_is_not_ours_is_set_aside_and_kept() {
    run_alone(|| async {
        let home = Home::new();
        drop(home.open());
        let hex = sha256(b"a").hex();
        let strangers = [
            "uploads/notes.txt".to_owned(),
            "blobs/sha256/00/readme".to_owned(),
            format!("blobs/sha256/00/{hex}.1"),
            format!("blobs/sha512/ca/{hex}.1"),
        ];
        for stranger in &strangers {
            fs::write(home.path(stranger), "kept").unwrap();
        }
        fs::write(home.path("uploads/x.session.new"), "torn").unwrap();
        let (_, recovery) = home.open();
        assert_eq!((recovery.quarantined, recovery.leftovers), (4, 1));
        home.clock.advance(UPLOAD_IDLE_MAX * 100);
        assert_eq!(home.open().1, Recovery::default());
        assert_eq!(home.files("quarantine").len(), 4);
    });
}

#[test]
fn a_damaged_record_is_set_aside_with_its_bytes() {
    run_alone(|| async {
        let home = Home::new();
        let (stores, _) = home.start();
        let (damaged, good) = (
            patched(&stores[0], &content(100_000)).await,
            patched(&stores[1], &content(100_000)).await,
        );
        drop(stores);
        let path = home.path(&format!("uploads/{damaged}.session"));
        let mut record = file(&path);
        record[100] ^= 1;
        fs::write(&path, record).unwrap();
        let (stores, recovery) = home.start();
        assert_eq!((recovery.sessions, recovery.quarantined), (1, 2));
        assert_eq!(home.files("quarantine").len(), 2);
        let held_bytes = stores[0].held(&repository(), &good).await.unwrap();
        assert_eq!(held_bytes, 100_000);
    });
}

#[test]
fn a_session_whose_bytes_are_short_is_set_aside() {
    run_alone(|| async {
        let home = Home::new();
        let (stores, _) = home.start();
        let (short, missing) = (
            patched(&stores[0], &content(100_000)).await,
            patched(&stores[0], &content(100_000)).await,
        );
        drop(stores);
        let data = fs::OpenOptions::new()
            .write(true)
            .open(home.path(&format!("uploads/{short}.data")));
        data.unwrap().set_len(90_000).unwrap();
        fs::remove_file(home.path(&format!("uploads/{missing}.data"))).unwrap();
        let (_, recovery) = home.open();
        assert_eq!((recovery.sessions, recovery.quarantined), (0, 3));
        assert_eq!(home.session_files(), [""; 0]);
    });
}

#[test]
fn a_kill_after_the_commit_ends_the_session_that_was_sealed() {
    run_alone(|| async {
        let mut home = Home::new();
        let (stores, _) = home.start();
        let content = content(100_000);
        let id = patched(&stores[0], &content).await;
        let upload = stores[0].resume(&repository(), &id).await.unwrap();
        let sealed = upload.seal(&sha256(&content), 4).await.unwrap();
        assert_eq!(home.session_files(), [format!("{id}.session")]);
        home.live.insert((sha256(&content), 4));
        drop(stores);
        drop(sealed);
        let (_, recovery) = home.open();
        assert_eq!(
            (recovery.blobs, recovery.sessions, recovery.unsealed),
            (1, 0, 0)
        );
        assert!(file(&home.blob(&sha256(&content), 4)) == content);
        assert_eq!(home.session_files(), [""; 0]);
    });
}

#[test]
fn a_kill_before_the_commit_gives_the_session_its_bytes_back() {
    run_alone(|| async {
        let home = Home::new();
        let (stores, _) = home.start();
        let content = content(100_000);
        let id = patched(&stores[0], &content).await;
        let upload = stores[0].resume(&repository(), &id).await.unwrap();
        let sealed = upload.seal(&sha256(&content), 4).await.unwrap();
        drop(stores);
        drop(sealed);
        let (stores, recovery) = home.start();
        assert_eq!(
            (recovery.blobs, recovery.sessions, recovery.unsealed),
            (0, 1, 1)
        );
        let upload = stores[1].resume(&repository(), &id).await.unwrap();
        assert_eq!(upload.held_bytes(), 100_000);
        upload
            .seal(&sha256(&content), 4)
            .await
            .unwrap()
            .commit()
            .await;
        assert!(file(&home.blob(&sha256(&content), 4)) == content);
    });
}

#[test]
fn bytes_that_a_power_cut_lost_are_found_before_they_become_a_blob() {
    run_alone(|| async {
        let mut home = Home::new();
        let (mut stores, _) = home.start();
        for is_lost in [false, true] {
            let content = content(200_000);
            let id = patched(&stores[0], &content[..150_000]).await;
            drop(stores);
            if is_lost {
                let data = home.path(&format!("uploads/{id}.data"));
                let mut bytes = file(&data);
                bytes[70_000..80_000].fill(0);
                fs::write(&data, bytes).unwrap();
            }
            home.kernel_boot.0[0] += 1;
            stores = home.start().0;
            let mut upload = stores[0].resume(&repository(), &id).await.unwrap();
            send(&mut upload, &content[150_000..], usize::MAX)
                .await
                .unwrap();
            // What was written before stays uncertain across another request.
            upload.suspend().await.unwrap();
            let upload = stores[1].resume(&repository(), &id).await.unwrap();
            let outcome = upload.seal(&sha256(&content), 1).await;
            assert_eq!(outcome.is_err(), is_lost);
            let blob = home.blob(&sha256(&content), 1);
            match outcome {
                Ok(sealed) => {
                    sealed.commit().await;
                    assert!(file(&blob) == content);
                }
                Err(error) => {
                    assert!(matches!(error, SealError::ReadBack { .. }));
                    assert!(!blob.exists());
                }
            }
            assert_eq!(home.session_files(), [""; 0]);
        }
    });
}

#[test]
fn fewer_shards_take_over_the_sessions_of_the_missing_ones() {
    run_alone(|| async {
        let home = Home::new();
        let (stores, _) = home.start();
        let id = patched(&stores[1], b"abc").await;
        drop(stores);
        let options = Options {
            data_directory: home.directory.path().to_owned(),
            node: 7,
            shards: 1,
            now_ms: home.clock.unix_ms(),
            keeps_unknown: false,
        };
        let (shared, _) = crate::blob::open(&options, |_, _| false).unwrap();
        let store = home.store(&shared, 0);
        assert_eq!(store.held(&repository(), &id).await.unwrap(), 3);
    });
}

#[test]
fn a_damaged_key_refuses_the_start_and_a_removed_one_disowns_the_sessions() {
    run_alone(|| async {
        let home = Home::new();
        let (stores, _) = home.start();
        let id = patched(&stores[0], b"abc").await;
        drop(stores);
        let key = home.path("uploads/key");
        fs::write(&key, "damaged").unwrap();
        let options = Options {
            data_directory: home.directory.path().to_owned(),
            node: 7,
            shards: 1,
            now_ms: 0,
            keeps_unknown: false,
        };
        let refused = crate::blob::open(&options, |_, _| false);
        assert!(matches!(refused, Err(OpenError::Key { .. })));
        fs::remove_file(&key).unwrap();
        let (stores, _) = home.start();
        let disowned = stores[0].held(&repository(), &id).await;
        assert!(matches!(disowned, Err(UploadError::Unknown)));
    });
}

#[test]
fn among_other_nodes_a_kill_before_the_commit_leaves_the_blob_and_the_session() {
    run_alone(|| async {
        let mut home = Home::new();
        home.keeps_unknown = true;
        let (stores, _) = home.start();
        let content = content(100_000);
        let id = patched(&stores[0], &content).await;
        let upload = stores[0].resume(&repository(), &id).await.unwrap();
        let sealed = upload.seal(&sha256(&content), 4).await.unwrap();
        let record = file(&home.path(&format!("uploads/{id}.session")));
        drop((sealed, stores));
        // As a kill leaves it: the record is only removed when a seal ends in order.
        fs::write(home.path(&format!("uploads/{id}.session")), record).unwrap();
        let (stores, recovery) = home.start();
        assert_eq!((recovery.sessions, recovery.unknown), (1, 1));
        assert!(file(&home.blob(&sha256(&content), 4)) == content);
        let held_bytes = stores[1].held(&repository(), &id).await.unwrap();
        assert_eq!(held_bytes, 100_000);
        let mut upload = stores[1].resume(&repository(), &id).await.unwrap();
        assert!(file(&home.blob(&sha256(&content), 4)) == content);
        send(&mut upload, b"more", 4).await.unwrap();
        let longer = [content.as_slice(), b"more"].concat();
        let sealed = upload.seal(&sha256(&longer), 4).await.unwrap();
        sealed.commit().await;
        assert!(file(&home.blob(&sha256(&longer), 4)) == longer);
        assert!(file(&home.blob(&sha256(&content), 4)) == content);
        assert_eq!(home.session_files(), [""; 0]);
    });
}
