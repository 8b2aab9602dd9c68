//! Users with passwords, and the tokens that the registry makes for them.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tempfile::TempDir;

use super::server::{bearing, claims, configured, forged, signed};
use crate::support::{Cluster, Node, NodeOptions, Registry, Request, Response, sha256, wait_for};

/// Cheap hashes (bcrypt of cost 4) of `sesame` and `open`.
const BOB: &str = "bob:$2b$04$/A30yEJFPP44kizfGSyG..OFyoCm2ol/RNYNhOb8CIqy3wEEe6k/i";
const EVE: &str = "eve:$2b$04$M/LIh64N0xqUSe/.t/NH9.kgINJd2mvCRDZdy8MX1/d2bG7fuxNfa";
const RULES: &str = "
[[auth.rules]]
comment = 'bob owns team'
subject.username = 'bob'
resource.repository.starts = 'team/'
actions = ['pull', 'push', 'delete']
[[auth.rules]]
comment = 'public'
subject.anonymous = true
resource.repository.glob = 'public/*'
actions = ['pull']
[[auth.rules]]
subject.username = 'eve'
resource.repository.glob = 'public/*'
actions = ['push']
";

fn write_users(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(beside, path).unwrap();
}

/// A node with two users; the folders live as long as it.
pub(crate) fn options() -> (TempDir, TempDir, NodeOptions) {
    let home = tempfile::tempdir().unwrap();
    let users = home.path().join("users");
    write_users(&users, &format!("# ours\n{EVE}\n"));
    let text = format!(
        "[auth]\nmode = 'users'\nusers = ['{BOB}']\nusers_file = '{}'\n{RULES}",
        users.display()
    );
    let (configuration, options) = configured(&text);
    (home, configuration, options)
}

/// A request that shows a password.
pub(crate) fn basic(request: Request, login: &str) -> Request {
    request.header("Authorization", format!("Basic {}", STANDARD.encode(login)))
}

fn get(registry: &mut Registry, target: &str, login: &str) -> Response {
    registry.send(&basic(Request::new("GET", target), login))
}

#[track_caller]
fn token_of(registry: &mut Registry, query: &str, login: Option<&str>) -> Value {
    let request = Request::new("GET", format!("/token?service=windlass&{query}"));
    let request = match login {
        Some(login) => basic(request, login),
        None => request,
    };
    let answer = registry.send(&request).expect(200).json();
    assert_eq!(answer["token"], answer["access_token"]);
    assert_eq!(answer["expires_in"], 300);
    assert!(answer["issued_at"].as_str().unwrap().ends_with('Z'));
    answer
}

fn text<'a>(answer: &'a Value, member: &str) -> &'a str {
    answer[member].as_str().unwrap()
}

fn push(repository: &str) -> Request {
    let target = format!("/v2/{repository}/blobs/uploads/?digest={}", sha256(b"{}"));
    Request::new("POST", target).body("{}")
}

#[test]
fn passwords_get_tokens_for_what_the_rules_give() {
    let (_home, _configuration, options) = options();
    let node = Node::start_with(options);
    let mut registry = Registry::new(node.address);
    let challenge = registry.get("/v2/").expect(401);
    let realm = format!(
        "Bearer realm=\"http://{}/token\",service=\"windlass\"",
        node.address
    );
    assert_eq!(challenge.only("WWW-Authenticate"), realm);

    let query = "scope=repository:team/app:pull,push&scope=repository:eve/app:pull&account=bob";
    let answer = token_of(&mut registry, query, Some("bob:sesame"));
    assert_eq!(text(&answer, "scope"), "repository:team/app:pull,push");
    assert!(answer.get("refresh_token").is_none());
    let token = text(&answer, "token").to_owned();
    registry
        .send(&bearing(Request::new("GET", "/v2/"), &token))
        .expect(200);
    registry
        .send(&bearing(push("team/app"), &token))
        .expect(201);
    registry
        .send(&bearing(push("team/other"), &token))
        .expect(401);

    let answer = token_of(&mut registry, "scope=repository:public/app:pull,push", None);
    assert_eq!(text(&answer, "scope"), "repository:public/app:pull");
    for login in ["bob:wrong", "bob:", "mallory:sesame", "eve:sesame"] {
        let request = basic(Request::new("GET", "/token"), login);
        let refused = registry.send(&request).expect(401);
        assert!(refused.only("WWW-Authenticate").starts_with("Basic realm="));
        let [known, unknown] = ["bob:wrong", "mallory:wrong"].map(|login| {
            registry
                .send(&basic(Request::new("GET", "/token"), login))
                .body
        });
        assert_eq!(known, unknown);
    }
}

#[test]
fn an_old_hash_is_good_and_its_user_is_named() {
    let old = "amy:$apr1$saltsalt$1wcO0UXrrrYuRqru5simD1";
    let (_configuration, options) = configured(&format!(
        "[auth]\nmode = 'users'\nusers = ['{BOB}', '{old}']\n"
    ));
    let node = Node::start_with(options);
    let mut registry = Registry::new(node.address);
    get(&mut registry, "/v2/", "amy:sesame").expect(200);
    get(&mut registry, "/v2/", "amy:Sesame").expect(401);
    let log = node.log_text();
    let warned: Vec<_> = log
        .lines()
        .filter(|line| line.contains("md5-crypt"))
        .collect();
    assert_eq!(warned.len(), 1, "{log}");
    assert!(warned[0].contains("amy") && warned[0].contains("hash-password"));
    assert!(!log.contains("$apr1$"));
}

#[test]
fn passwords_also_work_without_tokens() {
    let (_home, _configuration, options) = options();
    let node = Node::start_with(options);
    let mut registry = Registry::new(node.address);
    get(&mut registry, "/v2/", "bob:sesame").expect(200);
    get(&mut registry, "/v2/", "bob:wrong").expect(401);
    registry
        .send(&basic(push("team/app"), "bob:sesame"))
        .expect(201);
    registry
        .send(&basic(push("public/app"), "eve:open"))
        .expect(201);
    let line = |node: &Node| {
        let log = node.log_text();
        let line = log.lines().find(|line| line.contains("windlass::audit"));
        line.map(|line| serde_json::from_str::<Value>(line).unwrap())
    };
    assert!(wait_for(Duration::from_secs(10), || line(&node).is_some()));
    let line = line(&node).unwrap();
    assert_eq!(text(&line, "user"), "bob");
    assert_eq!(text(&line, "allowed_by"), "rule 1 (bob owns team)");
    assert_eq!(text(&line, "path"), "/v2/team/app/blobs/uploads/");
    assert_eq!(text(&line, "digest"), sha256(b"{}"));
    assert_eq!(line["status"], 201);
    let denied = registry
        .send(&basic(push("team/app"), "eve:open"))
        .expect(403);
    assert_eq!(denied.code(), "DENIED");
    let digest = sha256(b"{}");
    registry
        .get(&format!("/v2/public/app/blobs/{digest}"))
        .expect(200);
    registry
        .get(&format!("/v2/team/app/blobs/{digest}"))
        .expect(401);
    // Lists show to each what they may pull.
    let shown: [(&str, &[&str]); 2] = [
        ("bob:sesame", &["public/app", "team/app"]),
        ("eve:open", &["public/app"]),
    ];
    for (login, expected) in shown {
        let expected = serde_json::json!(expected);
        let list = get(&mut registry, "/v2/_catalog", login).expect(200);
        assert_eq!(list.json()["repositories"], expected, "{login}");
        let answer = token_of(&mut registry, "scope=registry:catalog:*", Some(login));
        let request = Request::new("GET", "/v2/_catalog");
        let list = registry
            .send(&bearing(request, text(&answer, "token")))
            .expect(200);
        assert_eq!(list.json()["repositories"], expected, "{login}, by a token");
    }
}

#[test]
fn refresh_tokens_end_with_the_password_they_were_given_for() {
    let (home, _configuration, options) = options();
    let node = Node::start_with(options);
    let mut registry = Registry::new(node.address);
    let mut post = |form: &str| {
        let request = Request::new("POST", "/token")
            .header("Content-Type", "application/x-www-form-urlencoded");
        // Errors come in the words of OAuth.
        registry.client.send(&request.body(form))
    };
    let form = "grant_type=password&username=eve&password=open&access_type=offline\
                &client_id=test&service=windlass&scope=repository%3Apublic%2Fa%3Apull";
    let answer = post(form).expect(200).json();
    let refresh = text(&answer, "refresh_token").to_owned();
    let refreshing = format!(
        "grant_type=refresh_token&refresh_token={refresh}&client_id=test&service=windlass\
         &scope=repository%3Apublic%2Fa%3Apull%2Cpush"
    );
    let answer = post(&refreshing).expect(200).json();
    assert_eq!(text(&answer, "scope"), "repository:public/a:pull,push");
    let access = text(&answer, "token").to_owned();
    for (form, error) in [
        (
            "grant_type=password&username=eve&password=wrong".to_owned(),
            "invalid_grant",
        ),
        (
            "grant_type=refresh_token&refresh_token=x".to_owned(),
            "invalid_grant",
        ),
        (
            format!("grant_type=refresh_token&refresh_token={access}"),
            "invalid_grant",
        ),
        (
            "grant_type=authorization_code".to_owned(),
            "unsupported_grant_type",
        ),
        ("username=eve".to_owned(), "invalid_request"),
    ] {
        assert_eq!(
            text(&post(&form).expect(400).json(), "error"),
            error,
            "{form}"
        );
    }
    // Eve gets the password of bob.
    write_users(&home.path().join("users"), &BOB.replace("bob:", "eve:"));
    let is_over = wait_for(Duration::from_secs(20), || post(&refreshing).status == 400);
    assert!(is_over, "a refresh token outlives its password");
    let mut registry = Registry::new(node.address);
    registry
        .send(&bearing(Request::new("GET", "/v2/"), &refresh))
        .expect(401);
    get(&mut registry, "/v2/", "eve:sesame").expect(200);
    get(&mut registry, "/v2/", "eve:open").expect(401);
}

#[test]
fn every_node_takes_the_tokens_of_every_other() {
    let (_home, _configuration, options) = options();
    let cluster = Cluster::start_with(2, &options);
    let [one, other] = [0, 1].map(|index| cluster.nodes[index].node.address);
    let answer = token_of(
        &mut Registry::new(one),
        "scope=repository:team/app:pull,push&offline_token=true",
        Some("bob:sesame"),
    );
    let mut registry = Registry::new(other);
    registry
        .send(&bearing(push("team/app"), text(&answer, "token")))
        .expect(201);
    let form = format!(
        "grant_type=refresh_token&refresh_token={}",
        text(&answer, "refresh_token")
    );
    registry
        .send(&Request::new("POST", "/token").body(form))
        .expect(200);
}

#[test]
fn a_node_keeps_its_key_and_shows_no_secret() {
    let (home, _configuration, options) = options();
    let mut node = Node::start_with(options);
    let mut registry = Registry::new(node.address);
    let answer = token_of(
        &mut registry,
        "scope=repository:team/app:pull&offline_token=true",
        Some("bob:sesame"),
    );
    get(&mut registry, "/v2/", "bob:wrong-password").expect(401);
    let token = text(&answer, "token").to_owned();
    // The log is written behind the answers.
    let is_logged = || node.log_text().contains("a login is refused");
    assert!(wait_for(Duration::from_secs(10), is_logged));
    node.restart();
    let mut registry = Registry::new(node.address);
    registry
        .send(&bearing(Request::new("GET", "/v2/"), &token))
        .expect(200);
    let key = node.data_dir.join("auth/token.key");
    assert_eq!(
        fs::metadata(&key).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let metrics = Registry::new(node.admin_address)
        .client
        .send(&Request::new("GET", "/metrics"));
    let shown = node.log_text() + &String::from_utf8(metrics.body).unwrap();
    let key = fs::read_to_string(key).unwrap();
    let key = key.lines().nth(1).unwrap();
    let users = fs::read_to_string(home.path().join("users")).unwrap();
    let hash = users.lines().last().unwrap().split_once(':').unwrap().1;
    let signature = token.rsplit_once('.').unwrap().1;
    for secret in [
        "sesame",
        "wrong-password",
        key,
        hash,
        signature,
        text(&answer, "refresh_token"),
    ] {
        assert!(!shown.contains(secret), "{secret}");
    }
    assert!(shown.contains("windlass_access_decisions_total{decision=\"allowed\"} "));
}

#[test]
fn more_logins_than_can_wait_are_told_to_come_again() {
    // A hash that takes long enough for a crowd to gather.
    let slow = "$6$rounds=200000$saltsalt$o.h9sgZtM8Cuj/Y.m9/pooEo7pY61dKJuMzWBe8giK7nGulVl5d5rOdKuKd5dtY7E9hI1LLXbe428gIyuxW.E0";
    let text = format!("[auth]\nmode = 'users'\nusers = ['bob:{slow}']\n[runtime]\nshards = 1");
    let (_configuration, options) = configured(&text);
    let node = Node::start_with(options);
    let address = node.address;
    let answered = AtomicUsize::new(0);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let ask = |number: usize| {
            let mut registry = Registry::new(address);
            registry
                .client
                .set_patience(Duration::from_secs(120))
                .unwrap();
            let answer = get(&mut registry, "/v2/", &format!("bob:{number}"));
            answered.fetch_add(1, Ordering::Relaxed);
            let is_told = answer.header("Retry-After") == Some("2");
            assert_eq!(is_told, answer.status == 429, "{:?}", answer.headers);
            answer.status
        };
        let crowd: Vec<_> = (0..80)
            .map(|number| scope.spawn(move || ask(number)))
            .collect();
        // Others are served meanwhile.
        Registry::new(address).get("/v2/").expect(401);
        assert!(
            answered.load(Ordering::Relaxed) < 80,
            "after all of the crowd"
        );
        crowd.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let count = |status: u16| statuses.iter().filter(|each| **each == status).count();
    assert_eq!(count(401) + count(429), 80, "{statuses:?}");
    // They come from one address, which has four turns at a time.
    assert!(count(429) >= 80 - 64, "{statuses:?}");
}

#[test]
fn lines_for_users_are_made_and_rules_are_explained() {
    let windlass = |arguments: &[&str], input: &str| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_windlass"))
            .args(arguments)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    let (code, line) = windlass(&["hash-password", "ann"], "sesame\n");
    assert_eq!(code, Some(0));
    assert!(
        line.starts_with("ann:$argon2id$v=19$m=19456,t=2,p=1$"),
        "{line}"
    );
    assert_eq!(windlass(&["hash-password", "a:b"], "x\n").0, Some(1));

    let (_home, configuration, _) = options();
    let file = configuration.path().join("windlass.toml");
    let file = file.to_str().unwrap();
    let explain = |words: [&str; 3]| {
        let [user, repository, action] = words;
        windlass(
            &["acl", "explain", user, repository, action, "--config", file],
            "",
        )
    };
    let (code, said) = explain(["bob", "team/app", "push"]);
    assert_eq!(
        (code, said.as_str()),
        (Some(0), "allowed by rule 1 (bob owns team)\n")
    );
    let (code, said) = explain(["-", "public/app", "pull"]);
    assert_eq!(
        (code, said.as_str()),
        (Some(0), "allowed by rule 2 (public)\n")
    );
    let (code, said) = explain(["-", "public/app", "push"]);
    let expected = "not allowed\n  rule 1 (bob owns team) is not for callers without credentials\n  \
                    rule 2 (public) gives only pull\n  \
                    rule 3 is not for callers without credentials\n";
    assert_eq!((code, said.as_str()), (Some(1), expected));
    let (_, said) = explain(["eve", "team/app", "push"]);
    assert!(
        said.contains("rule 1 (bob owns team) is for other users"),
        "{said}"
    );
}

/// A node that takes identities of the test's server from a user called `ci`.
fn node_with_identities() -> (TempDir, Node) {
    let key = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/auth/ec.pub");
    let text = format!(
        "[auth]\nmode = 'users'\nusers = ['{BOB}']\n\
         identities = [{{ name = 'ci', issuer = 'auth.example.org', \
         audiences = ['registry.example.org'], key_files = ['{key}'] }}]\n{RULES}\
         [[auth.rules]]\nsubject.username = 'ci'\n\
         subject.claims = {{ pointer = '/ref', match = 'main' }}\n\
         resource.repository = 'production/app'\nactions = ['pull', 'push']"
    );
    let (configuration, options) = configured(&text);
    (configuration, Node::start_with(options))
}

#[test]
fn signed_identities_are_passwords_of_their_issuer_only() {
    let (_configuration, node) = node_with_identities();
    let mut registry = Registry::new(node.address);
    let job = |branch: &str| {
        let mut claims = claims("");
        claims["ref"] = branch.into();
        claims["exp"] = (claims["exp"].as_u64().unwrap() + 600).into();
        claims
    };
    let main = signed(&job("main"));
    let mut status = |repository: &str, user: &str, token: &str| {
        let login = format!("{user}:{token}");
        registry.send(&basic(push(repository), &login)).status
    };
    assert_eq!(status("production/app", "ci", &main), 201);
    assert_eq!(status("production/app", "ci", &main), 201, "remembered");
    assert_eq!(status("team/app", "ci", &main), 403);
    assert_eq!(
        status("production/app", "ci", &signed(&job("feature-1"))),
        403
    );
    // A good identity is neither bob nor somebody new.
    assert_eq!(status("team/app", "bob", &main), 401);
    assert_eq!(status("production/app", "mallory", &main), 401);
    let mut over = job("main");
    over["exp"] = 1.into();
    for bad in [forged(&job("main")), signed(&over), "sesame".to_owned()] {
        assert_eq!(status("production/app", "ci", &bad), 401);
    }
    // Nor is it a token; but it gets one, which nothing outlives.
    registry
        .send(&bearing(push("production/app"), &main))
        .expect(401);
    let query = "scope=repository:production/app:pull,push&offline_token=true";
    let answer = token_of(&mut registry, query, Some(&format!("ci:{main}")));
    assert_eq!(
        text(&answer, "scope"),
        "repository:production/app:pull,push"
    );
    assert!(answer.get("refresh_token").is_none());
    let mut short = job("main");
    short["exp"] = (short["exp"].as_u64().unwrap() - 800).into();
    let login = format!("ci:{}", signed(&short));
    let request = Request::new("GET", format!("/token?service=windlass&{query}"));
    let brief = registry.send(&basic(request, &login)).expect(200).json();
    let seconds = brief["expires_in"].as_u64().unwrap();
    assert!((60..=100).contains(&seconds), "{seconds}");
    let token = text(&answer, "token");
    registry
        .send(&bearing(push("production/app"), token))
        .expect(201);
}
