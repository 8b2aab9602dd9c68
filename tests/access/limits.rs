//! How much one client may ask: rates, uploads at a time, wrong passwords.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::server::{bearing, configured, signed, trusting};
use super::users::{basic, options};
use crate::support::{Client, Node, Registry, Request, Response, wait_for};

/// A rate so low that nothing comes back while a test runs.
const RATE: &str = "requests_per_second = 1\nrequest_burst = 20\n";
/// What is refused is answered at once.
const AT_ONCE: Duration = Duration::from_millis(900);

fn node(text: &str) -> (tempfile::TempDir, Node) {
    let (home, options) = configured(text);
    (home, Node::start_with(options))
}

#[track_caller]
fn check_refusal(response: &Response) {
    assert_eq!(response.code(), "TOOMANYREQUESTS");
    let wait: u64 = response.only("Retry-After").parse().unwrap();
    assert!((1..=20).contains(&wait), "{wait}");
}

/// The counter of what was refused.
fn limited(node: &Node, limit: &str) -> u64 {
    let page = Client::new(node.admin_address).send(&Request::new("GET", "/metrics"));
    let page = String::from_utf8(page.body).unwrap();
    let name = format!("windlass_access_limited_total{{limit=\"{limit}\"}} ");
    let value = page.lines().find_map(|line| line.strip_prefix(&name));
    value.unwrap().parse().unwrap()
}

#[test]
fn an_address_has_one_rate_on_all_shards_and_is_told_to_wait() {
    let (_home, node) = node(&format!("[limits.address]\n{RATE}"));
    let begin = Instant::now();
    // Connections of their own land on either shard.
    let answers: Vec<Response> = (0..60)
        .map(|_| Registry::new(node.address).get("/v2/"))
        .collect();
    let taken = answers.iter().filter(|one| one.status == 200).count();
    let gained = usize::try_from(begin.elapsed().as_secs()).unwrap() + 1;
    assert!((20..=20 + gained).contains(&taken), "{taken}");
    for refused in answers.iter().filter(|one| one.status != 200) {
        assert_eq!(refused.status, 429);
        check_refusal(refused);
    }
    let refused = u64::try_from(answers.len() - taken).unwrap();
    assert!(limited(&node, "address_rate") >= refused);
    // A refused request leaves its connection usable, HEAD has no body.
    let mut registry = Registry::new(node.address);
    let refused = registry.call("HEAD", "/v2/");
    assert_eq!((refused.status, refused.body.len()), (429, 0));
    assert!(wait_for(Duration::from_secs(10), || {
        registry.get("/v2/").status == 200
    }));
    // Operators are not clients.
    for _ in 0..60 {
        let mut operator = Client::new(node.admin_address);
        assert_eq!(operator.send(&Request::new("GET", "/livez")).status, 200);
    }
}

#[test]
fn exempt_networks_are_held_to_nothing() {
    let text = "[limits]\nexempt_networks = ['127.77.0.0/16', '127.0.0.0/24']\n";
    let (_home, node) = node(&format!("{text}[limits.address]\n{RATE}uploads_max = 1\n"));
    let mut registry = Registry::new(node.address);
    for _ in 0..60 {
        registry.get("/v2/").expect(200);
    }
}

#[test]
fn a_user_has_one_rate_whatever_it_shows() {
    let (_home, node) = node(&trusting(&format!("[limits.subject]\n{RATE}")));
    let claims = |user: &str, number: u32| {
        let mut claims = super::server::claims("repository:a/b:pull");
        claims["sub"] = user.into();
        claims["jti"] = number.into();
        claims
    };
    let mut registry = Registry::new(node.address);
    let mut get = |user, number| {
        let request = Request::new("GET", "/v2/");
        registry.send(&bearing(request, &signed(&claims(user, number))))
    };
    let begin = Instant::now();
    let mut refused = 0;
    for number in 0..40 {
        let answer = get("bob", number);
        if answer.status != 200 {
            assert_eq!(answer.status, 429);
            check_refusal(&answer);
            refused += 1;
        }
    }
    // What came back while the requests were made is taken, too.
    let gained = begin.elapsed().as_secs() + 1;
    assert!(
        (20_u64.saturating_sub(gained)..=20).contains(&refused),
        "{refused}"
    );
    assert_eq!(get("eve", 0).status, 200);
    assert_eq!(limited(&node, "subject_rate"), refused);
    // Who shows nothing has no bucket to empty.
    for _ in 0..40 {
        Registry::new(node.address).get("/v2/").expect(401);
    }
}

#[test]
fn uploads_at_a_time_are_bounded_and_places_come_back() {
    let (_home, node) = node("[limits.address]\nuploads_max = 2\n");
    let limit = || limited(&node, "address_uploads");
    check_uploads(&node, "", limit, |request| request);
}

#[test]
fn uploads_of_one_user_at_a_time_are_bounded_and_those_of_others_are_not() {
    let (_home, node) = node(&trusting("[limits.subject]\nuploads_max = 2\n"));
    let of = |user: &str| {
        let mut claims = super::server::claims("repository:a/b:pull,push");
        claims["sub"] = user.into();
        signed(&claims)
    };
    let [bob, eve] = ["bob", "eve"].map(of);
    let others = || {
        let post = Request::new("POST", "/v2/a/b/blobs/uploads/");
        Registry::new(node.address)
            .send(&bearing(post, &eve))
            .expect(202);
        limited(&node, "subject_uploads")
    };
    let authorization = format!("Authorization: Bearer {bob}\r\n");
    check_uploads(&node, &authorization, others, |request| {
        bearing(request, &bob)
    });
}

/// Holds as many uploads as one may have; `limited` is asked meanwhile, too.
fn check_uploads(
    node: &Node,
    authorization: &str,
    limited: impl Fn() -> u64,
    show: impl Fn(Request) -> Request,
) {
    let target = "/v2/a/b/blobs/uploads/";
    let digest = crate::support::sha256(b"whole");
    // Two that do not come to an end.
    let slow = || {
        let mut stream = TcpStream::connect(node.address).unwrap();
        let head = format!(
            "POST {target}?digest={digest} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\
             {authorization}Expect: 100-continue\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut word = [0; 12];
        stream.read_exact(&mut word).unwrap();
        assert_eq!(&word, b"HTTP/1.1 100");
        stream
    };
    let held = [slow(), slow()];
    let mut registry = Registry::new(node.address);
    let post = || show(Request::new("POST", target).body(""));
    let refused = registry.send(&post());
    assert_eq!(refused.status, 429);
    check_refusal(&refused);
    // What brings no bytes goes on.
    registry
        .send(&show(Request::new("GET", "/v2/")))
        .expect(200);
    assert!(limited() >= 1);
    drop(held);
    assert!(wait_for(Duration::from_secs(10), || {
        registry.send(&post()).status == 202
    }));
    for _ in 0..20 {
        registry.send(&post()).expect(202);
    }
}

#[test]
fn who_guesses_passwords_waits_for_each_and_is_soon_not_listened_to() {
    let (_home, _configuration, mut options) = options();
    let level = ("WINDLASS_AUDIT__LEVEL".to_owned(), "all".to_owned());
    options.environment.push(level);
    let node = Node::start_with(options);
    let guess = || {
        let begin = Instant::now();
        let request = basic(Request::new("GET", "/v2/"), "bob:wrong");
        let response = Registry::new(node.address).send(&request);
        (response, begin.elapsed())
    };
    let begin = Instant::now();
    // Four at a time, as many as may be under way.
    let count: usize = std::thread::scope(|scope| {
        let lane = || {
            let wrong = (0..60).map_while(|_| {
                let (response, took) = guess();
                assert!(response.status == 429 || took >= AT_ONCE, "{took:?}");
                (response.status == 401).then_some(())
            });
            wrong.count()
        };
        let lanes = [(); 4].map(|()| scope.spawn(lane));
        lanes.into_iter().map(|lane| lane.join().unwrap()).sum()
    });
    // Thirty, and one more in every three seconds.
    let gained = usize::try_from(begin.elapsed().as_secs() / 3).unwrap();
    assert!((30..=40 + gained).contains(&count), "{count}");
    // Nothing waits and nothing is hashed any more: on a busy machine an answer may
    // come late, not each of them.
    let refusals: Vec<_> = (0..20).map(|_| guess()).collect();
    let refusals = refusals.into_iter().filter(|one| one.0.status == 429);
    let (refused, took) = refusals.min_by_key(|one| one.1).expect("a refusal");
    check_refusal(&refused);
    assert!(took < AT_ONCE, "{took:?}");
    let message = refused.json()["errors"][0]["message"].to_string();
    assert!(
        message.contains("wrong passwords from this address"),
        "{message}"
    );
    assert!(limited(&node, "address_logins") > 0);
    // Nor does it fill the audit log, by whichever way.
    let login = basic(Request::new("GET", "/token"), "bob:wrong");
    let refused = Registry::new(node.address).send(&login);
    assert_eq!(refused.status, 429);
    let id = refused.only("X-Request-Id").to_owned();
    let is_said = |line: &str| line.contains("windlass::audit") && line.contains(&id);
    let log = || node.log_text();
    assert!(wait_for(Duration::from_secs(10), || log().contains(&id)));
    assert!(!log().lines().any(is_said));
    // Who shows no password goes on.
    Registry::new(node.address).get("/v2/").expect(401);
    let is_listened_to = || guess().0.status == 401;
    assert!(wait_for(Duration::from_secs(30), is_listened_to));
}
