//! Many who begin a handshake and go no further.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::material::{Material, NAME, configured};
use super::session::{Session, Wishes, client, connect, get};
use super::support::{Client, Node, Request, wait_for};

const HALF_OPEN_COUNTS: usize = 2000;
/// More than there is room for on the listener of operators.
const OPERATOR_COUNTS: usize = 200;
/// More than this for all of them together would be a way to use the memory up.
const GROWTH_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// What needs no more than its turn has had it by then, on a busy machine, too.
const SOON_MAX: Duration = Duration::from_secs(40);
/// Most that may be on their way: the bound of one shard, for the shards of a test
/// machine.
const SHARD_ENTRANTS_MAX: u64 = 512;

/// A handshake may take ten seconds; on a busy machine its end is seen late.
const HANDSHAKE_MIN: Duration = Duration::from_secs(9);
const HANDSHAKE_MAX: Duration = Duration::from_secs(40);
const DISPLACED: &str = "windlass_entrances_total{end=\"displaced\"}";
const TIMED_OUT: &str = "windlass_entrances_total{end=\"timed_out\"}";

/// The value of a metric without labels, or of one of its series.
fn metric(node: &Node, name: &str) -> u64 {
    let metrics = Client::new(node.admin_address).send(&Request::new("GET", "/metrics"));
    value_in(&String::from_utf8(metrics.body).unwrap(), name)
}

/// As [`metric`], where operators speak TLS.
fn metric_in_tls(node: &Node, material: &Material, name: &str) -> u64 {
    let mut session = Session::plain(node.admin_address, &material.trusted);
    let page = session.ask(&get("/metrics")).unwrap();
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    value_in(&page, name)
}

fn value_in(page: &str, name: &str) -> u64 {
    let mut lines = page.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0, |value| value.parse().unwrap())
}

#[test]
fn two_thousand_half_open_handshakes_keep_nobody_out() {
    let material = Material::new();
    let node = material.node("[runtime]\nshards = 2");
    let mut hello = Vec::new();
    let mut state = client(&material.trusted, &Wishes::default(), None);
    state.write_tls(&mut hello).unwrap();
    let before = node.resident_bytes();
    let held: Vec<_> = (0..HALF_OPEN_COUNTS)
        .map(|number| {
            let mut stream = connect(node.address);
            // Half a hello, or a whole one and no further word, or nothing at all. One
            // that has given way may be closed already.
            drop(match number % 3 {
                0 => stream.write_all(&hello[..100]),
                1 => stream.write_all(&hello),
                _ => Ok(()),
            });
            stream
        })
        .collect();
    assert!(
        wait_for(SOON_MAX, || metric(&node, DISPLACED) > 0),
        "nobody gave way"
    );
    // Who has given way is gone as soon as its task has had its turn.
    let is_bounded = || metric(&node, "windlass_entering_connections") <= 2 * SHARD_ENTRANTS_MAX;
    assert!(wait_for(SOON_MAX, is_bounded), "too many are on their way");
    let begin = Instant::now();
    for number in 0..20 {
        let mut session = Session::plain(node.address, &material.trusted);
        assert!(
            session
                .ask(&get("/v2/"))
                .unwrap()
                .starts_with("HTTP/1.1 200")
        );
        let took = begin.elapsed();
        assert!(number > 0 || took < SOON_MAX, "{took:?}");
    }
    let grown = node.resident_bytes().saturating_sub(before);
    assert!(grown < GROWTH_BYTES_MAX, "grew by {grown} bytes");
    drop(held);
    let is_over = || metric(&node, "windlass_entering_connections") == 0;
    assert!(wait_for(SOON_MAX, is_over), "places are not given back");
}

/// Opens a connection, sends `bytes` one after the other in pieces of that size, a second
/// between them, and says how long the server kept it open.
fn held(address: SocketAddr, bytes: &[u8], piece_bytes: usize) -> Duration {
    let begin = Instant::now();
    let mut stream = connect(address);
    for piece in bytes.chunks(piece_bytes) {
        stream.write_all(piece).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(1)))
            .unwrap();
        match stream.read(&mut [0; 64]) {
            Ok(1..) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => return begin.elapsed(),
        }
    }
    stream.set_read_timeout(Some(2 * HANDSHAKE_MAX)).unwrap();
    drop(stream.read_to_end(&mut Vec::new()));
    begin.elapsed()
}

/// A node whose both listeners speak TLS.
fn operated_in_tls(material: &Material) -> Node {
    material.install(&material.pair(NAME, 2090));
    let mut node = Node::prepare(material.options("admin = true\n[runtime]\nshards = 2"));
    node.spawn();
    let listens = |address: SocketAddr| TcpStream::connect(address).is_ok();
    let is_up = || listens(node.admin_address) && listens(node.address);
    assert!(wait_for(SOON_MAX, is_up), "{}", node.log_text());
    node
}

#[test]
fn operators_get_in_before_those_who_only_hold_a_place() {
    let material = Material::new();
    let node = operated_in_tls(&material);
    let begin = Instant::now();
    let mut held: Vec<_> = (0..OPERATOR_COUNTS)
        .map(|_| connect(node.admin_address))
        .collect();
    let mut first = held.remove(0);
    let ended = first.read(&mut [0; 64]);
    assert!(
        matches!(ended, Ok(0) | Err(_)) && begin.elapsed() < SOON_MAX,
        "{ended:?}"
    );
    // They hold half of the room, and who has given way is gone in a moment.
    let is_let_in = || {
        let session = Session::open(
            node.admin_address,
            &material.trusted,
            &Wishes::default(),
            None,
        );
        session.is_ok_and(|mut session| session.ask(&get("/readyz")).is_ok())
    };
    assert!(wait_for(SOON_MAX, is_let_in));
    assert!(begin.elapsed() < SOON_MAX, "{:?}", begin.elapsed());
    let displaced = metric_in_tls(&node, &material, DISPLACED);
    assert!(displaced > 0, "nobody gave way");
}

#[test]
fn who_does_not_get_through_in_ten_seconds_is_gone_on_every_listener() {
    let material = Material::new();
    let node = operated_in_tls(&material);
    let text = "[proxy]\ntrusted = ['127.0.0.0/8']\nword = 'proxy-protocol'\n";
    let behind = Node::start_with(configured(&material.path("proxy.toml"), text));
    let mut hello = Vec::new();
    let mut state = client(&material.trusted, &Wishes::default(), None);
    state.write_tls(&mut hello).unwrap();
    let half = &hello[..100];
    // Nothing; half a hello at once, and byte by byte; a whole one and nothing more.
    let ways = [(&[][..], 1), (half, 100), (half, 1), (&hello[..], 100_000)];
    let mut rows = Vec::new();
    for address in [node.address, node.admin_address] {
        rows.extend(ways.map(|(bytes, piece_bytes)| (address, bytes, piece_bytes)));
    }
    let header = b"PROXY TCP4 192.0.2.7 ";
    rows.extend(
        [(&header[..0], 1), (header, 100), (header, 1)]
            .map(|(bytes, piece_bytes)| (behind.address, bytes, piece_bytes)),
    );
    thread::scope(|scope| {
        let held = |(address, bytes, piece_bytes)| {
            scope.spawn(move || (address, held(address, bytes, piece_bytes)))
        };
        let all: Vec<_> = rows.into_iter().map(held).collect();
        for (number, one) in all.into_iter().enumerate() {
            let (address, took) = one.join().unwrap();
            assert!(
                (HANDSHAKE_MIN..HANDSHAKE_MAX).contains(&took),
                "row {number}, {address}: {took:?}"
            );
        }
    });
    // Nothing else had ended them.
    let is_counted = || metric(&behind, TIMED_OUT) == 3;
    assert!(wait_for(SOON_MAX, is_counted));
    let is_counted = || metric_in_tls(&node, &material, TIMED_OUT) == 8;
    assert!(wait_for(SOON_MAX, is_counted));
}
