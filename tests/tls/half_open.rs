//! Many who begin a handshake and go no further.

use std::io::Write as _;
use std::time::{Duration, Instant};

use super::material::Material;
use super::session::{Session, Wishes, client, connect, get};
use super::support::{Client, Node, Request, wait_for};

const HALF_OPEN_COUNTS: usize = 2000;
/// More than this for all of them together would be a way to use the memory up.
const GROWTH_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Another one comes in at once, not when the time of a handshake is up (ten seconds).
const OTHERS_MAX: Duration = Duration::from_secs(8);
/// What needs no more than its turn has had it by then, on a busy machine, too.
const SOON_MAX: Duration = Duration::from_secs(30);
/// Most that may be on their way: the bound of one shard, for the shards of a test
/// machine.
const SHARD_ENTRANTS_MAX: u64 = 512;

/// The value of a metric without labels, or of one of its series.
fn metric(node: &Node, name: &str) -> u64 {
    let metrics = Client::new(node.admin_address).send(&Request::new("GET", "/metrics"));
    let text = String::from_utf8(metrics.body).unwrap();
    let mut lines = text.lines();
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
    let displaced = "windlass_entrances_total{end=\"displaced\"}";
    assert!(
        wait_for(SOON_MAX, || metric(&node, displaced) > 0),
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
        assert!(number > 0 || took < OTHERS_MAX, "{took:?}");
    }
    let grown = node.resident_bytes().saturating_sub(before);
    assert!(grown < GROWTH_BYTES_MAX, "grew by {grown} bytes");
    drop(held);
    let is_over = || metric(&node, "windlass_entering_connections") == 0;
    assert!(wait_for(SOON_MAX, is_over), "places are not given back");
}
