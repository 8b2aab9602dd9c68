//! Tests of stores on two executors, and of what a full disk does to a session.

use std::sync::Arc;

use super::*;
use crate::base::units::MIB;
use crate::blob::fixture::{Home, checksums, content, file, repository, send, sha256};
use crate::blob::{Options, SealError};
use crate::runtime::run_alone;

const REQUESTS: usize = 40;

/// Each shard sends every other chunk of one session, all of them at the same time:
/// exactly one request succeeds per offset, and the blob is whole.
#[test]
fn two_executors_share_a_session_without_losing_a_byte() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        data_directory: directory.path().to_owned(),
        node: 1,
        shards: 2,
        now_ms: Clock::system().unix_ms(),
        keeps_unknown: false,
    };
    let (shared, _) = crate::blob::open(&options, |_, _| false).unwrap();
    let (told, id) = flume::bounded(1);
    let (finished, is_finished) = flume::bounded::<()>(1);
    let run = |shard: u16| {
        let (shared, told, id) = (shared.clone(), told.clone(), id.clone());
        let (finished, is_finished) = (finished.clone(), is_finished.clone());
        std::thread::spawn(move || {
            run_alone(move || async move {
                let store = real_store(shared, shard);
                if shard == 0 {
                    let begun = store.begin(&repository(), None).unwrap();
                    told.send(begun).unwrap();
                }
                let id: UploadId = id.recv_async().await.unwrap();
                told.send(id).unwrap();
                let sent = fill(&store, &id).await;
                while store.held(&repository(), &id).await.unwrap() < whole_bytes() {
                    sleep(Duration::from_millis(1)).await;
                }
                // The owner must answer for as long as others ask.
                if shard == 0 {
                    is_finished.recv_async().await.unwrap();
                } else {
                    finished.send(()).unwrap();
                }
                sent
            })
        })
    };
    let threads = [run(0), run(1)];
    let sent = threads.map(|thread| thread.join().unwrap());
    assert_eq!(sent.iter().sum::<usize>(), REQUESTS);
    seal_in_the_next_boot(&options, id.recv().unwrap());
}

const CHUNK_BYTES: usize = 30_001;

fn whole_bytes() -> u64 {
    u64::try_from(REQUESTS * CHUNK_BYTES).unwrap()
}

fn real_store(shared: Shared, shard: u16) -> Store {
    let machinery = Machinery {
        pool: Pool::new(4 * MIB),
        directories: Directories::new(),
        clock: Clock::system(),
        metrics: Arc::default(),
    };
    Store::new(shared, shard, machinery)
}

/// Sends whatever chunk is next until all are there. Returns how many it sent.
async fn fill(store: &Store, id: &UploadId) -> usize {
    let whole = content(REQUESTS * CHUNK_BYTES);
    let mut sent = 0;
    loop {
        let mut upload = match store.resume(&repository(), id).await {
            Ok(upload) => upload,
            Err(UploadError::Busy) => continue,
            Err(error) => panic!("{error:?}"),
        };
        let from = usize::try_from(upload.held_bytes()).unwrap();
        if from == whole.len() {
            return sent;
        }
        let chunk = &whole[from..from + CHUNK_BYTES];
        send(&mut upload, chunk, usize::MAX).await.unwrap();
        assert_eq!(upload.suspend().await.unwrap(), (from + CHUNK_BYTES) as u64);
        sent += 1;
    }
}

fn seal_in_the_next_boot(options: &Options, id: UploadId) {
    let (shared, recovery) = crate::blob::open(options, |_, _| false).unwrap();
    assert_eq!(recovery.sessions, 1);
    let directory = options.data_directory.clone();
    run_alone(move || async move {
        let store = [real_store(shared.clone(), 0), real_store(shared, 1)];
        let whole = content(REQUESTS * CHUNK_BYTES);
        let upload = store[1].resume(&repository(), &id).await.unwrap();
        let sealed = upload.seal(&sha256(&whole), 1).await.unwrap();
        assert_eq!(sealed.extent_checksums, checksums(&whole));
        sealed.commit().await;
        let blob = Layout::new(&directory).blob(&sha256(&whole), 1);
        assert!(file(&blob) == whole);
    });
}

#[test]
fn an_idle_session_is_purged_with_its_files_and_one_in_use_is_not() {
    run_alone(|| async {
        let home = Home::new();
        let (stores, _) = home.start();
        let mut ids = Vec::new();
        for _ in 0..2 {
            let id = stores[0].begin(&repository(), None).unwrap();
            let mut upload = stores[0].resume(&repository(), &id).await.unwrap();
            let body = content(100_000);
            send(&mut upload, &body, usize::MAX).await.unwrap();
            upload.suspend().await.unwrap();
            ids.push(id);
        }
        let used = stores[1].resume(&repository(), &ids[1]).await.unwrap();
        home.clock
            .advance(UPLOAD_IDLE_MAX + Duration::from_millis(1));
        let inner = &stores[0].0;
        let purged = purge_once(&inner.desk, inner.shared.layout(), &inner.directories).await;
        assert_eq!(purged, 1);
        let gone = stores[0].resume(&repository(), &ids[0]).await;
        assert!(matches!(gone, Err(UploadError::Unknown)));
        assert_eq!(home.session_files().len(), 2);
        let sealed = used.seal(&sha256(&content(100_000)), 1).await.unwrap();
        sealed.commit().await;
        assert_eq!(home.session_files(), [""; 0]);
    });
}

/// A file-size limit or a full disk fails a write in the middle; here a directory
/// stands where the data file would.
#[test]
fn a_failed_write_leaves_the_session_as_it_was_acknowledged() {
    run_alone(|| async {
        let home = Home::new();
        let (stores, _) = home.start();
        let id = stores[0].begin(&repository(), None).unwrap();
        let mut upload = stores[0].resume(&repository(), &id).await.unwrap();
        send(&mut upload, b"acknowledged", usize::MAX)
            .await
            .unwrap();
        upload.suspend().await.unwrap();
        let data = home.path(&format!("uploads/{id}.data"));
        std::fs::create_dir(&data).unwrap();
        let mut upload = stores[0].resume(&repository(), &id).await.unwrap();
        let failed = send(&mut upload, &content(300_000), usize::MAX).await;
        assert!(matches!(failed, Err(UploadError::Disk { .. })));
        let failed = upload.suspend().await;
        assert!(failed.is_err());
        std::fs::remove_dir(&data).unwrap();
        let mut upload = stores[0].resume(&repository(), &id).await.unwrap();
        assert_eq!(upload.held_bytes(), 12);
        send(&mut upload, &content(300_000), usize::MAX)
            .await
            .unwrap();
        let whole = [b"acknowledged".as_slice(), &content(300_000)].concat();
        let wrong = upload.seal(&sha256(&whole), 1).await.unwrap();
        wrong.commit().await;
        assert!(file(&home.blob(&sha256(&whole), 1)) == whole);
    });
}

/// `/dev/full` stands where the data file would: every write ends with a full disk.
#[test]
fn a_disk_that_fills_up_in_mid_upload_fails_it_for_good_and_keeps_the_session() {
    run_alone(|| async {
        let home = Home::new();
        let (stores, _) = home.start();
        let id = stores[0].begin(&repository(), None).unwrap();
        let mut upload = stores[0].resume(&repository(), &id).await.unwrap();
        send(&mut upload, b"acknowledged", usize::MAX)
            .await
            .unwrap();
        upload.suspend().await.unwrap();
        let data = home.path(&format!("uploads/{id}.data"));
        for is_sealed in [false, true] {
            std::os::unix::fs::symlink("/dev/full", &data).unwrap();
            let mut upload = stores[1].resume(&repository(), &id).await.unwrap();
            let body = content(2_000_000);
            let failed = send(&mut upload, &body, usize::MAX).await;
            assert!(
                matches!(failed, Err(UploadError::NoSpace { .. })),
                "{failed:?}"
            );
            let whole = [b"acknowledged".as_slice(), &body].concat();
            if is_sealed {
                let refused = upload.seal(&sha256(&whole), 1).await;
                assert!(refused.is_err());
            } else {
                assert!(upload.suspend().await.is_err());
            }
            let upload = stores[0].resume(&repository(), &id).await.unwrap();
            assert_eq!(upload.held_bytes(), 12);
            assert_eq!(home.session_files(), [format!("{id}.session")]);
        }
        home.settle().await;
    });
}

#[test]
fn a_failed_rename_ends_the_session_and_says_so() {
    run_alone(|| async {
        let home = Home::new();
        let (stores, _) = home.start();
        let whole = content(100_000);
        let blob = home.blob(&sha256(&whole), 1);
        std::fs::create_dir_all(&blob).unwrap();
        let mut upload = stores[0].receive(&repository(), Algorithm::Sha256);
        send(&mut upload, &whole, usize::MAX).await.unwrap();
        let failed = upload.seal(&sha256(&whole), 1).await;
        assert!(matches!(failed, Err(SealError::Sync { .. })));
        assert_eq!(home.session_files(), [""; 0]);
    });
}
