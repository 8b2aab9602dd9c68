//! A whole node on loopback, as a client sees it: `cargo bench --bench end_to_end`.
//!
//! Starts the release binary with its defaults (all syncs on) in a directory of
//! its own, and counts the client's work in. Compare runs on one machine only.

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

#[expect(
    dead_code,
    unused_imports,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a bench needs a part of what the tests share, and fails as they do"
)]
#[path = "../tests/support/mod.rs"]
mod support;

use support::{Node, Random, Registry, Request, digest_of};

/// A layer of ordinary size.
const LAYER_BYTES: usize = 64 * 1024 * 1024;
/// A configuration blob: the short path.
const SMALL_BYTES: usize = 4096;
/// Long enough for a few dozen pushes with their syncs.
const MEASURED: Duration = Duration::from_secs(8);

/// One blob, its digest, and where a single POST puts it.
struct Content {
    /// The content.
    bytes: Vec<u8>,
    /// Where it is posted.
    push_target: String,
    /// Where it is pulled from.
    pull_target: String,
}

impl Content {
    /// Random content of `count` bytes.
    fn new(seed: u64, count: usize) -> Self {
        let bytes = Random::new(seed).bytes(count);
        let digest = digest_of("sha256", &bytes);
        Self {
            bytes,
            push_target: format!("/v2/bench/blobs/uploads/?digest={digest}"),
            pull_target: format!("/v2/bench/blobs/{digest}"),
        }
    }

    /// Pushes it in one request.
    fn push(&self, registry: &mut Registry) {
        let request = Request::new("POST", &*self.push_target).body(&*self.bytes);
        assert_eq!(registry.client.send(&request).status, 201);
    }

    /// Pulls it whole.
    fn pull(&self, registry: &mut Registry) {
        let request = Request::new("GET", &*self.pull_target);
        let response = registry.client.send(&request);
        assert_eq!(response.body.len(), self.bytes.len());
    }
}

/// Durable pushes, and pulls of what was pushed.
fn blobs(criterion: &mut Criterion) {
    let node = Node::start();
    let mut registry = Registry::new(node.address);
    let mut group = criterion.benchmark_group("end_to_end");
    group.sample_size(20).measurement_time(MEASURED);
    for (name, seed, count) in [("4KiB", 1, SMALL_BYTES), ("64MiB", 2, LAYER_BYTES)] {
        let content = Content::new(seed, count);
        let bytes = u64::try_from(count).expect("a usize fits");
        group.throughput(Throughput::Bytes(bytes));
        group.bench_function(format!("push/{name}"), |bencher| {
            bencher.iter(|| content.push(&mut registry));
        });
        group.bench_function(format!("pull/{name}"), |bencher| {
            bencher.iter(|| content.pull(&mut registry));
        });
    }
    group.finish();
}

criterion_group!(benches, blobs);
criterion_main!(benches);
