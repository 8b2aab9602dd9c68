//! Users of the registry's own beside a token server: either proves who somebody is.

use std::time::Duration;

use serde_json::Value;

use super::server::{REALM, SERVICE, bearing, configured, forged, token};
use super::users::{basic, options};
use crate::support::{Node, NodeOptions, Registry, Request, sha256, wait_for};

/// The users of the other tests, and the token server of theirs.
fn both() -> (Vec<tempfile::TempDir>, NodeOptions) {
    let (home, users, mut options) = options();
    let text = std::fs::read_to_string(users.path().join("windlass.toml")).unwrap();
    let server = super::server::trusting("").replace("mode = 'token'", "mode = 'users'");
    let (configuration, with_server) =
        configured(&text.replace("[auth]\nmode = 'users'\n", &server));
    options.arguments = with_server.arguments;
    (vec![home, users, configuration], options)
}

#[test]
fn passwords_and_tokens_of_another_server_count_beside_each_other() {
    let (_homes, options) = both();
    let node = Node::start_with(options);
    let mut registry = Registry::new(node.address);
    let challenge = registry.get("/v2/").expect(401);
    let expected = format!("Bearer realm=\"{REALM}\",service=\"{SERVICE}\"");
    assert_eq!(challenge.only("WWW-Authenticate"), expected);
    let target = format!("/v2/team/app/blobs/uploads/?digest={}", sha256(b"{}"));
    let push = || Request::new("POST", target.as_str()).body("{}");

    // A token of the other server gives what it says, without any rule.
    let pushing = token("repository:team/app:pull,push");
    registry.send(&bearing(push(), &pushing)).expect(201);
    let pulling = token("repository:team/app:pull");
    registry.send(&bearing(push(), &pulling)).expect(401);
    let access = super::server::claims("repository:team/app:push");
    registry
        .send(&bearing(push(), &forged(&access)))
        .expect(401);

    // Nor does it take what everybody may.
    let public = "/v2/public/app/tags/list";
    registry.get(public).expect(404);
    for (token, expected) in [(pulling.as_str(), 404), ("no.token.of", 401)] {
        let request = bearing(Request::new("GET", public), token);
        registry.send(&request).expect(expected);
    }
    let request = bearing(Request::new("GET", "/v2/private/tags/list"), &pulling);
    let refused = registry.send(&request).expect(401);
    assert!(
        refused
            .only("WWW-Authenticate")
            .contains("insufficient_scope")
    );

    // A password gives what the rules say, here and for a token of our own.
    registry.send(&basic(push(), "bob:sesame")).expect(201);
    registry.send(&basic(push(), "eve:open")).expect(403);
    registry.send(&basic(push(), "bob:wrong")).expect(401);
    let ask = "/token?scope=repository:team/app:push&scope=repository:other:push";
    let answer = registry.send(&basic(Request::new("GET", ask), "bob:sesame"));
    let own = answer.expect(200).json();
    assert_eq!(own["scope"], "repository:team/app:push");
    let own = own["token"].as_str().unwrap();
    registry.send(&bearing(push(), own)).expect(201);
}

#[test]
fn users_of_one_name_are_told_apart_in_the_audit_log_and_by_their_limits() {
    let (homes, mut options) = both();
    let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    options.environment.extend([
        set("WINDLASS_LIMITS__SUBJECT__REQUESTS_PER_SECOND", "1"),
        set("WINDLASS_LIMITS__SUBJECT__REQUEST_BURST", "20"),
        set("WINDLASS_AUDIT__LEVEL", "refusals"),
    ]);
    let node = Node::start_with(options);
    let mut registry = Registry::new(node.address);
    let target = format!("/v2/team/app/blobs/uploads/?digest={}", sha256(b"{}"));
    let push = || Request::new("POST", target.as_str()).body("{}");
    let foreign = token("repository:team/app:pull,push");
    let mut id_of = |request: &Request, status| {
        let answer = registry.send(request).expect(status);
        answer.only("X-Request-Id").to_owned()
    };
    let delete = || Request::new("DELETE", "/v2/eve/app/manifests/v1");
    let rows = [
        (id_of(&basic(push(), "bob:sesame"), 201), "users"),
        (
            id_of(&bearing(push(), &foreign), 201),
            "issuer auth.example.org",
        ),
        (id_of(&basic(delete(), "bob:sesame"), 403), "users"),
        (
            id_of(&bearing(delete(), &foreign), 401),
            "issuer auth.example.org",
        ),
    ];
    for (id, whose) in rows {
        let line = || {
            let log = node.log_text();
            let is_audit = |line: &&str| line.contains("windlass::audit") && line.contains(&id);
            let line = log.lines().find(is_audit);
            line.map(|line| serde_json::from_str::<Value>(line).unwrap())
        };
        assert!(
            wait_for(Duration::from_secs(10), || line().is_some()),
            "{id}"
        );
        let line = line().unwrap();
        assert_eq!(
            (&line["user"], &line["user_of"]),
            (&"bob".into(), &whose.into())
        );
    }
    // What the one has used up, the other still has.
    let get = || bearing(Request::new("GET", "/v2/"), &foreign);
    let is_refused = |_| Registry::new(node.address).send(&get()).status == 429;
    assert!((0..60).any(is_refused));
    registry
        .send(&basic(Request::new("GET", "/v2/"), "bob:sesame"))
        .expect(200);
    drop(homes);
}
