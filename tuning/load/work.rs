//! The kinds of load, each on one connection.

use crate::connection::{Connection, head};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The pieces docker copies a layer in, which become its chunks.
const CHUNK_BYTES: usize = 32 << 10;
/// Hashed at a time; small enough to stay in cache.
const HASH_BYTES: usize = 64 << 10;
/// Hashed over and over: as large as an upload's buffer, and divides a MiB.
const HASH_BUFFER_BYTES: u64 = 512 << 10;
/// What a slow client sends or takes at a time.
const SLOW_BYTES: u64 = 64 << 10;
/// Size of the blobs that slow clients push.
const SLOW_BLOB_BYTES: u64 = 1 << 30;

/// What one connection did.
#[derive(Default)]
pub(crate) struct Tally {
    bytes: u64,
    busy: Duration,
    cpu: Duration,
    latencies: Vec<Duration>,
}

impl Tally {
    /// Adds what another connection did at the same time.
    pub(crate) fn add(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.busy = self.busy.max(other.busy);
        self.cpu += other.cpu;
        self.latencies.extend(other.latencies);
    }

    /// One line; times in seconds, latencies in milliseconds.
    pub(crate) fn into_json(mut self, elapsed: Duration) -> String {
        self.latencies.sort_unstable();
        let at = |permille: usize| {
            let index = (self.latencies.len() * permille / 1000)
                .min(self.latencies.len().saturating_sub(1));
            self.latencies
                .get(index)
                .map_or(0.0, |time| time.as_secs_f64() * 1000.0)
        };
        format!(
            "{{\"seconds\":{:.4},\"busy_seconds\":{:.4},\"cpu_seconds\":{:.4},\"bytes\":{},\"requests\":{},\
             \"p50_ms\":{:.3},\"p99_ms\":{:.3},\"max_ms\":{:.3}}}",
            elapsed.as_secs_f64(),
            self.busy.as_secs_f64(),
            self.cpu.as_secs_f64(),
            self.bytes,
            self.latencies.len(),
            at(500),
            at(990),
            at(1000),
        )
    }

    fn count(&mut self, bytes: u64, latency: Duration) {
        self.bytes += bytes;
        self.busy += latency;
        self.latencies.push(latency);
    }
}

/// Bytes no registry has seen: noise made once, stamped anew for every blob.
pub(crate) struct Content {
    bytes: Vec<u8>,
    stamp: u64,
}

impl Content {
    /// Makes `size_bytes` of noise; equal seeds give equal noise.
    pub(crate) fn new(size_bytes: u64, seed: u64) -> Self {
        let words = usize::try_from(size_bytes.div_ceil(8)).unwrap_or(usize::MAX);
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut bytes = Vec::with_capacity(words * 8);
        for _ in 0..words {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        bytes.truncate(usize::try_from(size_bytes).unwrap_or(usize::MAX));
        Self { bytes, stamp: 0 }
    }

    /// Makes the next blob and returns its digest.
    fn renew(&mut self) -> String {
        self.stamp += 1;
        let stamp_bytes = self.bytes.len().min(8);
        self.bytes[..stamp_bytes].copy_from_slice(&self.stamp.to_le_bytes()[..stamp_bytes]);
        let mut text = String::from("sha256:");
        for byte in Sha256::digest(&self.bytes) {
            let _infallible = write!(text, "{byte:02x}");
        }
        text
    }

    fn size_bytes(&self) -> u64 {
        u64::try_from(self.bytes.len()).unwrap_or(u64::MAX)
    }
}

/// Hashes as much from a buffer that stays in cache; reports CPU time only.
pub(crate) fn hash(mib: u64) -> io::Result<Tally> {
    let content = Content::new(HASH_BUFFER_BYTES, 1);
    let mut hasher = Sha256::new();
    let begin = cpu_time()?;
    for _ in 0..mib * 2 {
        for piece in content.bytes.chunks(HASH_BYTES) {
            hasher.update(piece);
        }
    }
    std::hint::black_box(hasher.finalize());
    Ok(Tally {
        bytes: mib << 20,
        cpu: cpu_time()?.saturating_sub(begin),
        ..Tally::default()
    })
}

/// CPU time of this thread so far.
fn cpu_time() -> io::Result<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = text.split(' ').next().and_then(|word| word.parse().ok());
    nanoseconds
        .map(Duration::from_nanos)
        .ok_or_else(|| io::Error::other("no times in schedstat"))
}

/// Pushes `count` large blobs one after the other.
pub(crate) fn push(
    address: SocketAddr,
    repository: &str,
    content: &mut Content,
    count: u64,
    is_chunked: bool,
) -> io::Result<Tally> {
    let mut tally = Tally::default();
    let mut connection = Connection::open(address)?;
    for _ in 0..count {
        let digest = content.renew();
        let begin = Instant::now();
        let session = open_session(&mut connection, repository)?;
        if is_chunked {
            connection
                .send(head("PATCH", &session, "Transfer-Encoding: chunked\r\n").as_bytes())?;
            for chunk in content.bytes.chunks(CHUNK_BYTES) {
                connection.send(format!("{:x}\r\n", chunk.len()).as_bytes())?;
                connection.send(chunk)?;
                connection.send(b"\r\n")?;
            }
            connection.send(b"0\r\n\r\n")?;
        } else {
            let length = format!("Content-Length: {}\r\n", content.bytes.len());
            connection.send(head("PATCH", &session, &length).as_bytes())?;
            connection.send(&content.bytes)?;
        }
        let session = located(connection.finish(202)?.location)?;
        connection.ask("PUT", &closing(&session, &digest), 201)?;
        tally.count(content.size_bytes(), begin.elapsed());
    }
    Ok(tally)
}

/// Pushes small blobs until the time is over.
pub(crate) fn push_small(
    address: SocketAddr,
    repository: &str,
    content: &mut Content,
    until: Instant,
) -> io::Result<Tally> {
    let mut tally = Tally::default();
    let mut connection = Connection::open(address)?;
    let length = format!("Content-Length: {}\r\n", content.bytes.len());
    while Instant::now() < until {
        let digest = content.renew();
        let begin = Instant::now();
        let session = open_session(&mut connection, repository)?;
        let mut request = head("PUT", &closing(&session, &digest), &length).into_bytes();
        request.extend_from_slice(&content.bytes);
        connection.send(&request)?;
        connection.finish(201)?;
        tally.count(content.size_bytes(), begin.elapsed());
    }
    Ok(tally)
}

/// A request for a path; `headers` are whole lines.
pub(crate) fn get(path: &str, headers: &str) -> String {
    head("GET", path, headers)
}

/// Sends a request again and again.
pub(crate) fn pull(
    address: SocketAddr,
    request: &str,
    count: u64,
    until: Instant,
) -> io::Result<Tally> {
    let mut tally = Tally::default();
    let mut connection = Connection::open(address)?;
    for _ in 0..count {
        let begin = Instant::now();
        if begin >= until {
            break;
        }
        connection.send(request.as_bytes())?;
        let answer = connection.answer(200)?;
        let bytes = connection.skip_body(&answer)?;
        tally.count(bytes, begin.elapsed());
    }
    Ok(tally)
}

/// A slow client's speed.
pub(crate) struct Pace {
    pause: Duration,
}

impl Pace {
    /// So many bytes a second.
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        let per_second = (bytes_per_second / SLOW_BYTES).max(1);
        Self {
            pause: Duration::from_millis(1000 / per_second),
        }
    }

    fn keep(&self) {
        std::thread::sleep(self.pause);
    }
}

/// Takes one blob slowly and hangs up when the time is over.
pub(crate) fn pull_slowly(
    address: SocketAddr,
    path: &str,
    until: Instant,
    pace: &Pace,
) -> io::Result<Tally> {
    let mut tally = Tally::default();
    let mut connection = Connection::open(address)?;
    connection.send(head("GET", path, "").as_bytes())?;
    connection.answer(200)?;
    while Instant::now() < until {
        tally.bytes += connection.take(SLOW_BYTES)?;
        pace.keep();
    }
    Ok(tally)
}

/// Sends one blob slowly and hangs up when the time is over.
pub(crate) fn push_slowly(
    address: SocketAddr,
    repository: &str,
    until: Instant,
    pace: &Pace,
) -> io::Result<Tally> {
    let mut tally = Tally::default();
    let mut connection = Connection::open(address)?;
    let session = open_session(&mut connection, repository)?;
    let length = format!("Content-Length: {SLOW_BLOB_BYTES}\r\n");
    connection.send(head("PATCH", &session, &length).as_bytes())?;
    let content = Content::new(SLOW_BYTES, 1);
    while Instant::now() < until {
        connection.send(&content.bytes)?;
        tally.bytes += SLOW_BYTES;
        pace.keep();
    }
    Ok(tally)
}

fn open_session(connection: &mut Connection, repository: &str) -> io::Result<String> {
    let path = format!("/v2/{repository}/blobs/uploads/");
    located(connection.ask("POST", &path, 202)?.location)
}

fn located(location: Option<String>) -> io::Result<String> {
    location.ok_or_else(|| io::Error::other("the answer names no session"))
}

fn closing(session: &str, digest: &str) -> String {
    let joint = if session.contains('?') { '&' } else { '?' };
    format!("{session}{joint}digest={digest}")
}
