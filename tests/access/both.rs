//! Users of the registry's own beside a token server: either proves who somebody is.

use super::server::{REALM, SERVICE, bearing, configured, forged, token};
use super::users::{basic, options};
use crate::support::{Node, NodeOptions, Registry, Request, sha256};

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
