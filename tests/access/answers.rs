//! What an answer gives away, and what it does not.

use std::fs;
use std::path::Path;

use super::server::{bearing, configured, now_seconds, token, trusting};
use crate::support::{
    MANIFEST_TYPE, Node, Registry, Request, Response, image, location, sha256, wait_for,
};

const SECRET_BLOB: &[u8] = b"the content of a repository of others";

fn send(registry: &mut Registry, request: Request, scopes: &str) -> Response {
    registry.send(&bearing(request, &token(scopes)))
}

/// A node where `secret/app` holds a blob.
fn node_with_a_secret() -> (tempfile::TempDir, Node) {
    let (home, options) = configured(&trusting(""));
    let node = Node::start_with(options);
    let mut registry = Registry::new(node.address);
    let digest = sha256(SECRET_BLOB);
    let target = format!("/v2/secret/app/blobs/uploads/?digest={digest}");
    let request = Request::new("POST", target).body(SECRET_BLOB);
    send(&mut registry, request, "repository:secret/app:pull,push").expect(201);
    (home, node)
}

/// What a caller can tell from an answer: everything but the time and the request.
fn told(response: &Response) -> (u16, Vec<(String, String)>, String) {
    let mut headers = response.headers.clone();
    headers.retain(|(name, _)| {
        !["date", "x-request-id", "location", "docker-upload-uuid"]
            .contains(&name.to_lowercase().as_str())
    });
    (
        response.status,
        headers,
        String::from_utf8_lossy(&response.body).into_owned(),
    )
}

#[test]
fn what_others_hold_and_what_nobody_holds_look_the_same() {
    let (_home, node) = node_with_a_secret();
    let mut registry = Registry::new(node.address);
    let held = sha256(SECRET_BLOB);
    let absent = sha256(b"never pushed");
    let own = "repository:own/app:pull,push,delete";
    let mut pair = |method: &str, first: &str, second: &str, scopes: &str| {
        let [first, second] = [first, second]
            .map(|target| told(&send(&mut registry, Request::new(method, target), scopes)));
        (first, second)
    };
    for method in ["GET", "HEAD", "DELETE"] {
        let target = |digest: &str| format!("/v2/own/app/blobs/{digest}");
        let (first, second) = pair(method, &target(&held), &target(&absent), own);
        assert_eq!(first.0, 404);
        assert_eq!(first.2.replace(&held, ""), second.2.replace(&absent, ""));
        assert_eq!(first.1.len(), second.1.len());
    }
    // A repository of others and one that does not exist.
    for rest in [
        format!("blobs/{held}"),
        "manifests/latest".to_owned(),
        "tags/list".to_owned(),
    ] {
        let (first, second) = pair(
            "GET",
            &format!("/v2/secret/app/{rest}"),
            &format!("/v2/nobody/app/{rest}"),
            own,
        );
        assert_eq!(first.0, 401);
        let unnamed = |told: &(u16, Vec<(String, String)>, String), name: &str| {
            format!("{told:?}").replace(name, "")
        };
        assert_eq!(
            unnamed(&first, "secret/app"),
            unnamed(&second, "nobody/app")
        );
    }
    // A mount of what may not be pulled, of what is not there, and without a source.
    for query in [
        format!("mount={held}&from=secret/app"),
        format!("mount={held}&from=nobody/app"),
        format!("mount={absent}&from=secret/app"),
        format!("mount={held}"),
        format!("mount={absent}"),
    ] {
        let target = format!("/v2/own/app/blobs/uploads/?{query}");
        let response = send(&mut registry, Request::new("POST", target), own).expect(202);
        assert!(
            location(&response).starts_with("/v2/own/app/blobs/uploads/"),
            "{query}"
        );
    }
    let target = format!("/v2/own/app/blobs/uploads/?mount={held}&from=secret/app");
    let both = format!("{own} repository:secret/app:pull");
    send(&mut registry, Request::new("POST", target), &both).expect(201);
}

#[test]
fn a_session_belongs_to_its_repository_and_outlives_its_token() {
    let (_home, node) = node_with_a_secret();
    let mut registry = Registry::new(node.address);
    let request = Request::new("POST", "/v2/own/app/blobs/uploads/");
    let response = send(&mut registry, request, "repository:own/app:push").expect(202);
    let session = location(&response);
    let elsewhere = session.replace("/own/app/", "/other/app/");
    let request = Request::new("GET", elsewhere);
    send(&mut registry, request, "repository:other/app:push").expect(404);
    // Another token, made later, goes on.
    let request = Request::new("PATCH", session).body("content");
    let response = send(&mut registry, request, "repository:own/app:push").expect(202);
    let target = format!("{}?digest={}", location(&response), sha256(b"content"));
    let request = Request::new("PUT", target).body("");
    send(&mut registry, request, "repository:own/app:push,pull").expect(201);
}

#[test]
fn the_catalog_shows_what_may_be_pulled() {
    let rules = "[[auth.rules]]\nsubject.anonymous = true\nresource.repository.starts = 'public/'\nactions = ['pull']";
    let (_home, options) = configured(&trusting(rules));
    let node = Node::start_with(options);
    let mut registry = Registry::new(node.address);
    for name in ["a/one", "b/two", "public/three"] {
        let target = format!("/v2/{name}/blobs/uploads/?digest={}", sha256(b"{}"));
        let scopes = format!("repository:{name}:pull,push");
        send(
            &mut registry,
            Request::new("POST", target).body("{}"),
            &scopes,
        )
        .expect(201);
        let manifest = image((&sha256(b"{}"), 2), &[]).to_string();
        let put = Request::new("PUT", format!("/v2/{name}/manifests/latest"));
        let put = put.header("Content-Type", MANIFEST_TYPE).body(manifest);
        send(&mut registry, put, &scopes).expect(201);
    }
    let request = Request::new("GET", "/v2/_catalog");
    let all = send(&mut registry, request, "registry:catalog:*").expect(200);
    assert_eq!(all.json()["repositories"].as_array().unwrap().len(), 3);
    // Public is a rule, also where tokens come from another server.
    registry
        .get("/v2/public/three/manifests/latest")
        .expect(200);
    registry.get("/v2/a/one/manifests/latest").expect(401);
    registry.get("/v2/_catalog").expect(401);
}

#[test]
fn a_tag_that_may_be_made_may_not_be_moved() {
    let (_home, options) = configured(&trusting(""));
    let node = Node::start_with(options);
    let mut registry = Registry::new(node.address);
    let config = |text: &str| (sha256(text.as_bytes()), text.len());
    let mut push = |text: &str, tag: &str, actions: &str| {
        let scopes = format!("repository:a:{actions}");
        let (digest, bytes) = config(text);
        let target = format!("/v2/a/blobs/uploads/?digest={digest}");
        send(
            &mut registry,
            Request::new("POST", target).body(text),
            &scopes,
        )
        .expect(201);
        let manifest = image((&digest, bytes), &[]).to_string();
        let put = Request::new("PUT", format!("/v2/a/manifests/{tag}"));
        let put = put.header("Content-Type", MANIFEST_TYPE).body(manifest);
        send(&mut registry, put, &scopes)
    };
    push("{}", "v1", "tag-create").expect(201);
    // Again is no move.
    push("{}", "v1", "tag-create").expect(201);
    let refused = push("{ }", "v1", "tag-create").expect(401);
    let challenge = refused.only("WWW-Authenticate");
    let wanted = "scope=\"repository:a:pull,push\",error=\"insufficient_scope\"";
    assert!(challenge.ends_with(wanted), "{challenge}");
    push("{ }", "v2", "tag-create").expect(201);
    push("{ }", "v1", "push").expect(201);
}

#[test]
fn rules_and_keys_are_read_again_when_their_files_change() {
    let home = tempfile::tempdir().unwrap();
    let rules = home.path().join("rules.toml");
    let write = |path: &Path, text: &str| {
        let beside = path.with_extension("new");
        fs::write(&beside, text).unwrap();
        fs::rename(beside, path).unwrap();
    };
    write(&rules, "");
    let (_home, options) = configured(&trusting(&format!("rules_file = '{}'", rules.display())));
    let node = Node::start_with(options);
    let mut registry = Registry::new(node.address);
    let mut becomes = |status: u16| {
        let is_so = wait_for(std::time::Duration::from_secs(20), || {
            registry.get("/v2/a/tags/list").status == status
        });
        assert!(is_so, "{status}");
    };
    becomes(401);
    write(
        &rules,
        "[[rules]]\nsubject.anonymous = true\nactions = ['pull']",
    );
    becomes(404);
    let begun = now_seconds();
    write(
        &rules,
        "[[rules]]\nsubject.anonymos = true\nactions = ['pull']",
    );
    let is_told = wait_for(std::time::Duration::from_secs(20), || {
        node.log_text().contains("did you mean `anonymous`?")
    });
    assert!(is_told && now_seconds() >= begun);
    becomes(404);
    write(&rules, "");
    becomes(401);
}
