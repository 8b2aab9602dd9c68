//! How long an answer takes says nothing of what others hold.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use super::server::{bearing, configured, token, trusting};
use crate::support::{
    Cluster, MANIFEST_TYPE, Random, Registry, Request, Response, image, location, sha256,
};

/// Requests of each kind in a round, taken in turns.
const SAMPLES: usize = 16;
/// What differs does so however often it is measured; what the machine did meanwhile
/// becomes less.
const ROUNDS: usize = 20;
/// Further apart is different work: a question to other nodes, or a sync, is more than
/// that.
const RATIO_MAX: f64 = 1.2;
/// Stands in the journal, and in a file.
const SIZES: [usize; 2] = [500, 30_000];

/// How far apart two requests are, as the ratio of the times that three in four exceed:
/// what else the machine does only adds. Measures until they are not, or for so long that
/// they are.
fn apart(mut first: impl FnMut() -> Duration, mut second: impl FnMut() -> Duration) -> f64 {
    let mut taken = [Vec::new(), Vec::new()];
    let mut ratio = f64::INFINITY;
    for _ in 0..ROUNDS {
        for turn in 0..SAMPLES {
            // What the one leaves behind is the other's in every second turn only.
            if turn % 2 == 0 {
                taken[0].push(first());
                taken[1].push(second());
            } else {
                taken[1].push(second());
                taken[0].push(first());
            }
        }
        let [first, second] = taken.each_mut().map(|taken| {
            taken.sort_unstable();
            taken[taken.len() / 4].as_secs_f64()
        });
        ratio = (first / second).max(second / first);
        if ratio < RATIO_MAX {
            break;
        }
    }
    ratio
}

/// Somebody with a token, at one node.
struct Client {
    registry: RefCell<Registry>,
    token: String,
}

impl Client {
    fn new(cluster: &Cluster, index: usize, repository: &str) -> Self {
        let registry = Registry::new(cluster.addresses()[index]);
        Self {
            registry: RefCell::new(registry),
            token: token(&format!("repository:{repository}:pull,push")),
        }
    }

    fn ask(&self, request: Request) -> Response {
        self.registry
            .borrow_mut()
            .send(&bearing(request, &self.token))
    }

    /// How long an answer takes, which must have this status.
    fn time(&self, request: Request, status: u16) -> Duration {
        let request = bearing(request, &self.token);
        let begin = Instant::now();
        let response = self.registry.borrow_mut().send(&request);
        let taken = begin.elapsed();
        response.expect(status);
        taken
    }

    fn push(&self, repository: &str, content: &[u8]) -> Duration {
        let target = format!("/v2/{repository}/blobs/uploads/?digest={}", sha256(content));
        self.time(Request::new("POST", target).body(content), 201)
    }

    /// How long the end of a session takes.
    fn push_in_parts(&self, repository: &str, content: &[u8]) -> Duration {
        let target = format!("/v2/{repository}/blobs/uploads/");
        let session = location(&self.ask(Request::new("POST", target)).expect(202));
        let patch = Request::new("PATCH", session).body(content);
        let session = location(&self.ask(patch).expect(202));
        let target = format!("{session}?digest={}", sha256(content));
        self.time(Request::new("PUT", target).body(""), 201)
    }
}

/// What a request does with a digest, by its name.
fn asks(own: &Client, digest: &str, about: &str) -> Duration {
    let at = |rest: String| format!("/v2/own/app/{rest}");
    match about {
        "PUT" => {
            let layer = (digest, SIZES[1]);
            let manifest = image((&sha256(b"{}"), 2), &[layer]).to_string();
            let request = Request::new("PUT", at("manifests/latest".to_owned()));
            let request = request.header("Content-Type", MANIFEST_TYPE);
            own.time(request.body(manifest), 404)
        }
        "POST" => {
            let target = at(format!("blobs/uploads/?mount={digest}&from=team/app"));
            own.time(Request::new("POST", target), 202)
        }
        "manifest" => own.time(Request::new("GET", at(format!("manifests/{digest}"))), 404),
        method => own.time(Request::new(method, at(format!("blobs/{digest}"))), 404),
    }
}

#[test]
fn what_others_hold_and_what_nobody_holds_take_the_same_time() {
    let (_home, options) = configured(&trusting(""));
    let mut cluster = Cluster::start_with(3, &options);
    let follower = (cluster.leader() + 1) % 3;
    let own = Client::new(&cluster, follower, "own/app");
    let others = Client::new(&cluster, follower, "team/app");
    let random = RefCell::new(Random::new(3));
    let fresh = |bytes| random.borrow_mut().bytes(bytes);
    own.push("own/app", b"{}");
    let held = SIZES.map(|bytes| {
        let content = fresh(bytes);
        others.push("team/app", &content);
        sha256(&content)
    });
    let held_manifest = {
        others.push("team/app", b"{}");
        let manifest = image((&sha256(b"{}"), 2), &[]).to_string();
        let request = Request::new("PUT", "/v2/team/app/manifests/latest");
        let request = request.header("Content-Type", MANIFEST_TYPE);
        let stored = others.ask(request.body(manifest.as_str())).expect(201);
        stored.only("Docker-Content-Digest").to_owned()
    };
    let absent = || sha256(&fresh(8));

    // What this can see: whether another node was asked.
    let hit = |method: &str| {
        let target = format!("/v2/own/app/blobs/{}", sha256(b"{}"));
        own.time(Request::new(method, target), 200)
    };
    let seen = apart(|| hit("HEAD"), || asks(&own, &absent(), "HEAD"));
    assert!(seen > RATIO_MAX, "a read round is not seen: {seen}");

    for about in ["GET", "HEAD", "PUT", "POST", "manifest"] {
        for held in held.iter().chain([&held_manifest]) {
            let seen = apart(|| asks(&own, held, about), || asks(&own, &absent(), about));
            assert!(seen < RATIO_MAX, "{about} of {held}: {seen}");
        }
    }
    for bytes in SIZES {
        let pushed_before = || {
            let content = fresh(bytes);
            others.push("team/app", &content);
            content
        };
        let seen = apart(
            || own.push("own/app", &pushed_before()),
            || own.push("own/app", &fresh(bytes)),
        );
        assert!(seen < RATIO_MAX, "a push of {bytes} bytes: {seen}");
        let seen = apart(
            || own.push_in_parts("own/app", &pushed_before()),
            || own.push_in_parts("own/app", &fresh(bytes)),
        );
        assert!(seen < RATIO_MAX, "the end of {bytes} bytes: {seen}");
    }
}
