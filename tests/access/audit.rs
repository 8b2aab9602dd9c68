//! Who did what: the lines of the audit file and of the log.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::server::bearing;
use super::users::{basic, options};
use crate::support::{
    Cluster, MANIFEST_TYPE, Node, NodeOptions, Registry, Request, image, location, sha256, wait_for,
};

const PATIENCE: Duration = Duration::from_secs(10);

/// The same nodes with an audit log of everything.
fn audited(options: NodeOptions, file: Option<&Path>) -> NodeOptions {
    audited_at("all", options, file)
}

fn audited_at(level: &str, mut options: NodeOptions, file: Option<&Path>) -> NodeOptions {
    let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    options
        .environment
        .push(set("WINDLASS_AUDIT__LEVEL", level));
    if let Some(file) = file {
        let file = file.display().to_string();
        options.environment.push(set("WINDLASS_AUDIT__FILE", &file));
    }
    options
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'));
    whole
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The first line that says all of this.
#[track_caller]
fn find(path: &Path, wanted: &[(&str, Value)]) -> Value {
    let mut found = None;
    wait_for(PATIENCE, || {
        let says = |line: &Value| wanted.iter().all(|(name, value)| line[*name] == *value);
        found = lines(path).into_iter().find(says);
        found.is_some()
    });
    found.unwrap_or_else(|| panic!("{wanted:?} in {:#?}", lines(path)))
}

fn push_manifest(registry: &mut Registry, tag: &str) -> String {
    let blob = "/v2/team/app/blobs/uploads/?digest=";
    let post = Request::new("POST", format!("{blob}{}", sha256(b"{}"))).body("{}");
    registry.send(&basic(post, "bob:sesame")).expect(201);
    let manifest = image((&sha256(b"{}"), 2), &[]).to_string();
    let put = Request::new("PUT", format!("/v2/team/app/manifests/{tag}"));
    let put = put
        .header("Content-Type", MANIFEST_TYPE)
        .body(manifest.clone());
    registry.send(&basic(put, "bob:sesame")).expect(201);
    sha256(manifest.as_bytes())
}

#[test]
fn the_audit_file_says_who_did_what_by_which_rule_and_entry() {
    let (home, _configuration, options) = options();
    let path = home.path().join("audit.jsonl");
    let node = Node::start_with(audited(options, Some(&path)));
    let mut registry = Registry::new(node.address);
    let digest = push_manifest(&mut registry, "v1");
    let put = find(
        &path,
        &[("event", "change".into()), ("tags", vec!["v1"].into())],
    );
    assert_eq!(put["user"], "bob");
    assert_eq!(put["user_of"], "users");
    assert_eq!(put["allowed_by"], "rule 1 (bob owns team)");
    assert_eq!(put["repository"], "team/app");
    assert_eq!(put["digest"], digest);
    assert_eq!(put["status"], 201);
    assert_eq!(put["client"], "127.0.0.1");
    assert!(put["time"].as_str().unwrap().ends_with('Z'));
    let blob = find(&path, &[("digest", sha256(b"{}").into())]);
    assert!(blob["journal_index"].as_u64() < put["journal_index"].as_u64());

    let mut send = |method: &str, target: &str, login| {
        let response = registry.send(&basic(Request::new(method, target), login));
        (response.status, response.only("X-Request-Id").to_owned())
    };
    let (status, id) = send("DELETE", "/v2/team/app/manifests/v1", "bob:sesame");
    assert_eq!(status, 202);
    let deleted = find(&path, &[("request_id", id.into())]);
    assert!(deleted["journal_index"].as_u64() > put["journal_index"].as_u64());
    let (status, id) = send("DELETE", "/v2/team/app/manifests/v1", "bob:sesame");
    assert_eq!(status, 404);
    let failed = find(&path, &[("request_id", id.into())]);
    assert_eq!(
        (&failed["event"], &failed["status"]),
        (&"change".into(), &404.into())
    );
    assert!(
        failed["reason"]
            .as_str()
            .unwrap()
            .starts_with("MANIFEST_UNKNOWN")
    );
    // A file of its own instead of the log.
    assert!(!node.log_text().contains("windlass::audit"));
}

#[test]
fn the_audit_file_says_who_was_not_let_in_and_who_got_a_token() {
    let (home, _configuration, options) = options();
    let path = home.path().join("audit.jsonl");
    let node = Node::start_with(audited(options, Some(&path)));
    let mut registry = Registry::new(node.address);
    let mut send = |method: &str, target: &str, login| {
        let response = registry.send(&basic(Request::new(method, target), login));
        (response.status, response.only("X-Request-Id").to_owned())
    };
    let (_, id) = send("DELETE", "/v2/team/app/manifests/v1", "eve:open");
    let denied = find(&path, &[("request_id", id.into())]);
    assert_eq!(
        (&denied["event"], &denied["user"]),
        (&"refusal".into(), &"eve".into())
    );
    assert_eq!(denied["reason"], "none of 3 rules gives it");
    assert_eq!(denied["needed"], "repository:team/app:delete");
    let (_, id) = send("GET", "/v2/", "bob:a-wrong-password");
    let wrong = find(&path, &[("request_id", id.into())]);
    assert_eq!(
        (&wrong["reason"], &wrong["status"]),
        (&"bad credentials".into(), &401.into())
    );
    let mut registry = Registry::new(node.address);
    registry.get("/v2/team/app/tags/list").expect(401);
    find(
        &path,
        &[
            ("reason", "no credentials".into()),
            ("repository", "team/app".into()),
        ],
    );

    // Who got a token for what, and what it was used for.
    let ask = "/token?scope=repository:team/app:pull,push";
    let answer = registry.send(&basic(Request::new("GET", ask), "bob:sesame"));
    let token = answer.json()["token"].as_str().unwrap().to_owned();
    let made = find(&path, &[("event", "token".into())]);
    assert_eq!(made["user"], "bob");
    assert_eq!(made["scopes"], "repository:team/app:pull,push");
    assert_eq!(made["allowed_by"], "rule 1 (bob owns team)");
    let post = Request::new(
        "POST",
        format!("/v2/team/app/blobs/uploads/?digest={}", sha256(b"{}")),
    );
    registry.send(&bearing(post.body("{}"), &token)).expect(201);
    let used = find(&path, &[("event", "change".into())]);
    assert_eq!(used["allowed_by"], "rule 1 (bob owns team), by a token");
    registry
        .send(&bearing(
            Request::new("DELETE", "/v2/team/app/manifests/v9"),
            &token,
        ))
        .expect(401);
    let short = find(&path, &[("reason", "the token does not give it".into())]);
    assert_eq!(short["user"], "bob");

    let text = fs::read_to_string(&path).unwrap() + &node.log_text();
    for secret in ["sesame", "a-wrong-password", &token] {
        assert!(!text.contains(secret), "{secret}");
    }
}

/// Kinds of lines that come of a push, a refusal and a token.
fn events_at(level: &str) -> Vec<String> {
    let (home, _configuration, options) = options();
    let path = home.path().join("audit.jsonl");
    let node = Node::start_with(audited_at(level, options, Some(&path)));
    let mut registry = Registry::new(node.address);
    registry.get("/v2/team/app/tags/list").expect(401);
    let ask = Request::new("GET", "/token?scope=repository:team/app:pull");
    registry.send(&basic(ask, "bob:sesame")).expect(200);
    push_manifest(&mut registry, "v1");
    find(&path, &[("tags", vec!["v1"].into())]);
    let events = lines(&path).into_iter();
    events
        .map(|line| line["event"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn each_level_writes_what_the_one_before_does_and_more() {
    assert_eq!(events_at("changes"), ["change"; 2]);
    assert_eq!(events_at("refusals"), ["refusal", "change", "change"]);
    assert_eq!(events_at("all"), ["refusal", "token", "change", "change"]);
}

#[test]
fn the_log_says_what_the_file_says() {
    let (_home, _configuration, options) = options();
    let node = Node::start_with(audited(options, None));
    let mut registry = Registry::new(node.address);
    push_manifest(&mut registry, "v1");
    let manifest = image((&sha256(b"{}"), 2), &[]).to_string();
    let digest = sha256(manifest.as_bytes());
    let put = Request::new(
        "PUT",
        format!("/v2/team/app/manifests/{digest}?tag=a&tag=b"),
    );
    let put = put.header("Content-Type", MANIFEST_TYPE).body(manifest);
    registry.send(&basic(put, "bob:sesame")).expect(201);
    let mount = "/v2/team/other/blobs/uploads/?from=team/app&mount=";
    let mount = Request::new("POST", format!("{mount}{}", sha256(b"{}"))).body("");
    registry.send(&basic(mount, "bob:sesame")).expect(201);
    let said = |wanted: &[(&str, &str)]| {
        let log = node.log_text();
        let lines = log.lines().filter(|line| line.contains("windlass::audit"));
        let mut lines = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.any(|line| wanted.iter().all(|(name, value)| line[*name] == **value))
    };
    for wanted in [
        &[("repository", "team/app"), ("tags", "a,b"), ("user", "bob")],
        &[
            ("repository", "team/app"),
            ("tags", "v1"),
            ("method", "PUT"),
        ],
        &[
            ("repository", "team/other"),
            ("source", "team/app"),
            ("client", "127.0.0.1"),
        ],
    ] {
        assert!(wait_for(PATIENCE, || said(wanted)), "{wanted:?}");
    }
}

#[test]
fn a_tag_that_moves_was_allowed_by_the_rule_for_that() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("audit.jsonl");
    let (_home, _configuration, mut options) = options();
    let rules = "
        [[rules]]
        comment = 'makes'
        subject.username = 'eve'
        actions = ['tag-create']
        [[rules]]
        comment = 'moves'
        subject.username = 'eve'
        actions = ['push']
    ";
    let file = home.path().join("rules.toml");
    fs::write(&file, rules).unwrap();
    let file = (
        "WINDLASS_AUTH__RULES_FILE".to_owned(),
        file.display().to_string(),
    );
    options.environment.push(file);
    let node = Node::start_with(audited(options, Some(&path)));
    let mut registry = Registry::new(node.address);
    for config in ["{}", "{ }"] {
        let digest = sha256(config.as_bytes());
        let post = Request::new("POST", format!("/v2/a/blobs/uploads/?digest={digest}"));
        registry
            .send(&basic(post.body(config), "eve:open"))
            .expect(201);
        let manifest = image((&digest, config.len()), &[]).to_string();
        let put = Request::new("PUT", "/v2/a/manifests/v1");
        let put = put
            .header("Content-Type", MANIFEST_TYPE)
            .body(manifest.clone());
        registry.send(&basic(put, "eve:open")).expect(201);
        let digest = sha256(manifest.as_bytes());
        let line = find(&path, &[("digest", digest.into())]);
        assert_eq!(line["allowed_by"], "rule 5 (moves)");
    }
}

#[test]
fn the_audit_file_is_opened_again_when_logs_are_rotated() {
    let (home, _configuration, options) = options();
    let [path, old] = ["audit", "audit.1"].map(|name| home.path().join(name));
    let node = Node::start_with(audited(options, Some(&path)));
    let mut registry = Registry::new(node.address);
    push_manifest(&mut registry, "v1");
    find(&path, &[("tags", vec!["v1"].into())]);
    fs::rename(&path, &old).unwrap();
    push_manifest(&mut registry, "v2");
    find(&old, &[("tags", vec!["v2"].into())]);
    let pid = Pid::from_raw(i32::try_from(node.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    assert!(wait_for(PATIENCE, || path.exists()));
    push_manifest(&mut registry, "v3");
    find(&path, &[("tags", vec!["v3"].into())]);
    assert_eq!(lines(&old).len() + lines(&path).len(), 6);
}

#[test]
fn a_file_that_cannot_be_written_keeps_the_node_from_starting() {
    let (_home, _configuration, options) = options();
    let mut node = Node::prepare(audited(options, Some(Path::new("/nowhere/audit"))));
    node.spawn();
    assert_eq!(node.wait_end(PATIENCE).code(), Some(78));
    assert!(node.log_text().contains("audit.file"));
}

#[test]
fn every_node_of_a_cluster_knows_the_entry_of_what_it_was_asked_for() {
    let (_home, _configuration, options) = options();
    let cluster = Cluster::start_with(3, &audited(options, None));
    let addresses = cluster.addresses();
    for (index, member) in cluster.nodes.iter().enumerate() {
        // A session that another node owns.
        let mut owner = Registry::new(addresses[(index + 1) % 3]);
        let begin = Request::new("POST", "/v2/team/app/blobs/uploads/");
        let session = location(&owner.send(&basic(begin, "bob:sesame")).expect(202));
        let content = format!("content {index}").into_bytes();
        let digest = sha256(&content);
        let close = Request::new("PUT", format!("{session}?digest={digest}")).body(content);
        let mut registry = Registry::new(addresses[index]);
        registry.send(&basic(close, "bob:sesame")).expect(201);
        push_manifest(&mut registry, &format!("v{index}"));
        let count = || {
            let log = member.node.log_text();
            let lines = log.lines().filter(|line| line.contains("windlass::audit"));
            let lines = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
            let is_indexed = |line: &Value| line["journal_index"].as_u64() > Some(1);
            lines.filter(is_indexed).count()
        };
        assert!(wait_for(PATIENCE, || count() == 3), "{}", count());
    }
}
