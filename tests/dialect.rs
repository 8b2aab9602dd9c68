//! The strict dialect, through a socket: every row of the table, and what needs
//! a clock, against a small handler over `exchange::serve`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use windlass::base::Clock;
use windlass::base::units::to_u64;
use windlass::exchange::{BodyError, Closed, Door, Exchange, Options, serve};
use windlass::http::{Method, ResponseHead, Status};
use windlass::net::Listener;
use windlass::runtime::{Shutdown, run_alone, sleep, spawn};
use windlass::telemetry::Metrics;

#[path = "support/dialect.rs"]
mod dialect;

use dialect::{Client, Target, failures};

/// Longer than anything here takes, however busy the machine is.
const NOBODY_WAITS: Duration = Duration::from_secs(60);

/// The handler of `/stall` has seen its client stall, which reads only then.
static HAS_STALLED: AtomicBool = AtomicBool::new(false);

/// A server on a thread of its own, and the end of it.
struct Server {
    address: SocketAddr,
    shutdown: Shutdown,
    metrics: Arc<Metrics>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(options: Options) -> Self {
        let (sender, receiver) = mpsc::channel();
        let shutdown = Shutdown::new();
        let metrics = Arc::new(Metrics::new());
        let (stop, counted) = (shutdown.clone(), Arc::clone(&metrics));
        let thread = std::thread::spawn(move || {
            run_alone(move || async move {
                let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
                sender.send(listener.address()).unwrap();
                let door = Door::open(options, counted, stop.clone());
                let accepting = Rc::clone(&door);
                let accept = spawn(async move {
                    loop {
                        let stream = listener.accept().await.unwrap();
                        let door = Rc::clone(&accepting);
                        spawn(async move { serve(stream, &door, &answer).await }).detach();
                    }
                });
                stop.wait().await;
                accept.cancel().await;
                while door.connections() > 0 {
                    sleep(Duration::from_millis(5)).await;
                }
            });
        });
        Self {
            address: receiver.recv().unwrap(),
            shutdown,
            metrics,
            thread: Some(thread),
        }
    }

    fn client(&self) -> Client {
        Client::connect(self.address).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.request();
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || ended.is_some_and(|ended| ended.is_ok()));
    }
}

/// `/v2/` is 200; `/body` echoes the body it has read; `/collect` reads at most
/// 1000 bytes of it; `/panic` panics; `/mute` does not answer; `/short` promises
/// more than it writes; everything else is 404 without a look at the body.
async fn answer(exchange: &mut Exchange) -> Result<(), Closed> {
    let head = Rc::clone(exchange.head());
    let ok = ResponseHead::new(Status::OK);
    match head.path() {
        "/v2/" => exchange.respond(ok, b"{}").await,
        "/body" => {
            let mut body = Vec::new();
            let mut buffer = vec![0; 10_000];
            loop {
                match exchange.read_body(&mut buffer).await? {
                    0 => break,
                    count => body.extend_from_slice(&buffer[..count]),
                }
            }
            exchange.respond(ok, &body).await
        }
        "/collect" => match exchange.read_body_to_vec(1000).await {
            Ok(body) => exchange.respond(ok, &body).await,
            Err(BodyError::TooLarge { .. }) => {
                let head = ResponseHead::new(Status::CONTENT_TOO_LARGE);
                exchange.respond(head, b"too large").await
            }
            Err(BodyError::Closed(closed)) => Err(closed),
        },
        "/large" => {
            let body = vec![b'z'; 8_000_000];
            exchange.begin(ok.with_length(8_000_000)).await?;
            if head.method() == Method::Head {
                return Ok(());
            }
            exchange.write(&body).await
        }
        "/stall" => {
            let body = pattern();
            exchange.begin(ok.with_length(to_u64(body.len()))).await?;
            let sent = exchange.write_some_or_stall(&body).await?;
            assert!(sent < body.len(), "the client does not read yet");
            HAS_STALLED.store(true, Ordering::Release);
            let (first, rest) = body[sent..].split_at(100);
            exchange.write(first).await?;
            exchange.write(rest).await
        }
        "/file" => {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&pattern()).unwrap();
            let (skipped, bytes) = (1000, to_u64(pattern().len()) - 1000);
            exchange.begin(ok.with_length(bytes)).await?;
            if exchange.is_to_head() {
                return Ok(());
            }
            exchange.send_file(&file, skipped, bytes).await
        }
        "/short" => {
            exchange.begin(ok.with_length(10)).await?;
            exchange.write(b"12345").await
        }
        "/panic" => panic!("as asked"),
        "/mute" => Ok(()),
        _ => {
            let head = ResponseHead::new(Status::NOT_FOUND);
            exchange.respond(head, b"not found").await
        }
    }
}

/// More than a socket holds, and no two places alike.
fn pattern() -> Vec<u8> {
    (0..2_000_000_u32).flat_map(u32::to_le_bytes).collect()
}

fn patient() -> Server {
    Server::start(Options::default())
}

fn request(line: &str, lines: &str) -> Vec<u8> {
    format!("{line} HTTP/1.1\r\nHost: a\r\n{lines}\r\n").into_bytes()
}

#[test]
fn every_row_of_the_table_holds() {
    let server = patient();
    let failures = failures(&Target {
        address: server.address,
        body_path: "/body",
        body_status: 200,
    });
    assert!(failures.is_empty(), "\n{}\n", failures.join("\n"));
}

#[test]
fn every_answer_carries_the_fields_of_the_connection() {
    let server = patient();
    let mut client = server.client();
    client.send(&request("GET /v2/", "X-Request-Id: from-client.1\r\n"));
    let answer = client.answer(false).unwrap();
    assert_eq!(answer.body, b"{}");
    assert!(answer.head.starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(answer.head.contains("\r\nX-Request-Id: from-client.1\r\n"));
    assert!(
        answer
            .head
            .contains("\r\nX-Content-Type-Options: nosniff\r\n")
    );
    assert!(answer.head.contains(" GMT\r\n"));
    assert!(!answer.head.contains("Connection: close"));
    client.send(b"TRACE / HTTP/1.1\r\nSecret: do-not-echo\r\n\r\n");
    let answer = client.answer(false).unwrap();
    assert_eq!(answer.status, 405);
    assert!(
        answer
            .head
            .contains("\r\nAllow: GET, HEAD, POST, PUT, PATCH, DELETE\r\n")
    );
    assert!(answer.head.contains("\r\nConnection: close\r\n"));
    assert!(answer.head.contains("\r\nX-Request-Id: "));
    assert!(!String::from_utf8(answer.body).unwrap().contains("echo"));
    client.expect_end().unwrap();
}

#[test]
fn a_body_arrives_byte_for_byte_however_it_is_framed_and_split() {
    let server = patient();
    let body: Vec<u8> = (0..700_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    let mut chunked = Vec::new();
    for piece in body.chunks(32 * 1024) {
        chunked.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        chunked.extend_from_slice(piece);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    let length = format!("Content-Length: {}\r\n", body.len());
    let framings = [
        (length.as_str(), &body),
        ("Transfer-Encoding: chunked\r\n", &chunked),
    ];
    let mut client = server.client();
    for (lines, wire) in framings {
        for piece_bytes in [wire.len(), 65_536, 9_999, 1_001] {
            client.send(&request("PUT /body", lines));
            wire.chunks(piece_bytes)
                .for_each(|piece| client.send(piece));
            assert_eq!(client.answer(false).unwrap().body, body);
        }
    }
}

#[test]
fn a_head_in_single_bytes_is_read_like_a_whole_one() {
    let server = patient();
    let mut client = server.client();
    for byte in request("GET /v2/", "Accept: a/b\r\n") {
        client.send(&[byte]);
    }
    assert_eq!(client.answer(false).unwrap().status, 200);
}

#[test]
fn a_collected_body_is_bounded_with_and_without_a_length() {
    let server = patient();
    let mut client = server.client();
    let chunks = |bytes: usize| format!("{bytes:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(bytes));
    for (bytes, status) in [(0, 200), (1, 200), (1000, 200), (1001, 413)] {
        client.send(&request(
            "PUT /collect",
            &format!("Content-Length: {bytes}\r\n"),
        ));
        client.send("x".repeat(bytes).as_bytes());
        let answer = client.answer(false).unwrap();
        assert_eq!(answer.status, status, "{bytes}");
        if bytes > 0 {
            client.send(&request("PUT /collect", "Transfer-Encoding: chunked\r\n"));
            client.send(chunks(bytes).as_bytes());
            assert_eq!(
                client.answer(false).unwrap().status,
                status,
                "{bytes} in chunks"
            );
        }
    }
}

#[test]
fn head_promises_what_get_brings() {
    let server = patient();
    let mut client = server.client();
    client.send(&request("HEAD /large", ""));
    let answer = client.answer(true).unwrap();
    assert!(answer.head.contains("Content-Length: 8000000\r\n"));
    client.send(&request("GET /large", ""));
    assert_eq!(client.answer(false).unwrap().body.len(), 8_000_000);
}

#[test]
fn a_stalled_reader_is_noticed_and_gets_every_byte_later() {
    let server = patient();
    let mut client = server.client();
    client.send(&request("GET /stall", ""));
    let begun = now();
    while !HAS_STALLED.load(Ordering::Acquire) {
        assert!(begun.elapsed() < NOBODY_WAITS, "no stall seen");
        std::thread::yield_now();
    }
    assert!(client.answer(false).unwrap().body == pattern());
    client.send(&request("GET /v2/", ""));
    assert_eq!(client.answer(false).unwrap().status, 200);
}

#[test]
fn a_file_is_sent_from_its_offset_and_the_connection_goes_on() {
    let server = patient();
    let mut client = server.client();
    client.send(&[request("GET /file", ""), request("HEAD /file", "")].concat());
    assert!(client.answer(false).unwrap().body == pattern()[1000..]);
    assert_eq!(client.answer(true).unwrap().status, 200);
}

#[test]
fn a_panic_costs_its_connection_only() {
    let server = patient();
    let (mut failing, mut other) = (server.client(), server.client());
    failing.send(&request("GET /panic", ""));
    assert_eq!(failing.answer(false).unwrap().status, 500);
    failing.expect_end().unwrap();
    other.send(&request("GET /v2/", ""));
    assert_eq!(other.answer(false).unwrap().status, 200);
    assert_eq!(server.metrics.http.panics.value(), 1);
}

#[test]
fn a_handler_that_does_not_answer_is_answered_for() {
    let server = patient();
    let mut client = server.client();
    client.send(&request("GET /mute", ""));
    assert_eq!(client.answer(false).unwrap().status, 500);
    client.expect_end().unwrap();
}

#[test]
fn an_answer_cut_short_is_cut_and_not_completed() {
    let server = patient();
    let mut client = server.client();
    client.send(&[request("GET /short", ""), request("GET /v2/", "")].concat());
    assert!(client.answer(false).unwrap_err().contains("closed"));
}

#[test]
fn a_client_that_hangs_up_in_its_body_is_forgotten() {
    let server = patient();
    let mut client = server.client();
    client.send(&request("PUT /body", "Content-Length: 10\r\n"));
    client.send(b"12345");
    client.end();
    client.expect_end().unwrap();
}

fn hasty() -> Options {
    Options {
        // A client on a busy machine begins its request within this.
        idle_timeout: Duration::from_secs(2),
        head_timeout: Duration::from_millis(300),
        // … and sends at all within this.
        body_window: Duration::from_secs(2),
        body_rate_bytes_min: 200,
        write_stall_timeout: Duration::from_millis(400),
        linger_timeout: Duration::from_millis(200),
        ..Options::default()
    }
}

fn now() -> Instant {
    Clock::system().now()
}

#[test]
fn a_head_that_does_not_end_in_time_is_408() {
    let server = Server::start(hasty());
    let begun = now();
    let mut client = server.client();
    client.send(b"GET /v2/ HTTP/1.1\r\nHost");
    let answer = client.answer(false).unwrap();
    assert_eq!(answer.status, 408);
    assert!(begun.elapsed() >= Duration::from_millis(200));
    client.expect_end().unwrap();
}

#[test]
fn bytes_that_keep_coming_do_not_move_the_deadline_of_a_head() {
    let server = Server::start(hasty());
    let mut client = server.client();
    client.send(b"GET /v2/ HTTP/1.1\r\nA: ");
    let begun = now();
    // Round trips to another server are the clock of this loop.
    let other = patient();
    let mut ticks = other.client();
    while begun.elapsed() < Duration::from_millis(600) {
        client.send(b"a");
        ticks.send(&request("GET /v2/", ""));
        ticks.answer(false).unwrap();
    }
    assert_eq!(client.answer(false).unwrap().status, 408);
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let server = Server::start(hasty());
    let begun = now();
    let mut client = server.client();
    client.expect_end().unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(1));
    let mut client = server.client();
    client.send(&request("GET /v2/", ""));
    assert_eq!(client.answer(false).unwrap().status, 200);
    client.expect_end().unwrap();
}

#[test]
fn a_body_below_the_rate_is_408_and_one_above_it_is_not() {
    let server = Server::start(hasty());
    let mut client = server.client();
    client.send(&request("PUT /body", "Content-Length: 5000\r\n"));
    client.send(&[b'x'; 100]);
    assert_eq!(client.answer(false).unwrap().status, 408);
    client.expect_end().unwrap();
    let mut client = server.client();
    client.send(&request("PUT /body", "Content-Length: 12000\r\n"));
    let begun = now();
    let other = patient();
    let mut ticks = other.client();
    let mut sent = 0;
    while sent < 12_000 {
        // 4 bytes per millisecond, timed by round trips to another server.
        if begun.elapsed().as_millis() * 4 >= sent {
            client.send(&[b'x'; 100]);
            sent += 100;
        }
        ticks.send(&request("GET /v2/", ""));
        ticks.answer(false).unwrap();
    }
    assert_eq!(client.answer(false).unwrap().status, 200);
}

#[test]
fn a_reader_that_takes_nothing_is_closed() {
    let server = Server::start(hasty());
    let begun = now();
    let mut client = server.client();
    client.send(&request("GET /large", ""));
    let metrics = &server.metrics.http;
    while metrics.connections_accepted.value() == 0 || metrics.connections.value() > 0 {
        assert!(begun.elapsed() < NOBODY_WAITS, "still open");
        std::thread::yield_now();
    }
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert!(client.answer(false).is_err());
}

#[test]
fn a_shutdown_closes_idle_connections_and_finishes_requests() {
    let server = patient();
    let (mut idle, mut busy) = (server.client(), server.client());
    idle.send(&request("GET /v2/", ""));
    assert_eq!(idle.answer(false).unwrap().status, 200);
    busy.send(&request(
        "PUT /body",
        "Expect: 100-continue\r\nContent-Length: 3\r\n",
    ));
    assert_eq!(busy.answer(false).unwrap().status, 100);
    server.shutdown.request();
    idle.expect_end().unwrap();
    busy.send(b"abc");
    let answer = busy.answer(false).unwrap();
    assert_eq!(
        (answer.status, answer.body.as_slice()),
        (200, b"abc".as_slice())
    );
    assert!(answer.head.contains("Connection: close"));
    busy.expect_end().unwrap();
}
