//! Memory stays bounded while 64 clients stream at once, slow ones included.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::support::{Client, Node, Random, Registry, Request, location, sha256, wait_for};

/// Resident size that the process may reach.
const RESIDENT_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// Clients of each of the four kinds.
const CLIENTS_EACH: usize = 16;
/// How long all of them stream together.
const STREAMING: Duration = Duration::from_secs(6);
/// A busy machine gets so much longer until as many blobs as clients are pushed.
const MOVING_MAX: Duration = Duration::from_secs(60);
/// Pause of a slow client between two pieces.
const SLOW_PAUSE: Duration = Duration::from_millis(40);
/// Bytes of the blob that is pulled.
const PULLED_BYTES: usize = 48 * 1024 * 1024;
/// Bytes of each blob that is pushed.
const PUSHED_BYTES: usize = 3 * 1024 * 1024;

/// What all clients of one run share.
struct Run {
    node: Node,
    target: String,
    is_over: AtomicBool,
    moved_bytes: AtomicUsize,
    pushed_count: AtomicUsize,
}

impl Run {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Pulls the big blob again and again, with a pause after each piece.
    fn pull(&self, pause: Option<Duration>) -> io::Result<()> {
        let mut piece = vec![0; 64 * 1024];
        while !self.is_over() {
            let mut client = Client::new(self.node.address);
            client.write(&Request::new("GET", &self.target).head_bytes())?;
            client.read_head("GET")?.expect(200);
            let mut received = 0;
            while received < PULLED_BYTES && !self.is_over() {
                let count = client.read_some(&mut piece)?;
                assert!(count > 0, "the pull was cut at {received}");
                received += count;
                self.moved_bytes.fetch_add(count, Ordering::Relaxed);
                pause.into_iter().for_each(thread::sleep);
            }
        }
        Ok(())
    }

    /// Pushes one blob after another as fast as they are taken.
    fn push_fast(&self, number: u64) {
        let mut registry = Registry::new(self.node.address);
        let mut random = Random::new(number);
        while !self.is_over() {
            let content = random.bytes(PUSHED_BYTES);
            registry.push_blob("memory/push", &content);
            self.pushed_count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Sends one blob in small pieces, and the rest of it at the end.
    fn push_slowly(&self, number: u64) -> io::Result<()> {
        let mut registry = Registry::new(self.node.address);
        let content = Random::new(number).bytes(PUSHED_BYTES);
        let session = registry.open_upload("memory/slow");
        let request = Request::new("PATCH", &session).body(&content[..]);
        registry.client.write(&request.head_bytes())?;
        let mut sent = 0;
        while !self.is_over() && sent + 8192 < content.len() {
            registry.client.write(&content[sent..sent + 8192])?;
            sent += 8192;
            thread::sleep(SLOW_PAUSE);
        }
        registry.client.write(&content[sent..])?;
        let session = location(&registry.client.read_response("PATCH")?.expect(202));
        let put = format!("{session}?digest={}", sha256(&content));
        registry.call("PUT", &put).expect(201);
        Ok(())
    }
}

#[test]
fn resident_size_is_bounded_with_64_streams_and_slow_clients() {
    let node = Node::start();
    let idle_bytes = node.resident_bytes();
    let mut registry = Registry::new(node.address);
    let digest = registry.push_blob("memory/pull", &Random::new(1).bytes(PULLED_BYTES));
    let run = Run {
        node,
        target: format!("/v2/memory/pull/blobs/{digest}"),
        is_over: AtomicBool::new(false),
        moved_bytes: AtomicUsize::new(0),
        pushed_count: AtomicUsize::new(0),
    };
    let mut has_moved = false;
    thread::scope(|scope| {
        for number in 0..CLIENTS_EACH as u64 {
            let run = &run;
            scope.spawn(move || run.pull(None).unwrap());
            scope.spawn(move || run.pull(Some(SLOW_PAUSE)).unwrap());
            scope.spawn(move || run.push_fast(100 + number));
            scope.spawn(move || run.push_slowly(200 + number).unwrap());
        }
        thread::sleep(STREAMING);
        has_moved = wait_for(MOVING_MAX, || {
            run.pushed_count.load(Ordering::Relaxed) >= CLIENTS_EACH
        });
        run.is_over.store(true, Ordering::Relaxed);
    });
    let peak_bytes = run.node.resident_bytes_peak();
    let (moved, pushed) = (&run.moved_bytes, &run.pushed_count);
    eprintln!(
        "resident: {} KiB idle, {} KiB at most; {} MiB pulled, {} blobs pushed",
        idle_bytes / 1024,
        peak_bytes / 1024,
        moved.load(Ordering::Relaxed) >> 20,
        pushed.load(Ordering::Relaxed),
    );
    assert!(has_moved, "the pushes stood still");
    assert!(
        peak_bytes < RESIDENT_BYTES_MAX,
        "{peak_bytes} bytes resident"
    );
}

#[test]
fn a_reader_that_takes_nothing_costs_nobody_else_anything() {
    let node = Node::start();
    let mut registry = Registry::new(node.address);
    let content = Random::new(2).bytes(20 * 1024 * 1024);
    let digest = registry.push_blob("memory/stuck", &content);
    let target = format!("/v2/memory/stuck/blobs/{digest}");
    let mut stuck = Vec::new();
    for _ in 0..100 {
        let mut client = Client::new(node.address);
        client
            .write(&Request::new("GET", &target).head_bytes())
            .unwrap();
        stuck.push(client);
    }
    for _ in 0..3 {
        assert!(registry.get(&target).expect(200).body == content);
        registry.push_image("memory/beside", "v1", 3);
    }
    assert!(node.resident_bytes_peak() < RESIDENT_BYTES_MAX);
    drop(stuck);
    let has_let_go = wait_for(Duration::from_secs(20), || open_descriptors(&node) < 100);
    assert!(
        has_let_go,
        "{} descriptors stay open",
        open_descriptors(&node)
    );
}

fn open_descriptors(node: &Node) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", node.pid())).map_or(0, Iterator::count)
}
