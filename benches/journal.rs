//! What the journal costs: appends with their sync by batch size, reads, and
//! whole proposals from a shard through the raft core and back.
//!
//! Run with `cargo bench --bench journal`; `-- append` picks a group. Scratch
//! data goes to `$TMPDIR`, which must be on a disk for the syncs to count;
//! `sync/raw` in the same run says what the disk alone takes.

#![expect(clippy::unwrap_used, reason = "a bench that cannot start must fail")]

use std::cell::Cell;
use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use futures_lite::future::block_on;
use windlass::base::Clock;
use windlass::base::units::to_u64;
use windlass::journal::{self, Journal};
use windlass::metadata::Command;
use windlass::oci::{Algorithm, Digest, Repository};
use windlass::raft::{self, Handle};
use windlass::runtime::{run_alone, spawn};
use windlass::telemetry::Metrics;

/// Payload of a small change.
const RECORD_BYTES: usize = 300;
/// Records read at once.
const READ_RECORDS: u64 = 1000;

/// Appends `count` records in one batch and waits for their sync.
fn append(journal: &Journal, next: &Cell<u64>, payloads: Vec<Bytes>) {
    let first = next.get();
    next.set(first + to_u64(payloads.len()));
    let (sender, receiver) = flume::bounded(1);
    let done = Box::new(move |outcome| drop(sender.send(outcome)));
    block_on(journal.append(first, payloads, done)).unwrap();
    receiver.recv().unwrap().unwrap();
}

/// Appends in batches, each synced before it is acknowledged, and reads them back.
fn appends(criterion: &mut Criterion) {
    let home = tempfile::tempdir().unwrap();
    let options = journal::Options::new(home.path(), Arc::new(Metrics::new()));
    let opened = journal::open(&options).unwrap();
    let next = Cell::new(0);
    let mut group = criterion.benchmark_group("append");
    for records in [1, 16, 64, 256] {
        group.throughput(Throughput::Elements(to_u64(records)));
        group.bench_function(BenchmarkId::from_parameter(records), |bencher| {
            let payload = Bytes::from(vec![7; RECORD_BYTES]);
            bencher.iter(|| append(&opened.journal, &next, vec![payload.clone(); records]));
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("sync");
    group.bench_function("raw", |bencher| {
        let file = File::create(home.path().join("raw")).unwrap();
        file.set_len(64 << 20).unwrap();
        let mut offset = 0;
        bencher.iter(|| {
            file.write_all_at(&[7; RECORD_BYTES], offset).unwrap();
            file.sync_data().unwrap();
            offset += to_u64(RECORD_BYTES);
        });
    });
    group.finish();

    // A test run appends next to nothing, and a read wants something to choose from.
    while next.get() < 2 * READ_RECORDS {
        let payloads = vec![Bytes::from(vec![7; RECORD_BYTES]); 256];
        append(&opened.journal, &next, payloads);
    }
    let mut group = criterion.benchmark_group("read");
    group.throughput(Throughput::Elements(READ_RECORDS));
    group.bench_function(BenchmarkId::from_parameter(READ_RECORDS), |bencher| {
        let last = next.get() - READ_RECORDS;
        let mut first = 0;
        bencher.iter(|| {
            first = (first + 7 * READ_RECORDS) % last;
            let read = opened.journal.read(first, first + READ_RECORDS, usize::MAX);
            black_box(read.unwrap());
        });
    });
    group.finish();
}

/// A small change of its own for every number.
fn link(number: u64) -> Command {
    Command::LinkBlob {
        repository: Repository::parse("team/service").unwrap(),
        digest: Digest::of(Algorithm::Sha256, &number.to_le_bytes()),
        size_bytes: 4096,
        generation: 0,
        extent_checksums: vec![7],
        inline: None,
    }
}

/// Runs a node on an executor of its own until its handle is shut down.
fn node(home: &Path) -> (Handle, thread::JoinHandle<()>) {
    let (sender, receiver) = flume::bounded(1);
    let options = raft::Options::new(home, Arc::new(Metrics::new()));
    let core = thread::spawn(move || {
        let opened = raft::open(&options).unwrap();
        run_alone(move || async move {
            let (handle, _) = raft::start(opened, options, None).await.unwrap();
            sender.send(handle.clone()).unwrap();
            handle.closed().await;
        });
    });
    (receiver.recv().unwrap(), core)
}

/// Time of `count` proposals from one shard with `in_flight` at a time.
fn propose(handle: Handle, first: u64, count: u64, in_flight: u64) -> Duration {
    run_alone(move || async move {
        let clock = Clock::system();
        let started = clock.now();
        let next = Rc::new(Cell::new(0));
        let proposers: Vec<_> = (0..in_flight.min(count))
            .map(|_| {
                let (handle, next) = (handle.clone(), Rc::clone(&next));
                spawn(async move {
                    while next.get() < count {
                        let number = first + next.replace(next.get() + 1);
                        handle.propose(link(number)).await.unwrap();
                    }
                })
            })
            .collect();
        for proposer in proposers {
            proposer.await.unwrap();
        }
        clock.now() - started
    })
}

/// Proposals through consensus, as many at a time as the name says.
fn proposals(criterion: &mut Criterion) {
    let home = tempfile::tempdir().unwrap();
    let (handle, core) = node(home.path());
    let mut first = 0;
    let mut group = criterion.benchmark_group("propose");
    group.throughput(Throughput::Elements(1));
    for in_flight in [1, 16, 64] {
        group.bench_function(BenchmarkId::from_parameter(in_flight), |bencher| {
            bencher.iter_custom(|count| {
                first += count;
                propose(handle.clone(), first, count, in_flight)
            });
        });
    }
    group.finish();
    let ending = handle.clone();
    run_alone(move || async move { ending.shutdown().await });
    core.join().unwrap();
}

criterion_group!(benches, appends, proposals);
criterion_main!(benches);
