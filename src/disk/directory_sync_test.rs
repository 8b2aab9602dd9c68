//! Tests of shared directory syncs, with an act that is watched instead of a disk.

use super::*;

use std::cell::Cell;
use std::io;

use crate::runtime::{Task, run_alone, spawn, yield_if_needed};

/// Counts syncs, and holds each until it is let go.
#[derive(Clone, Default)]
struct Disk {
    started: Rc<Cell<u64>>,
    allowed: Rc<Cell<u64>>,
    fails: Rc<Cell<bool>>,
}

impl Disk {
    fn sync(&self, syncs: &DirectorySync, path: &'static str) -> Task<Result<(), Error>> {
        let (disk, syncs) = (self.clone(), syncs.clone());
        spawn(async move {
            let act = async |_: &Path| {
                disk.started.set(disk.started.get() + 1);
                let number = disk.started.get();
                while disk.allowed.get() < number {
                    glommio::executor().yield_task_queue_now().await;
                }
                if disk.fails.get() {
                    return Err(Error::new("sync", Path::new(path), io::Error::other("x")));
                }
                Ok(())
            };
            syncs.sync_with(Path::new(path), act).await
        })
    }

    async fn settle(&self) {
        for _ in 0..20 {
            glommio::executor().yield_task_queue_now().await;
            yield_if_needed().await;
        }
    }
}

#[test]
fn all_who_come_during_one_sync_share_the_next() {
    run_alone(|| async {
        let (disk, syncs) = (Disk::default(), DirectorySync::default());
        let first = disk.sync(&syncs, "/a");
        disk.settle().await;
        let later: Vec<_> = (0..10).map(|_| disk.sync(&syncs, "/a")).collect();
        disk.settle().await;
        assert_eq!(disk.started.get(), 1, "nobody starts while one runs");
        disk.allowed.set(1);
        first.await.unwrap().unwrap();
        disk.settle().await;
        assert_eq!(disk.started.get(), 2);
        assert!(!syncs.0.borrow().is_empty());
        disk.allowed.set(2);
        for waiter in later {
            waiter.await.unwrap().unwrap();
        }
        assert_eq!(disk.started.get(), 2, "one sync for all ten");
        assert!(syncs.0.borrow().is_empty(), "no entry outlives its users");
    });
}

#[test]
fn a_sync_that_started_before_does_not_count() {
    run_alone(|| async {
        let (disk, syncs) = (Disk::default(), DirectorySync::default());
        let first = disk.sync(&syncs, "/a");
        disk.settle().await;
        let second = disk.sync(&syncs, "/a");
        disk.settle().await;
        disk.allowed.set(1);
        first.await.unwrap().unwrap();
        disk.settle().await;
        assert_eq!(disk.started.get(), 2, "the second needs its own");
        disk.allowed.set(2);
        second.await.unwrap().unwrap();
    });
}

#[test]
fn directories_do_not_wait_for_each_other() {
    run_alone(|| async {
        let (disk, syncs) = (Disk::default(), DirectorySync::default());
        let (one, two) = (disk.sync(&syncs, "/a"), disk.sync(&syncs, "/b"));
        disk.settle().await;
        assert_eq!(disk.started.get(), 2);
        disk.allowed.set(2);
        one.await.unwrap().unwrap();
        two.await.unwrap().unwrap();
    });
}

#[test]
fn a_leader_that_is_cancelled_hands_over() {
    run_alone(|| async {
        let (disk, syncs) = (Disk::default(), DirectorySync::default());
        let leader = disk.sync(&syncs, "/a");
        disk.settle().await;
        let waiter = disk.sync(&syncs, "/a");
        disk.settle().await;
        assert!(leader.cancel().await.is_none());
        disk.settle().await;
        assert_eq!(disk.started.get(), 2);
        disk.allowed.set(2);
        waiter.await.unwrap().unwrap();
    });
}

#[test]
fn a_failed_sync_counts_for_nobody() {
    run_alone(|| async {
        let (disk, syncs) = (Disk::default(), DirectorySync::default());
        disk.fails.set(true);
        let first = disk.sync(&syncs, "/a");
        disk.settle().await;
        let second = disk.sync(&syncs, "/a");
        disk.settle().await;
        disk.allowed.set(1);
        assert!(first.await.unwrap().is_err());
        disk.fails.set(false);
        disk.allowed.set(2);
        second.await.unwrap().unwrap();
        assert_eq!(disk.started.get(), 2);
    });
}

#[test]
fn a_real_directory_syncs() {
    run_alone(|| async {
        let home = tempfile::tempdir().unwrap();
        let syncs = DirectorySync::default();
        syncs.sync(home.path()).await.unwrap();
        let missing = syncs.sync(&home.path().join("missing")).await;
        assert!(missing.unwrap_err().is_missing());
    });
}
