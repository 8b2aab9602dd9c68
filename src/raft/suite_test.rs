//! openraft's storage suite over the journal, and a node run through its handle.

use std::sync::Arc;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;

use super::blob_change::BlobChanges;
use super::log_store::LogStore;
use super::open::Fitness;
use super::state_machine::StateMachine;
use super::types::Types;
use super::{Handle, Opened, Options, StateView, open, start};
use crate::journal;
use crate::metadata::{Command, FORMAT_LEVEL, Outcome, has_repository, linked_blob, state_hash};
use crate::oci::{Algorithm, Digest, Repository};
use crate::runtime::run_alone;
use crate::telemetry::Metrics;

/// Makes a store in a directory of its own for each test of the suite.
struct Stores;

/// Deletes the directory after the test.
struct Directory {
    _directory: TempDir,
}

impl StoreBuilder<Types, LogStore, StateMachine, Directory> for Stores {
    async fn build(&self) -> Result<(Directory, LogStore, StateMachine), StorageError<Types>> {
        let directory = tempfile::tempdir().unwrap();
        let metrics = Arc::new(Metrics::new());
        let options = journal::Options::new(directory.path(), Arc::clone(&metrics));
        let opened = journal::open(&options).unwrap();
        let log = LogStore::new(&opened).unwrap();
        let snapshots = directory.path().join("snapshots");
        let changes = BlobChanges::default();
        let fitness = Fitness {
            node: 1,
            known_level: FORMAT_LEVEL,
        };
        let machine = StateMachine::new(&opened, snapshots, changes, fitness, metrics).unwrap();
        let guard = Directory {
            _directory: directory,
        };
        Ok((guard, log, machine))
    }
}

#[test]
fn the_store_passes_the_suite_of_openraft() {
    run_alone(|| async {
        Suite::<Types, LogStore, StateMachine, Stores, Directory>::test_all(Stores)
            .await
            .unwrap();
    });
}

pub(super) fn options(directory: &TempDir) -> Options {
    Options::new(directory.path(), Arc::new(Metrics::new()))
}

fn digest(number: u64) -> Digest {
    Digest::of(Algorithm::Sha256, &number.to_le_bytes())
}

/// Whether the command of [`link`] was applied.
pub(super) fn is_linked(view: &StateView, number: u64) -> bool {
    let repository = Repository::parse("a/b").unwrap();
    let blob = linked_blob(view, &repository, &digest(number));
    blob.unwrap().is_some()
}

/// A small command of its own for every number.
pub(super) fn link(number: u64) -> Command {
    Command::LinkBlob {
        repository: Repository::parse("a/b").unwrap(),
        digest: digest(number),
        size_bytes: 8,
        generation: 0,
        extent_checksums: vec![7],
        inline: None,
    }
}

pub(super) async fn node(options: Options) -> Handle {
    let opened: Opened = open(&options).unwrap();
    let (handle, _) = start(opened, options, None).await.unwrap();
    handle
}

#[test]
fn a_node_applies_what_is_proposed_and_finds_it_again_after_a_clean_end() {
    run_alone(|| async {
        let directory = tempfile::tempdir().unwrap();
        let handle = node(options(&directory)).await;
        let outcome = handle.propose(link(1)).await.unwrap();
        assert!(matches!(outcome, Outcome::BlobLinked { .. }));
        handle.read_index().await.unwrap();
        let repository = Repository::parse("a/b").unwrap();
        assert!(has_repository(&handle.view(), &repository).unwrap());
        let hash = state_hash(&handle.view()).unwrap();
        let status = handle.status();
        assert!(status.is_sole_leader());
        handle.shutdown().await;
        handle.closed().await;
        assert!(handle.propose(link(2)).await.is_err());
        drop(handle);

        let handle = node(options(&directory)).await;
        assert_eq!(state_hash(&handle.view()).unwrap(), hash);
        assert!(handle.status().term > status.term);
        handle.shutdown().await;
    });
}
