//! A whole node behind its handle: long logs, large entries, many at once.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::suite_tests::{is_linked, link, node, options};
use super::{BlobChange, BlobChanged, Handle, ProposeError};
use crate::base::Clock;
use crate::base::limits::{ENTRY_BYTES_MAX, LEASE_MS_MIN};
use crate::base::units::{MIB, to_usize};
use crate::metadata::{Command, Expected, Outcome, PutManifest, manifest};
use crate::oci::{Algorithm, Digest, MediaType, Repository};
use crate::runtime::{run_alone, sleep, spawn};

/// Just below the largest manifest that clients push.
pub(super) const LARGE_BYTES: usize = 3_900_000;

pub(super) fn repository() -> Repository {
    Repository::parse("a/b").unwrap()
}

fn content(number: u64, length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    for (at, byte) in (0_u64..).zip(&mut bytes) {
        *byte = (at.wrapping_mul(31) ^ number ^ (at >> 9)).to_le_bytes()[0];
    }
    Bytes::from(bytes)
}

/// A manifest without parts: the journal does not care what it says.
pub(super) fn put(number: u64, length: usize) -> (Digest, Command) {
    let bytes = content(number, length);
    let digest = Digest::of(Algorithm::Sha256, &bytes);
    let put = PutManifest {
        repository: repository(),
        digest,
        media_type: MediaType::parse(MediaType::OCI_MANIFEST).unwrap(),
        bytes,
        parts: Vec::new(),
        referrer: None,
        tags: Vec::new(),
        expected: Expected::Any,
    };
    (digest, Command::PutManifest(Box::new(put)))
}

/// Waits for a condition, a minute at most.
async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if is_so() {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("not within a minute: {what}");
}

fn disk_bytes(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(about) if about.is_dir() => disk_bytes(&entry.path()),
        // Files come and go while the databases work.
        about => about.map_or(0, |about| about.blocks() * 512),
    });
    sizes.sum()
}

#[test]
fn a_long_log_is_snapshot_and_purged_and_a_restart_finds_everything() {
    run_alone(|| async {
        let directory = tempfile::tempdir().unwrap();
        let mut options = options(&directory);
        options.snapshot_entries = 300;
        options.log_entries_kept = 40;
        let handle = node(options.clone()).await;
        let proposers: Vec<_> = (0..20)
            .map(|proposer| spawn(propose_links(handle.clone(), proposer * 60, 60)))
            .collect();
        for proposer in proposers {
            proposer.await.unwrap();
        }
        eventually("the log is purged", || {
            handle
                .status()
                .purged_index
                .is_some_and(|purged| purged > 500)
        })
        .await;
        let purged = handle.status().purged_index;
        assert!(handle.status().snapshot_index >= purged);
        handle.shutdown().await;
        drop(handle);

        let handle = node(options).await;
        assert!(handle.status().purged_index >= purged);
        let view = handle.view();
        assert!((0..1200).all(|number| is_linked(&view, number)));
        drop(view);
        handle.shutdown().await;
    });
}

async fn propose_links(handle: Handle, first: u64, count: u64) {
    for number in first..first + count {
        let outcome = handle.propose(link(number)).await.unwrap();
        assert!(matches!(outcome, Outcome::BlobLinked { .. }));
    }
}

#[test]
fn large_manifests_and_small_changes_share_a_log_that_stays_small() {
    run_alone(|| async {
        let directory = tempfile::tempdir().unwrap();
        let mut options = options(&directory);
        options.snapshot_bytes = u64::from(8 * MIB);
        options.log_bytes_kept = u64::from(16 * MIB);
        let handle = node(options.clone()).await;
        let small = spawn(propose_links(handle.clone(), 0, 200));
        let large: Vec<_> = (0..4)
            .map(|proposer| {
                let handle = handle.clone();
                spawn(async move {
                    for number in 0..5 {
                        let (_, command) = put(proposer * 5 + number, LARGE_BYTES);
                        let outcome = handle.propose(command).await.unwrap();
                        assert!(matches!(outcome, Outcome::Stored { .. }), "{outcome:?}");
                    }
                })
            })
            .collect();
        for proposer in large {
            proposer.await.unwrap();
        }
        small.await.unwrap();
        eventually("the log is cut by bytes", || {
            handle.status().purged_index.is_some()
        })
        .await;
        handle.shutdown().await;
        drop(handle);
        let log_bytes = disk_bytes(&options.journal.directory.join("log"));
        assert!(log_bytes < 256 * u64::from(MIB), "{log_bytes} bytes of log");

        let handle = node(options).await;
        let view = handle.view();
        for number in 0..20 {
            let (digest, _) = put(number, LARGE_BYTES);
            let stored = manifest(&view, &repository(), &digest).unwrap().unwrap();
            assert_eq!(stored.bytes, content(number, LARGE_BYTES));
        }
        assert!((0..200).all(|number| is_linked(&view, number)));
        drop(view);
        handle.shutdown().await;
    });
}

#[test]
fn proposals_made_together_share_syncs() {
    run_alone(|| async {
        let directory = tempfile::tempdir().unwrap();
        let options = options(&directory);
        let metrics = Arc::clone(&options.metrics);
        let handle = node(options).await;
        let before = metrics.journal.sync_seconds.count();
        let proposers: Vec<_> = (0..64)
            .map(|proposer| spawn(propose_links(handle.clone(), proposer * 10, 10)))
            .collect();
        for proposer in proposers {
            proposer.await.unwrap();
        }
        let syncs = metrics.journal.sync_seconds.count() - before;
        assert!(syncs < 200, "{syncs} syncs for 640 proposals");
        handle.shutdown().await;
    });
}

#[test]
fn a_change_that_fits_no_entry_is_refused_and_the_next_one_is_not() {
    run_alone(|| async {
        let directory = tempfile::tempdir().unwrap();
        let handle = node(options(&directory)).await;
        let (_, command) = put(1, to_usize(ENTRY_BYTES_MAX));
        let refused = handle.propose(command).await;
        assert!(matches!(refused, Err(ProposeError::TooLarge { .. })));
        propose_links(handle.clone(), 0, 1).await;
        handle.shutdown().await;
    });
}

#[test]
fn times_of_the_caller_are_applied() {
    run_alone(|| async {
        let directory = tempfile::tempdir().unwrap();
        let handle = node(options(&directory)).await;
        let later_ms = Clock::system().unix_ms() + 1_000_000;
        handle.propose_at(link(1), later_ms).await.unwrap();
        assert_eq!(crate::metadata::clock_ms(&handle.view()).unwrap(), later_ms);
        handle.propose(link(2)).await.unwrap();
        // Time does not run backwards, whoever proposes.
        assert_eq!(crate::metadata::clock_ms(&handle.view()).unwrap(), later_ms);
        handle.shutdown().await;
    });
}

#[test]
fn applied_changes_of_blobs_with_files_are_told_and_nothing_else() {
    run_alone(|| async {
        let directory = tempfile::tempdir().unwrap();
        let mut options = options(&directory);
        let (changes, changed) = flume::unbounded();
        options.blob_changes = Some(changes);
        let handle = node(options.clone()).await;
        handle.propose(link(1)).await.unwrap();
        let Some(BlobChange::Blob(told)) = changed.drain().next() else {
            panic!("a link is a change");
        };
        assert!(told.is_live);
        assert_eq!((told.generation, told.size_bytes), (0, 8));
        let digest = told.digest;
        let inline = Command::LinkBlob {
            repository: repository(),
            digest: Digest::of(Algorithm::Sha256, b"inline"),
            size_bytes: 6,
            generation: 0,
            extent_checksums: Vec::new(),
            inline: Some(Bytes::from_static(b"inline")),
        };
        handle.propose(inline).await.unwrap();
        let holders = Command::Holders {
            node: 1,
            add: vec![digest],
            remove: Vec::new(),
        };
        handle.propose(holders).await.unwrap();
        let (_, manifest) = put(1, 100);
        handle.propose(manifest).await.unwrap();
        assert!(changed.is_empty());
        let late_ms = Clock::system().unix_ms() + 3 * LEASE_MS_MIN;
        let condemn = Command::Condemn {
            digest,
            generation: 0,
        };
        let outcome = handle.propose_at(condemn, late_ms).await.unwrap();
        assert_eq!(outcome, Outcome::Condemned);
        let gone = BlobChange::Blob(BlobChanged {
            is_live: false,
            ..told
        });
        assert_eq!(changed.drain().collect::<Vec<_>>(), [gone]);
        handle.shutdown().await;
    });
}
