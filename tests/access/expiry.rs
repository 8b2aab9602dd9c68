//! Credentials that end while something is under way: they are checked when a request
//! starts, and an upload session outlives them.

use std::net::SocketAddr;
use std::time::Duration;

use super::robots::{basic, create};
use super::server::{bearing, claims, configured, now_seconds, signed, token, trusting};
use crate::support::{
    Client, Node, NodeOptions, Random, Registry, Request, Response, location, sha256, wait_for,
};

const SCOPE: &str = "repository:team/app:pull,push";
/// Tokens are taken for a minute longer than they say.
const LEEWAY_SECONDS: u64 = 60;
/// Time to begin everything that should be under way, on a slow machine, too; the tests
/// wait for its end beside each other.
const LIFE_SECONDS: u64 = 15;
const END_MAX: Duration = Duration::from_secs(60);
/// What a server says that has let a request in and wants its body.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// More than the sockets between take, and what is read while time passes.
const LARGE_BYTES: usize = 24_000_000;
const TAKEN_BYTES: usize = 4_096;
const PARTS: [&[u8]; 2] = [b"begun before ", b"and ended after"];

/// A request that was let in, and whose second half is not sent yet.
struct Half {
    client: Client,
    about: String,
}

impl Half {
    fn begin(address: SocketAddr, request: Request) -> Self {
        let mut client = Client::new(address);
        let request = request.header("Expect", "100-continue");
        let request = request.body(PARTS.concat());
        let about = String::from_utf8(request.head_bytes()).unwrap();
        client.write(&request.head_bytes()).unwrap();
        let mut said = vec![0; CONTINUE.len()];
        let mut filled = 0;
        while filled < said.len() {
            let count = client.read_some(&mut said[filled..]).unwrap();
            assert_ne!(count, 0, "{about}: closed");
            filled += count;
        }
        let text = String::from_utf8_lossy(&said);
        assert_eq!(said, CONTINUE, "{about}: {text}");
        client.write(PARTS[0]).unwrap();
        Self { client, about }
    }

    fn end(mut self) -> Response {
        self.client.write(PARTS[1]).unwrap();
        self.client.read_response(&self.about).unwrap()
    }
}

/// Shows credentials in a request.
type Show = Box<dyn Fn(Request) -> Request>;

/// Begins everything with credentials that end, and ends it without. They are made when
/// everything is ready.
fn check(node: &Node, fresh: &Show, short: impl FnOnce() -> Show) {
    let mut registry = Registry::steady(node.address);
    let whole = PARTS.concat();
    let digest = sha256(&whole);
    let large = Random::new(8).bytes(LARGE_BYTES);
    let uploads = "/v2/team/app/blobs/uploads/";
    let target = format!("{uploads}?digest={}", sha256(&large));
    let push = fresh(Request::new("POST", target).body(large.clone()));
    registry.send(&push).expect(201);

    let short = short();
    let mut sessions = [(); 3].map(|()| {
        let begin = short(Request::new("POST", uploads));
        location(&registry.send(&begin).expect(202))
    });
    let begun = short(Request::new("PATCH", &sessions[0]).body(PARTS[0]));
    sessions[0] = location(&registry.send(&begun).expect(202));
    let chunk = Half::begin(node.address, short(Request::new("PATCH", &sessions[1])));
    let close = format!("{}?digest={digest}", sessions[2]);
    let close = Half::begin(node.address, short(Request::new("PUT", close)));
    let post = short(Request::new("POST", format!("{uploads}?digest={digest}")));
    let post = Half::begin(node.address, post);
    let mut pull = Client::new(node.address);
    let blob = format!("/v2/team/app/blobs/{}", sha256(&large));
    let request = short(Request::new("GET", blob));
    pull.write(&request.head_bytes()).unwrap();
    assert_eq!(pull.read_head("GET").unwrap().status, 200);

    // The end comes on a connection on which the credentials were good.
    let ping = short(Request::new("GET", "/v2/"));
    registry.send(&ping).expect(200);
    let mut content = vec![0; LARGE_BYTES];
    let mut filled = 0;
    assert!(wait_for(END_MAX, || {
        // A client that takes nothing at all is cut off in the end.
        let piece_end = filled + TAKEN_BYTES;
        filled += pull.read_some(&mut content[filled..piece_end]).unwrap();
        registry.send(&ping).status == 401
    }));
    assert!(registry.client.is_connected());
    for request in [
        Request::new("GET", &sessions[0]),
        Request::new("PATCH", &sessions[0]).body(PARTS[1]),
        Request::new("PUT", format!("{}?digest={digest}", sessions[0])).body(PARTS[1]),
        Request::new("DELETE", &sessions[0]),
    ] {
        let refused = registry.send(&short(request)).expect(401);
        let challenge = refused.only("WWW-Authenticate");
        assert!(
            challenge.ends_with("error=\"invalid_token\""),
            "{challenge}"
        );
    }

    // What was under way ends well.
    let held = chunk.end().expect(202);
    assert_eq!(held.only("Range"), format!("0-{}", whole.len() - 1));
    close.end().expect(201);
    post.end().expect(201);
    while filled < LARGE_BYTES {
        let count = pull.read_some(&mut content[filled..]).unwrap();
        assert_ne!(count, 0, "cut after {filled} bytes");
        filled += count;
    }
    assert!(content == large);

    // The sessions go on with whoever may push now.
    let status = registry.send(&fresh(Request::new("GET", &sessions[0])));
    let status = status.expect(204);
    assert_eq!(status.only("Range"), format!("0-{}", PARTS[0].len() - 1));
    let rest = fresh(Request::new("PATCH", location(&status)).body(PARTS[1]));
    let session = location(&registry.send(&rest).expect(202));
    for session in [session, location(&held)] {
        let close = Request::new("PUT", format!("{session}?digest={digest}"));
        registry.send(&fresh(close.body(""))).expect(201);
    }
}

fn node(text: &str) -> (tempfile::TempDir, Node) {
    let (home, options): (_, NodeOptions) = configured(text);
    (home, Node::start_with(options))
}

#[test]
fn a_token_may_end_before_what_it_began() {
    let (_home, node) = node(&trusting(""));
    let show = |token: String| -> Show { Box::new(move |request| bearing(request, &token)) };
    check(&node, &show(token(SCOPE)), || {
        let mut short = claims(SCOPE);
        short["exp"] = (now_seconds() - LEEWAY_SECONDS + LIFE_SECONDS).into();
        show(signed(&short))
    });
}

#[test]
fn a_robot_may_end_before_what_it_began() {
    let (_home, node) = node("[auth]\nmode = 'users'\n");
    let robot = |name: &'static str, more: &[&str]| -> Show {
        let secret = create(node.admin_address, name, &["team/app:pull,push"], more);
        Box::new(move |request| basic(request, name, &secret))
    };
    let life = format!("{LIFE_SECONDS}s");
    check(&node, &robot("fresh", &[]), || {
        robot("short", &["--expires", &life])
    });
}
