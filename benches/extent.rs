//! Extents between a shard and its disk, and from the page cache into a socket:
//! `cargo bench --bench extent`. Files lie in the temporary directory (`TMPDIR`), which
//! must be on a real disk for the figures to mean anything.

use std::collections::VecDeque;
use std::future::Future;
use std::io::Read;
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tempfile::TempDir;

use windlass::base::Clock;
use windlass::base::limits::{EXTENT_BYTES, IN_FLIGHT_MOVES_MAX, MOVE_BYTES_MAX};
use windlass::base::units::{MIB, to_usize};
use windlass::disk::{CachedFile, Pending, ReadFile, WriteFile};
use windlass::memory::Pool;
use windlass::net::Listener;
use windlass::runtime::{run_alone, sleep};

/// A file larger than the device's own cache of a moment, smaller than patience.
const FILE_BYTES: u64 = 256 * MIB as u64;
/// The pool of the executor that `run_alone` starts.
const POOL_BYTES: u32 = 4 * MIB;
/// Nobody stalls on the loopback.
const STALL_MAX: Duration = Duration::from_secs(30);

/// Times `extents` moves of an extent on an executor of its own.
fn timed<F: Future<Output = ()> + 'static>(
    extents: u64,
    work: impl FnOnce(u64) -> F + Send + 'static,
) -> Duration {
    run_alone(move || async move {
        // The first sleep of an executor pays for its set-up.
        sleep(Duration::from_millis(1)).await;
        let start = Clock::system().now();
        work(extents).await;
        start.elapsed()
    })
}

/// Offsets of the moves of so many extents, round and round through the file.
fn moves(extents: u64) -> impl Iterator<Item = u64> {
    let step = u64::from(MOVE_BYTES_MAX);
    let count = extents * u64::from(EXTENT_BYTES) / step;
    (0..count).map(move |index| index * step % FILE_BYTES)
}

/// Keeps at most `IN_FLIGHT_MOVES_MAX` under way.
async fn make_room<T: 'static>(under_way: &mut VecDeque<Pending<T>>, left: usize) {
    while under_way.len() > left {
        if let Some(first) = under_way.pop_front() {
            first.await.expect("the disk works");
        }
    }
}

/// Writes extents to a fresh file, as an upload does.
async fn write(path: &Path, extents: u64) {
    let pool = Pool::new(POOL_BYTES);
    let file = WriteFile::create(path).await.expect("the disk works");
    let mut under_way = VecDeque::new();
    for offset in moves(extents) {
        make_room(&mut under_way, IN_FLIGHT_MOVES_MAX - 1).await;
        let buffer = pool.acquire(MOVE_BYTES_MAX).await;
        let buffer = buffer.share(to_usize(MOVE_BYTES_MAX));
        under_way.push_back(file.write_at(buffer, offset));
    }
    make_room(&mut under_way, 0).await;
}

/// Reads extents past the page cache, as a cold pull does.
async fn read(path: &Path, extents: u64) {
    let pool = Pool::new(POOL_BYTES);
    let file = ReadFile::open_direct(path, FILE_BYTES).await;
    let file = file.expect("the disk works");
    let mut under_way = VecDeque::new();
    for offset in moves(extents) {
        make_room(&mut under_way, IN_FLIGHT_MOVES_MAX - 1).await;
        let permit = pool.reserve(MOVE_BYTES_MAX).await;
        under_way.push_back(file.read_at(offset, MOVE_BYTES_MAX, permit));
    }
    make_room(&mut under_way, 0).await;
}

/// Sends extents from the page cache to a peer that only reads.
async fn send(path: &Path, extents: u64) {
    let file = CachedFile::open(path).await.expect("the disk works");
    let anywhere = "127.0.0.1:0".parse().expect("an address");
    let listener = Listener::bind(anywhere).expect("the loopback works");
    let address = listener.address();
    let peer = thread::spawn(move || {
        let mut peer = TcpStream::connect(address).expect("the loopback works");
        let mut into = vec![0; to_usize(MIB)];
        while peer.read(&mut into).expect("the loopback works") > 0 {}
    });
    let mut stream = listener.accept().await.expect("the loopback works");
    for offset in moves(extents) {
        let bytes = u64::from(MOVE_BYTES_MAX);
        let sent = stream.send_file(&file, offset, bytes, STALL_MAX).await;
        sent.expect("the loopback works");
    }
    stream.shutdown_write();
    let gone = windlass::runtime::off_shard(|| peer.join()).await;
    assert!(
        gone.is_ok_and(|peer| peer.is_ok()),
        "the peer reads to the end"
    );
}

/// Every way an extent moves.
fn extents(criterion: &mut Criterion) {
    let home = TempDir::new().expect("a temporary directory");
    let path = home.path().join("extents");
    let filled = path.clone();
    let whole = FILE_BYTES / u64::from(EXTENT_BYTES);
    timed(whole, move |extents| async move {
        write(&filled, extents).await;
    });
    let sent = path.clone();
    run_alone(move || async move {
        let file = CachedFile::open(&sent).await.expect("the disk works");
        file.warm(0, FILE_BYTES).await.expect("the disk works");
        assert!(file.is_resident(0, FILE_BYTES), "warm enough to be sent");
    });
    let mut group = criterion.benchmark_group("extent");
    group.throughput(Throughput::Bytes(u64::from(EXTENT_BYTES)));
    group.sample_size(10);
    group.bench_function("read_direct", |bencher| {
        bencher.iter_custom(|count| {
            let path = path.clone();
            timed(
                count,
                move |extents| async move { read(&path, extents).await },
            )
        });
    });
    group.bench_function("send_warm", |bencher| {
        bencher.iter_custom(|count| {
            let path = path.clone();
            timed(
                count,
                move |extents| async move { send(&path, extents).await },
            )
        });
    });
    group.bench_function("write_direct", |bencher| {
        let path = home.path().join("written");
        bencher.iter_custom(|count| {
            let path = path.clone();
            timed(
                count,
                move |extents| async move { write(&path, extents).await },
            )
        });
    });
    group.finish();
}

criterion_group!(benches, extents);
criterion_main!(benches);
