//! An upload session works through every node, whichever owns it.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use crate::support::{Cluster, Random, Registry, Request, Response, digest_of, said, wait_for};

const NAME: &str = "relayed/app";
/// What has to happen soon has happened by then.
const SOON: Duration = Duration::from_secs(30);
/// What a relayed upload may add to the memory of a node, however large it is: its
/// buffers and those of its connections.
const GROWTH_BYTES_MAX: u64 = 8 * 1024 * 1024;

struct Fleet {
    cluster: Cluster,
    addresses: Vec<SocketAddr>,
}

impl Fleet {
    fn start() -> Self {
        let cluster = Cluster::start(3);
        let addresses = cluster.addresses();
        Self { cluster, addresses }
    }

    /// A client of one node.
    fn at(&self, index: usize) -> Registry {
        Registry::new(self.addresses[index])
    }

    /// Opens a session that node `index` owns.
    fn open(&self, index: usize) -> String {
        self.at(index).open_upload(NAME)
    }

    /// How many bytes a session holds, as node `index` says.
    #[track_caller]
    fn held(&self, index: usize, session: &str) -> String {
        let status = self.at(index).get(session).expect(204);
        assert_eq!(status.only("Location"), session);
        status.only("Range").to_owned()
    }

    #[track_caller]
    fn check_held(&self, session: &str, bytes: usize) {
        for index in 0..self.addresses.len() {
            assert_eq!(self.held(index, session), range(bytes), "at {index}");
        }
    }

    #[track_caller]
    fn check_unknown(&self, session: &str) {
        for index in 0..self.addresses.len() {
            let answer = self.at(index).get(session).expect(404);
            answer.says(&["BLOB_UPLOAD_UNKNOWN"]);
        }
    }

    #[track_caller]
    fn check_blob(&self, content: &[u8]) {
        let digest = digest_of("sha256", content);
        for index in 0..self.addresses.len() {
            let got = self
                .at(index)
                .get(&format!("/v2/{NAME}/blobs/{digest}"))
                .expect(200);
            assert!(got.body == content, "at {index}");
        }
    }
}

fn range(bytes: usize) -> String {
    format!("0-{}", bytes.saturating_sub(1))
}

fn patch(session: &str, chunk: &[u8]) -> Request {
    Request::new("PATCH", session).body(chunk)
}

fn patch_at(session: &str, start: usize, chunk: &[u8]) -> Request {
    let range = format!("{start}-{}", start + chunk.len() - 1);
    patch(session, chunk).header("Content-Range", range)
}

fn close(session: &str, content: &[u8], last: &[u8]) -> Request {
    let digest = digest_of("sha256", content);
    Request::new("PUT", format!("{session}?digest={digest}")).body(last)
}

/// The lines of an answer that say something about the session.
fn shape(answer: &Response) -> (u16, Vec<String>, String) {
    let names = [
        "Location",
        "Range",
        "Docker-Upload-UUID",
        "Content-Type",
        "Retry-After",
    ];
    let headers = names.map(|name| answer.values(name).join(","));
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    (answer.status, headers.to_vec(), body)
}

/// Sends the head and a part of the body.
fn break_off(registry: &mut Registry, request: &Request, part_bytes: usize) {
    let mut message = request.head_bytes();
    message.extend_from_slice(&request.body_bytes()[..part_bytes]);
    registry.client.write(&message).unwrap();
}

#[test]
fn a_session_goes_on_through_every_node() {
    let fleet = Fleet::start();
    let mut random = Random::new(3);
    for (owner, sizes) in [
        (0, [5_000, 4_000, 3_000]),
        (1, [700_000, 1_300_000, 77]),
        (2, [1, 0, 1]),
    ] {
        let parts = sizes.map(|size| random.bytes(size));
        let content = parts.concat();
        let [first, second, third] = &parts;
        let session = fleet.open(owner);
        fleet.check_held(&session, 0);
        let (other, last) = ((owner + 1) % 3, (owner + 2) % 3);
        let answer = fleet.at(other).send(&patch(&session, first)).expect(202);
        assert_eq!(answer.only("Range"), range(first.len()));
        assert_eq!(answer.only("Location"), session);
        fleet.check_held(&session, first.len());
        let mut held = first.len();
        if !second.is_empty() {
            let answer = fleet
                .at(last)
                .send(&patch_at(&session, held, second))
                .expect(202);
            held += second.len();
            assert_eq!(answer.only("Range"), range(held));
        }
        fleet.check_held(&session, held);
        let request = close(&session, &content, third);
        let answer = fleet.at(other).send(&request).expect(201);
        assert_eq!(
            answer.only("Docker-Content-Digest"),
            digest_of("sha256", &content)
        );
        fleet.check_unknown(&session);
        fleet.check_blob(&content);
    }
}

#[test]
fn refusals_are_those_of_the_owner() {
    let fleet = Fleet::start();
    let content = Random::new(4).bytes(50_000);
    let session = fleet.open(0);
    fleet.at(1).send(&patch(&session, &content)).expect(202);
    // A gap, and an overlap.
    for start in [50_001, 0] {
        let request = patch_at(&session, start, &content);
        let expected = shape(&fleet.at(0).send(&request).expect(416));
        for index in [1, 2] {
            assert_eq!(shape(&fleet.at(index).send(&request).expect(416)), expected);
        }
    }
    fleet.check_held(&session, content.len());
    // Another repository, and an id that nobody made.
    let elsewhere = session.replace(NAME, "relayed/other");
    let forged = session.replace('b', "c");
    for target in [&elsewhere, &forged] {
        let expected = shape(&fleet.at(0).get(target).expect(404));
        for index in [1, 2] {
            assert_eq!(shape(&fleet.at(index).get(target).expect(404)), expected);
            assert_eq!(fleet.at(index).send(&patch(target, b"x")).status, 404);
            assert_eq!(fleet.at(index).call("DELETE", target).status, 404);
        }
    }
    // Another digest ends the session.
    let request = close(&session, b"something else", b"");
    fleet
        .at(2)
        .send(&request)
        .expect(400)
        .says(&["DIGEST_INVALID"]);
    fleet.check_unknown(&session);
}

#[test]
fn a_session_is_cancelled_through_any_node() {
    let fleet = Fleet::start();
    let session = fleet.open(0);
    fleet
        .at(2)
        .send(&patch(&session, &vec![1; 20_000]))
        .expect(202);
    assert_eq!(fleet.cluster.nodes[0].node.upload_files().len(), 2);
    fleet.at(1).call("DELETE", &session).expect(204);
    fleet.check_unknown(&session);
    assert_eq!(fleet.cluster.nodes[0].node.upload_files().len(), 0);
    fleet.at(1).call("DELETE", &session).expect(404);
}

#[test]
fn only_one_request_at_a_time_writes_to_a_session() {
    let fleet = Fleet::start();
    let session = fleet.open(0);
    let request = patch(&session, &vec![7; 400_000]);
    let mut writing = fleet.at(1);
    break_off(&mut writing, &request, 200_000);
    // Which of the two came first decides who waits.
    let taken = wait_for(SOON, || {
        let answer = fleet.at(2).send(&patch_at(&session, 1, b"x"));
        answer.expect_any(&[409, 416]).status == 409
    });
    assert!(taken, "the first request holds the session");
    writing
        .client
        .write(&request.body_bytes()[200_000..])
        .unwrap();
    let answer = writing.client.read_response("PATCH").unwrap().expect(202);
    assert_eq!(answer.only("Range"), range(400_000));
    fleet.check_held(&session, 400_000);
}

#[test]
fn a_large_upload_passes_through_bounded_memory() {
    const SIZE: usize = 64 * 1024 * 1024;
    let fleet = Fleet::start();
    // What a first upload allocates for good is not counted.
    let session = fleet.open(0);
    fleet
        .at(1)
        .send(&patch(&session, &vec![0; 4_000_000]))
        .expect(202);
    fleet.at(1).call("DELETE", &session).expect(204);
    let nodes = &fleet.cluster.nodes;
    let before = [0, 1].map(|index| nodes[index].node.resident_bytes_peak());
    let content = Random::new(6).bytes(SIZE);
    let session = fleet.open(0);
    fleet.at(1).send(&patch(&session, &content)).expect(202);
    let after = [0, 1].map(|index| nodes[index].node.resident_bytes_peak());
    for (before, after) in before.into_iter().zip(after) {
        let growth = after.saturating_sub(before);
        assert!(growth < GROWTH_BYTES_MAX, "{growth} bytes more");
    }
    fleet
        .at(2)
        .send(&close(&session, &content, b""))
        .expect(201);
    fleet.check_blob(&content);
}

#[test]
fn a_client_that_goes_away_loses_nothing_of_a_patch_and_all_of_a_put() {
    let fleet = Fleet::start();
    let content = Random::new(8).bytes(1_000_000);
    let session = fleet.open(0);
    let mut leaving = fleet.at(1);
    break_off(&mut leaving, &patch(&session, &content), 300_000);
    leaving.client.close();
    let kept = wait_for(SOON, || fleet.held(2, &session) == range(300_000));
    assert!(kept, "the session holds {}", fleet.held(0, &session));

    let rest = &content[300_000..];
    let mut leaving = fleet.at(1);
    break_off(&mut leaving, &close(&session, &content, rest), 400_000);
    leaving.client.close();
    // The same request again finds the session as it was acknowledged.
    let request = close(&session, &content, rest);
    let sealed = wait_for(SOON, || {
        let status = fleet.at(2).send(&request).expect_any(&[201, 409]).status;
        status == 201
    });
    assert!(sealed);
    fleet.check_blob(&content);
}

#[test]
fn a_relaying_node_that_dies_is_a_client_that_goes_away() {
    let mut fleet = Fleet::start();
    let content = Random::new(9).bytes(1_000_000);
    let session = fleet.open(0);
    let mut cut = fleet.at(1);
    break_off(&mut cut, &patch(&session, &content), 300_000);
    // The owner holds the session for it, and tells nobody yet what has come.
    let taken = wait_for(SOON, || {
        let answer = fleet.at(2).send(&patch_at(&session, 1, b"x"));
        answer.expect_any(&[409, 416]).status == 409
    });
    assert!(taken);
    fleet.cluster.nodes[1].node.kill();
    let held = || {
        let range = fleet.held(2, &session);
        range.strip_prefix("0-").unwrap().parse::<usize>().unwrap()
    };
    assert!(wait_for(SOON, || held() > 0), "what came is kept");
    let held = held() + 1;
    assert!(held <= 300_000, "{held}");
    fleet
        .at(0)
        .send(&patch_at(&session, held, &content[held..600_000]))
        .expect(202);

    fleet.cluster.nodes[1].node.restart();
    let mut cut = fleet.at(1);
    let request = close(&session, &content, &content[600_000..]);
    break_off(&mut cut, &request, 200_000);
    let taken = wait_for(SOON, || {
        let answer = fleet.at(2).send(&patch_at(&session, 1, b"x"));
        answer.expect_any(&[409, 416]).status == 409
    });
    assert!(taken);
    fleet.cluster.nodes[1].node.kill();
    let sealed = wait_for(SOON, || {
        let answer = fleet.at(2).send(&request);
        answer.expect_any(&[201, 409]).status == 201
    });
    assert!(sealed, "a PUT that was cut is repeated whole");
    fleet.cluster.nodes[1].node.restart();
    fleet.check_blob(&content);
}

#[test]
fn an_owner_that_was_killed_goes_on_at_the_last_acknowledged_byte() {
    let mut fleet = Fleet::start();
    let content = Random::new(10).bytes(900_000);
    let session = fleet.open(0);
    fleet
        .at(1)
        .send(&patch(&session, &content[..300_000]))
        .expect(202);
    // One more request is under way, and answered when its owner is gone.
    let mut cut = fleet.at(1);
    let request = patch(&session, &content[300_000..]);
    break_off(&mut cut, &request, 200_000);
    fleet.cluster.nodes[0].node.kill();
    drop(cut.client.write(&request.body_bytes()[200_000..]));
    if let Ok(answer) = cut.client.read_response("PATCH") {
        answer.expect(503);
    }
    // It may come back at any moment, so it is waited for, but not for ever.
    let requests = [Request::new("GET", &session), patch(&session, b"x")];
    let asked = requests.map(|request| {
        let mut registry = fleet.at(1);
        thread::spawn(move || registry.send(&request))
    });
    for answer in asked {
        let answer = answer.join().unwrap().expect(503);
        assert!(answer.header("Retry-After").is_some());
    }
    let deleted = fleet.at(2).call("DELETE", &session);
    deleted.expect_any(&[500, 503]);
    // Whoever waits when it comes back notices nothing.
    let (mut registry, asked) = (fleet.at(2), Request::new("GET", &session));
    let waiting = thread::spawn(move || registry.send(&asked));
    fleet.cluster.nodes[0].node.restart();
    waiting.join().unwrap().expect(204);
    fleet.check_held(&session, 300_000);
    fleet
        .at(2)
        .send(&patch_at(&session, 300_000, &content[300_000..]))
        .expect(202);
    fleet
        .at(1)
        .send(&close(&session, &content, b""))
        .expect(201);
    fleet.check_blob(&content);
}

#[test]
fn the_sessions_of_a_removed_node_are_gone() {
    let mut fleet = Fleet::start();
    let leader = fleet.cluster.leader();
    let owner = (leader + 1) % 3;
    let others = [leader, (leader + 2) % 3];
    let session = fleet.open(owner);
    fleet
        .at(leader)
        .send(&patch(&session, &[1; 1000]))
        .expect(202);
    let number = fleet.cluster.status(owner).unwrap()["node"].to_string();
    let removed = fleet.cluster.nodes[leader].operate(&["remove", &number]);
    assert!(removed.status.success(), "{}", said(&removed));
    for index in others {
        let mut registry = fleet.at(index);
        let gone = wait_for(SOON, || {
            registry.get(&session).expect_any(&[204, 404, 503]).status == 404
        });
        assert!(gone, "at {index}");
        registry
            .get(&session)
            .expect(404)
            .says(&["BLOB_UPLOAD_UNKNOWN"]);
        registry.send(&patch(&session, b"x")).expect(404);
        registry.call("DELETE", &session).expect(404);
    }
}
