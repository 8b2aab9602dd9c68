//! Lists of a registry with many repositories, of which a caller may see some.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::future::join_all;

use super::*;
use crate::base::Clock;
use crate::base::units::MIB;
use crate::blob::{self, Machinery, Store};
use crate::metadata::Command;
use crate::oci::Algorithm;
use crate::raft;
use crate::registry::{DiskSpace, DiskSpaceOptions};
use crate::runtime::{run_alone, spawn};
use crate::telemetry::Metrics;

/// Of a test registry.
const REPOSITORIES_MAX: usize = 1000;

async fn registry(home: &std::path::Path) -> Registry {
    let metrics = Arc::new(Metrics::new());
    let options = raft::Options::new(home, Arc::clone(&metrics));
    let opened = raft::open(&options).unwrap();
    let (journal, _) = raft::start(opened, options, None).await.unwrap();
    let options = blob::Options {
        data_directory: home.to_owned(),
        node: 1,
        shards: 1,
        now_ms: Clock::system().unix_ms(),
        keeps_unknown: true,
    };
    let (shared, _) = blob::open(&options, |_, _| true).unwrap();
    let store = Store::new(shared, 0, Machinery::of_test(4 * MIB, metrics));
    let marks = DiskSpaceOptions {
        hard_mark_percent: 100,
        free_bytes_min: 0,
    };
    let space = DiskSpace::measure(home.to_owned(), marks).unwrap();
    Registry::new(store, journal, space, true)
}

/// Puts something into each of so many repositories.
async fn fill(registry: &Registry) {
    let link = |number: usize| {
        let content = number.to_le_bytes().to_vec();
        registry.journal.propose(Command::LinkBlob {
            repository: name(number),
            digest: Digest::of(Algorithm::Sha256, &content),
            size_bytes: 8,
            generation: 0,
            extent_checksums: Vec::new(),
            inline: Some(content.into()),
        })
    };
    for outcome in join_all((0..REPOSITORIES_MAX).map(link)).await {
        outcome.unwrap();
    }
}

fn name(number: usize) -> Repository {
    Repository::parse(&format!("many/r{number:04}")).unwrap()
}

#[test]
fn whoever_may_see_little_gets_all_of_it_and_holds_up_nobody() {
    run_alone(|| async {
        let home = tempfile::tempdir().unwrap();
        let registry = registry(home.path()).await;
        fill(&registry).await;
        let turns = Rc::new(Cell::new(0_u64));
        let counted = Rc::clone(&turns);
        let others = spawn(async move {
            loop {
                counted.set(counted.get() + 1);
                futures_lite::future::yield_now().await;
            }
        });
        let seen = Cell::new((0, 0));
        let longest = Cell::new(0);
        let shown = |repository: &Repository| {
            let (turn, looks) = seen.get();
            let looks = if turn == turns.get() { looks + 1 } else { 1 };
            seen.set((turns.get(), looks));
            longest.set(looks.max(longest.get()));
            [name(333), name(667), name(999)].contains(repository)
        };
        let all = registry.repositories(None, 1000, shown).await.unwrap();
        assert_eq!(all.value.entries, [name(333), name(667), name(999)]);
        assert!(!all.value.more);
        assert_eq!(longest.get(), STEP_ENTRIES);

        let page = registry.repositories(None, 2, shown).await.unwrap();
        assert_eq!(page.value.entries, [name(333), name(667)]);
        assert!(page.value.more);
        let after = Some("many/r0667");
        let rest = registry.repositories(after, 2, shown).await.unwrap();
        assert_eq!(rest.value.entries, [name(999)]);
        assert!(!rest.value.more);
        others.cancel().await;
        registry.journal.shutdown().await;
    });
}
