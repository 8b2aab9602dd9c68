//! Keys of the token server that change while the node runs.

use std::path::Path;
use std::time::Duration;

use super::issuer::{Signer, key_set};
use super::server::{bearing, claims, configured, put, trusting};
use crate::support::{Client, Node, Registry, Request, location, wait_for};

/// Files are looked at each second.
const RELOAD_MAX: Duration = Duration::from_secs(30);
const SCOPE: &str = "repository:team/app:pull,push";

/// A node that trusts what a file says.
fn trusting_file(path: &Path) -> (tempfile::TempDir, Node) {
    let text = trusting("");
    let (before, rest) = text.split_once("key_files = ['").unwrap();
    let (_, after) = rest.split_once("']").unwrap();
    let text = format!("{before}key_files = ['{}']{after}", path.display());
    let (home, options) = configured(&text);
    (home, Node::start_with(options))
}

#[test]
fn keys_are_exchanged_by_name_while_requests_go_on() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("keys.json");
    let [first, second] = ["2025", "2026"].map(Signer::p256);
    put(&path, &key_set(&[&first]));
    let (_home, node) = trusting_file(&path);
    // Somebody else who has the name of a key, but not the key.
    let impostor = Signer::p256("2026");
    let [old, new, forged] = [&first, &second, &impostor].map(|one| one.sign(&claims(SCOPE)));

    let mut steady = Registry::steady(node.address);
    let mut status = |token: &str| {
        let answer = steady.send(&bearing(Request::new("GET", "/v2/"), token));
        assert!(steady.client.is_connected());
        answer.status
    };
    assert_eq!(
        [status(&old), status(&new), status(&forged)],
        [200, 401, 401]
    );
    let mut registry = Registry::new(node.address);
    let begin = bearing(Request::new("POST", "/v2/team/app/blobs/uploads/"), &old);
    let session = location(&registry.send(&begin).expect(202));
    let chunk = bearing(Request::new("PATCH", session).body("content"), &old);
    let mut half = Client::new(node.address);
    half.write(&chunk.head_bytes()).unwrap();
    half.write(b"con").unwrap();

    // Both count for a while.
    put(&path, &key_set(&[&first, &second]));
    assert!(wait_for(RELOAD_MAX, || status(&new) == 200));
    assert_eq!([status(&old), status(&forged)], [200, 401]);
    // Then the old one does not, though its token was believed a moment ago.
    put(&path, &key_set(&[&second]));
    assert!(wait_for(RELOAD_MAX, || status(&old) == 401));
    assert_eq!([status(&new), status(&forged)], [200, 401]);
    // What the old one began goes on.
    half.write(b"tent").unwrap();
    let held = half.read_response("PATCH").unwrap().expect(202);
    let status_of = bearing(Request::new("GET", location(&held)), &new);
    assert_eq!(registry.send(&status_of).expect(204).only("Range"), "0-6");

    // What is no set of keys changes nothing, and is said.
    put(&path, "{\"keys\":[]}");
    let is_said = || node.log_text().contains("stay as they were");
    assert!(wait_for(RELOAD_MAX, is_said), "{}", node.log_text());
    assert_eq!([status(&new), status(&old)], [200, 401]);
    // Another kind of key under the old name.
    let third = Signer::rsa("2025");
    put(&path, &key_set(&[&third]));
    let newest = third.sign(&claims(SCOPE));
    assert!(wait_for(RELOAD_MAX, || status(&newest) == 200));
    assert_eq!([status(&old), status(&new)], [401, 401]);
}

#[test]
fn a_key_without_a_name_is_exchanged() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("key.pem");
    put(&path, include_str!("../fixtures/auth/ec.pub"));
    let (_home, node) = trusting_file(&path);
    let mut registry = Registry::steady(node.address);
    let mut status = |token: &str| {
        let answer = registry.send(&bearing(Request::new("GET", "/v2/"), token));
        answer.status
    };
    let old = super::server::token(SCOPE);
    let new = Signer::rsa("any").sign(&claims(SCOPE));
    assert_eq!([status(&old), status(&new)], [200, 401]);
    put(&path, include_str!("../fixtures/auth/rsa.crt"));
    assert!(wait_for(RELOAD_MAX, || status(&new) == 200));
    assert_eq!(status(&old), 401);
}
