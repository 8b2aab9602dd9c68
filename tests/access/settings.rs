//! What single settings of `[auth]` do, and what a start warns of.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::robots::basic;
use super::server::{
    HASH, TokenMaker, bearing, configured, now_seconds, put, refreshing, signed, trusting,
};
use crate::support::{Node, NodeOptions, Registry, Request, wait_for};

const LOG_MAX: Duration = Duration::from_secs(20);
const END_MAX: Duration = Duration::from_secs(30);

fn node(text: &str) -> (TempDir, Node) {
    let (home, options) = configured(text);
    (home, Node::start_with(options))
}

/// How often the log has a warning with this text.
fn warnings(node: &Node, text: &str) -> usize {
    let log = node.log_text();
    let is_it = |line: &&str| line.contains("\"WARN\"") && line.contains(text);
    log.lines().filter(is_it).count()
}

/// How many there are when the log is whole: another thread writes it.
fn warnings_of_all(mut node: Node, text: &str) -> usize {
    node.terminate(END_MAX);
    warnings(&node, text)
}

#[test]
fn serving_everybody_is_warned_of_at_each_start() {
    let text = "whoever reaches this address may push, pull and delete";
    let mut node = Node::prepare(NodeOptions::default());
    // This machine only, but an address as those that others can reach.
    let IpAddr::V4(host) = node.address.ip() else {
        panic!("{}", node.address);
    };
    node.address = SocketAddr::from((host.to_ipv6_mapped(), node.address.port()));
    node.spawn();
    node.wait_ready();
    Registry::new(node.address).get("/v2/").expect(200);
    assert!(wait_for(LOG_MAX, || warnings(&node, text) == 1));
    node.restart();
    assert!(wait_for(LOG_MAX, || warnings(&node, text) == 2));
    let local = Node::start();
    Registry::new(local.address).get("/v2/").expect(200);
    assert_eq!(warnings_of_all(local, text), 0);
}

#[test]
fn passwords_that_another_server_would_see_are_warned_of_at_each_start() {
    let text = "show their passwords there";
    let users = format!("users = ['bob:{HASH}']\n");
    let both = |more: &str| trusting(more).replace("mode = 'token'", "mode = 'users'");
    let (_home, mut warned) = node(&both(&users));
    let is_warned = |node: &Node, count| wait_for(LOG_MAX, || warnings(node, text) == count);
    assert!(is_warned(&warned, 1), "{}", warned.log_text());
    warned.restart();
    assert!(is_warned(&warned, 2), "{}", warned.log_text());
    let (_home, without_users) = node(&both(""));
    assert_eq!(warnings_of_all(without_users, text), 0);
    // Its own endpoint, by the name that clients know.
    let here = "public_url = 'https://auth.example.org'\n".to_owned() + &both(&users);
    let (_home, here) = node(&here);
    assert_eq!(warnings_of_all(here, text), 0);
}

#[test]
fn tokens_must_be_for_an_audience_of_the_registry() {
    let status = |node: &Node, audience: Value| {
        let mut claims = TokenMaker::elsewhere().claims("repository:a:pull");
        claims["aud"] = audience;
        let request = bearing(Request::new("GET", "/v2/"), &signed(&claims));
        Registry::new(node.address).send(&request).status
    };
    let service = json!("registry.example.org");
    let (_home, fallback) = node(&trusting(""));
    assert_eq!(status(&fallback, service.clone()), 200);
    assert_eq!(status(&fallback, json!("one")), 401);
    let (_home, named) = node(&trusting("audiences = ['one', 'two']\n"));
    for (audience, expected) in [
        (service.clone(), 401),
        (json!("one"), 200),
        (json!(["three", "two"]), 200),
        (json!(["three", service]), 401),
        (json!([]), 401),
    ] {
        assert_eq!(status(&named, audience.clone()), expected, "{audience}");
    }
}

#[test]
fn identities_must_be_for_the_registry_by_its_url() {
    let key = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/auth/ec.pub");
    let text = |url: &str, audiences: &str| {
        format!(
            "{url}[auth]\nmode = 'users'\nidentities = [{{ name = 'ci', \
             issuer = 'auth.example.org', {audiences}key_files = ['{key}'] }}]\n"
        )
    };
    let url = "public_url = 'https://registry.example.org:5000'\n";
    let (_home, by_url) = node(&text(url, ""));
    let (_home, named) = node(&text(url, "audiences = ['other'], "));
    let status = |node: &Node, audience: &str| {
        let mut claims = super::server::claims("");
        claims["aud"] = audience.into();
        let request = basic(Request::new("GET", "/v2/"), "ci", &signed(&claims));
        Registry::new(node.address).send(&request).status
    };
    assert_eq!(status(&by_url, "https://registry.example.org:5000"), 200);
    assert_eq!(status(&by_url, "https://registry.example.org:5000/"), 401);
    assert_eq!(status(&by_url, "registry.example.org"), 401);
    assert_eq!(status(&named, "other"), 200);
    assert_eq!(status(&named, "https://registry.example.org:5000"), 401);
}

#[test]
fn clients_are_sent_where_the_configuration_says() {
    let realm = |text: &str| {
        let (_home, node) = node(text);
        let answer = Registry::new(node.address).get("/v2/").expect(401);
        let challenge = answer.only("WWW-Authenticate").to_owned();
        let address = node.address.to_string();
        challenge.replace(&address, "ADDRESS")
    };
    let users = "[auth]\nmode = 'users'\n";
    let url = "public_url = 'https://registry.example.org'\n";
    let named = "realm = 'https://login.example.org/a/b'\nservice = 'ours'\n";
    let said =
        |realm: &str, service: &str| format!("Bearer realm=\"{realm}\",service=\"{service}\"");
    assert_eq!(realm(users), said("http://ADDRESS/token", "windlass"));
    let by_url = format!("{url}{users}");
    assert_eq!(
        realm(&by_url),
        said("https://registry.example.org/token", "windlass")
    );
    let by_name = format!("{url}{users}{named}");
    assert_eq!(
        realm(&by_name),
        said("https://login.example.org/a/b", "ours")
    );
}

/// What a token says.
fn claims_of(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[test]
fn tokens_hold_as_long_as_the_configuration_says() {
    let home = tempfile::tempdir().unwrap();
    let key = home.path().join("token.key");
    put(&key, include_str!("../fixtures/auth/ec.key"));
    let (_home, node) = node(&format!(
        "[auth]\nmode = 'users'\nusers = ['bob:{HASH}']\nsigning_key_file = '{}'\n\
         token_life = '90s'\nrefresh_life = '2m'\n",
        key.display()
    ));
    let mut registry = Registry::new(node.address);
    let ask = Request::new("GET", "/token?offline_token=true");
    let answer = registry
        .send(&basic(ask, "bob", "sesame"))
        .expect(200)
        .json();
    assert_eq!(answer["expires_in"], 90);
    let life = |token: &str| {
        let claims = claims_of(token);
        let second = |name: &str| claims[name].as_u64().unwrap();
        assert_eq!(second("nbf"), second("iat"));
        assert!(second("iat") <= now_seconds());
        second("exp") - second("iat")
    };
    assert_eq!(life(answer["token"].as_str().unwrap()), 90);
    let refresh = answer["refresh_token"].as_str().unwrap();
    assert_eq!(life(refresh), 120);
    // The same refresh token before its end, and after it.
    let mut refreshed = |end: u64| {
        let mut claims = claims_of(refresh);
        claims["exp"] = end.into();
        let form = format!(
            "grant_type=refresh_token&refresh_token={}",
            refreshing(&claims)
        );
        let request = Request::new("POST", "/token").body(form);
        registry.client.send(&request).status
    };
    assert_eq!(refreshed(now_seconds() + 10), 200);
    // A minute of leeway; half of it is left to a slow machine.
    assert_eq!(refreshed(now_seconds() - 30), 200, "clocks differ");
    assert_eq!(refreshed(now_seconds() - 120), 400);
}
