//! end-2 with `Range`: every form, clamped, refused or ignored.

use super::support::{Random, Registry, Request, Response};
use super::{registry, repository};

struct Fixture {
    registry: Registry,
    target: String,
    content: Vec<u8>,
}

impl Fixture {
    fn new(name: &str, size: usize) -> Self {
        let mut registry = registry();
        let name = repository(name);
        let content = Random::new(21).bytes(size);
        let digest = registry.push_blob(&name, &content);
        let target = format!("/v2/{name}/blobs/{digest}");
        Self {
            registry,
            target,
            content,
        }
    }

    fn ask(&mut self, range: &str) -> Response {
        let request = Request::new("GET", &self.target).header("Range", range);
        self.registry.send(&request)
    }

    fn expect_part(&mut self, range: &str, start: usize, end: usize) {
        let size = self.content.len();
        let answer = self.ask(range).expect(206);
        assert_eq!(
            answer.only("Content-Range"),
            format!("bytes {start}-{}/{size}", end - 1),
            "{range}"
        );
        assert_eq!(
            answer.only("Content-Length"),
            (end - start).to_string(),
            "{range}"
        );
        assert!(answer.body == self.content[start..end], "{range} of {size}");
    }
}

#[test]
fn parts_are_exact_at_every_edge() {
    for size in [1, 100, 20_000, 1_500_000] {
        let mut fixture = Fixture::new("ranges", size);
        let last = size - 1;
        fixture.expect_part("bytes=0-", 0, size);
        fixture.expect_part("bytes=0-0", 0, 1);
        fixture.expect_part(&format!("bytes=0-{last}"), 0, size);
        fixture.expect_part(&format!("bytes={last}-"), last, size);
        fixture.expect_part(&format!("bytes={last}-{last}"), last, size);
        fixture.expect_part("bytes=-1", last, size);
        fixture.expect_part(&format!("bytes=-{size}"), 0, size);
        fixture.expect_part(&format!("bytes=-{}", size + 10), 0, size);
        fixture.expect_part(&format!("bytes=0-{}", size + 10), 0, size);
        fixture.expect_part("bytes=0-9999999999999", 0, size);
        fixture.expect_part(&format!("bytes={}-", size / 2), size / 2, size);
    }
}

#[test]
fn parts_cross_sectors_and_extents() {
    let mut fixture = Fixture::new("extents", 2_500_000);
    let mut random = Random::new(22);
    for edge in [4096, 65_536, 524_288, 1_048_576, 2_097_152] {
        for (start, end) in [(edge - 1, edge), (edge - 1, edge + 1), (edge, edge + 1)] {
            fixture.expect_part(&format!("bytes={start}-{}", end - 1), start, end);
        }
    }
    for _ in 0..20 {
        let start = random.below(2_500_000);
        let end = start + 1 + random.below(2_500_000 - start);
        fixture.expect_part(&format!("bytes={start}-{}", end - 1), start, end);
    }
}

#[test]
fn ranges_outside_the_blob_are_416_with_its_size() {
    let mut fixture = Fixture::new("unsatisfiable", 100);
    for range in [
        "bytes=100-",
        "bytes=100-200",
        "bytes=99999999999-",
        "bytes=-0",
    ] {
        let answer = fixture.ask(range).expect(416);
        assert_eq!(answer.only("Content-Range"), "bytes */100", "{range}");
    }
    let answer = fixture.ask("bytes=5-4").expect(416);
    assert_eq!(answer.only("Content-Range"), "bytes */100");
    let mut empty = Fixture::new("empty", 0);
    assert_eq!(
        empty.ask("bytes=0-").expect(416).only("Content-Range"),
        "bytes */0"
    );
}

#[test]
fn several_ranges_and_other_units_give_the_whole_blob() {
    let mut fixture = Fixture::new("ignored", 1000);
    for range in [
        "bytes=0-1,5-6",
        "items=0-1",
        "bytes",
        "bytes=a-b",
        "bytes=-",
        "0-1",
    ] {
        let answer = fixture.ask(range).expect(200);
        assert_eq!(answer.only("Content-Length"), "1000", "{range}");
        assert!(answer.body == fixture.content);
    }
}

#[test]
fn head_with_a_range_agrees_with_get() {
    let mut fixture = Fixture::new("head-range", 5000);
    let get = fixture.ask("bytes=10-19");
    let request = Request::new("HEAD", &fixture.target).header("Range", "bytes=10-19");
    let head = fixture.registry.send(&request);
    assert_eq!(head.status, get.status);
    assert_eq!(head.only("Content-Length"), get.only("Content-Length"));
    assert_eq!(head.header("Content-Range"), get.header("Content-Range"));
}

#[test]
fn a_broken_pull_is_resumed_where_it_stopped() {
    let mut fixture = Fixture::new("resume", 3_000_000);
    let mut received = Vec::new();
    while received.len() < fixture.content.len() {
        let range = format!("bytes={}-", received.len());
        let request = Request::new("GET", &fixture.target).header("Range", range);
        fixture
            .registry
            .client
            .write(&request.head_bytes())
            .unwrap();
        fixture
            .registry
            .client
            .read_head("GET")
            .unwrap()
            .expect(206);
        let mut piece = vec![0; 700_000];
        let mut filled = 0;
        while filled < piece.len() && received.len() + filled < fixture.content.len() {
            filled += fixture
                .registry
                .client
                .read_some(&mut piece[filled..])
                .unwrap();
        }
        received.extend_from_slice(&piece[..filled]);
        fixture.registry.client.close();
    }
    assert!(received == fixture.content);
}
