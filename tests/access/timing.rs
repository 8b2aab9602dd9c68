//! How long an answer takes says nothing of what others hold.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use super::elsewhere::{metric, steps};
use super::server::{bearing, configured, token, trusting};
use crate::support::{
    Cluster, MANIFEST_TYPE, Node, Random, Registry, Request, Response, image, location, sha256,
    wait_for,
};

/// Requests of each kind in a round, taken in turns.
const SAMPLES: usize = 16;
/// What differs does so however often it is measured; what the machine did meanwhile
/// becomes less.
const ROUNDS: usize = 20;
/// Further apart can be different work: a question to other nodes, or a sync, is more
/// than that.
const RATIO_SEEN: f64 = 1.2;
/// What different steps are is counted; a machine that does much else makes the same
/// steps differ by less than this.
const RATIO_MAX: f64 = 2.0;
/// Requests of each kind of which the steps are counted.
const COUNTED: usize = 5;
/// What a node does on its own it does not do each time.
const TRIES: usize = 10;
const QUIET_MAX: Duration = Duration::from_secs(60);
/// Stands in the journal, and in a file.
const SIZES: [usize; 2] = [500, 30_000];

/// How far apart two requests are, as the ratio of the times that three in four exceed:
/// what else the machine does only adds. Measures until the ratio of all that was measured
/// is enough, or for so long that it says what is.
fn apart(
    is_enough: impl Fn(f64) -> bool,
    mut first: impl FnMut() -> Duration,
    mut second: impl FnMut() -> Duration,
) -> f64 {
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
        if is_enough(ratio) {
            break;
        }
    }
    ratio
}

/// Two requests take the same time.
#[track_caller]
fn check_time(about: &str, first: impl FnMut() -> Duration, second: impl FnMut() -> Duration) {
    let seen = apart(|ratio| ratio < RATIO_SEEN, first, second);
    assert!(seen < RATIO_MAX, "{about}: {seen}");
}

/// Read rounds asked for and made, proposals, bytes read and sent of blobs, and blobs
/// sealed, passed on while they came, and held elsewhere after that.
type Steps = [u64; 8];

/// What a node does for requests, and after them until no node has anything left to do.
fn counted(cluster: &Cluster, index: usize, ask: impl FnOnce()) -> Steps {
    let node = &cluster.nodes[index].node;
    let all = || {
        let [asked, rounds, proposals, read, sent] = steps(node);
        let [sealed, tees, holds] = [
            "windlass_blob_commits_total",
            "windlass_replication_tees_total",
            "windlass_replication_holds_total",
        ]
        .map(|name| metric(node, name, ""));
        [asked, rounds, proposals, read, sent, sealed, tees, holds]
    };
    wait_quiet(cluster);
    let before = all();
    ask();
    wait_quiet(cluster);
    let mut after = all();
    for (after, before) in after.iter_mut().zip(before) {
        *after -= before;
    }
    after
}

fn wait_quiet(cluster: &Cluster) {
    let is_quiet = |node: &Node| {
        let left = |what| metric(node, &format!("windlass_replication_{what}"), "");
        ["missing_blobs", "fetching_blobs", "unsaid_blobs"]
            .into_iter()
            .all(|what| left(what) == 0)
    };
    let are_quiet = || cluster.nodes.iter().all(|member| is_quiet(&member.node));
    assert!(wait_for(QUIET_MAX, are_quiet), "copies are under way");
}

/// Two ways take the same steps, as `is_alike` sees them.
#[track_caller]
fn check_steps(
    about: &str,
    is_alike: impl Fn(&Steps, &Steps) -> bool,
    mut first: impl FnMut() -> Steps,
    mut second: impl FnMut() -> Steps,
) {
    let mut last = None;
    for _ in 0..TRIES {
        let both = (first(), second());
        if is_alike(&both.0, &both.1) {
            return;
        }
        last = Some(both);
    }
    panic!("{about}: {last:?}");
}

/// Whether pushes of contents of that size took the same steps. After the answer, what
/// nobody held goes to the last node as well, and is told of.
fn are_pushed_alike(bytes: usize, first: &Steps, second: &Steps) -> bool {
    let file_bytes = if bytes == SIZES[1] { bytes } else { 0 };
    let [entries, bytes] = [COUNTED, COUNTED * file_bytes].map(|each| u64::try_from(each).unwrap());
    let for_answers = |&[asked, rounds, _, _, _, sealed, tees, holds]: &Steps| {
        [asked, rounds, sealed, tees, holds]
    };
    let is_whole = |&[_, _, proposals, read, sent, ..]: &Steps| {
        (entries..=2 * entries).contains(&proposals)
            && (bytes..=2 * bytes).contains(&sent)
            && read <= bytes
    };
    for_answers(first) == for_answers(second) && is_whole(first) && is_whole(second)
}

/// Pushes content to a repository, and says how long what ends that takes.
type Push = fn(&Client, &str, &[u8]) -> Duration;

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

/// Pushes what others hold and what nobody holds, each way and of each size.
fn check_pushes(
    cluster: &Cluster,
    (follower, own, others): (usize, &Client, &Client),
    fresh: &dyn Fn(usize) -> Vec<u8>,
) {
    let push: [(&str, Push); 2] = [("a push", Client::push), ("the end", Client::push_in_parts)];
    for (about, push) in push {
        for bytes in SIZES {
            let about = format!("{about} of {bytes} bytes");
            // Either comes after a push, whose copies take their time beside it.
            let pair = |is_known: bool| {
                let [first, other] = [fresh(bytes), fresh(bytes)];
                others.push("team/app", &first);
                if is_known { first } else { other }
            };
            let steps = |is_known| {
                let contents: Vec<_> = (0..COUNTED).map(|_| pair(is_known)).collect();
                counted(cluster, follower, || {
                    for content in &contents {
                        push(own, "own/app", content);
                    }
                })
            };
            let is_alike = |first: &Steps, second: &Steps| are_pushed_alike(bytes, first, second);
            check_steps(&about, is_alike, || steps(true), || steps(false));
            check_time(
                &about,
                || push(own, "own/app", &pair(true)),
                || push(own, "own/app", &pair(false)),
            );
        }
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

    // What this can see: whether another node was asked, by the steps and by the time.
    let hit = |method: &str| {
        let target = format!("/v2/own/app/blobs/{}", sha256(b"{}"));
        own.time(Request::new(method, target), 200)
    };
    let times = |ask: &dyn Fn() -> Duration| {
        counted(&cluster, follower, || {
            for _ in 0..COUNTED {
                ask();
            }
        })
    };
    let [hits, misses] = [
        times(&|| hit("HEAD")),
        times(&|| asks(&own, &absent(), "HEAD")),
    ];
    assert_ne!(hits, misses, "a read round is not counted");
    let seen = apart(
        |ratio| ratio > RATIO_SEEN,
        || hit("HEAD"),
        || asks(&own, &absent(), "HEAD"),
    );
    assert!(seen > RATIO_SEEN, "a read round is not seen: {seen}");

    for about in ["GET", "HEAD", "PUT", "POST", "manifest"] {
        for held in held.iter().chain([&held_manifest]) {
            let name = format!("{about} of {held}");
            let known = || asks(&own, held, about);
            let unknown = || asks(&own, &absent(), about);
            check_steps(&name, Steps::eq, || times(&known), || times(&unknown));
            check_time(&name, known, unknown);
        }
    }
    check_pushes(&cluster, (follower, &own, &others), &fresh);
}
