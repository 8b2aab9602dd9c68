//! What proxies say of their clients, and who is believed.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use super::material::{Material, configured};
use super::session::{Session, Wishes, client, connect, get};
use super::support::{Node, wait_for};

const NEWS_MAX: Duration = Duration::from_secs(10);
/// Where the tests themselves connect from.
const OWN: &str = "127.0.0.1";

/// A node that believes these networks in this way.
fn node(material: &Material, networks: &str, word: &str) -> Node {
    let text = format!("[proxy]\ntrusted = [{networks}]\nword = \"{word}\"\n");
    Node::start_with(configured(&material.path("proxy.toml"), &text))
}

/// Everything the server says to these bytes, until it ends the connection.
fn said_to(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = connect(address);
    stream.write_all(bytes).unwrap();
    let mut said = Vec::new();
    // A reset ends it as well.
    drop(stream.read_to_end(&mut said));
    String::from_utf8_lossy(&said).into_owned()
}

fn last_request(headers: &str, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\r\n")
}

/// Whether the log names this client for a request of this path.
fn names(node: &Node, client: &str, path: &str) -> bool {
    let (client, path) = (
        format!("\"client\":\"{client}\""),
        format!("\"path\":\"{path}\""),
    );
    let is_named = |line: &str| line.contains(&client) && line.contains(&path);
    wait_for(NEWS_MAX, || node.log_text().lines().any(is_named))
}

/// The binary header for a client 192.0.2.7.
const BINARY: [u8; 28] =
    *b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x7f\0\0\x01\x12\x34\x01\xbb";

#[test]
fn headers_are_believed_from_listed_networks_only() {
    let material = Material::new();
    let inside = node(
        &material,
        "\"127.0.0.0/8\", \"10.0.0.0/8\"",
        "x-forwarded-for",
    );
    let rows = [
        ("X-Forwarded-For: 192.0.2.7\r\n", "192.0.2.7", "/v2/one"),
        (
            "X-Forwarded-For: 6.6.6.6, 192.0.2.8, 10.0.0.1\r\n",
            "192.0.2.8",
            "/v2/two",
        ),
        (
            "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 192.0.2.9\r\n",
            "192.0.2.9",
            "/v2/three",
        ),
        ("Forwarded: for=192.0.2.7\r\n", OWN, "/v2/four"),
    ];
    for (headers, client, path) in rows {
        let said = said_to(inside.address, last_request(headers, path).as_bytes());
        assert!(said.starts_with("HTTP/1.1 404 "), "{said}");
        assert!(
            names(&inside, client, path),
            "{path}: {}",
            inside.log_text()
        );
    }
    let hidden = last_request("X-Forwarded-For: \u{ff}, unknown\r\n", "/v2/hidden");
    let said = said_to(inside.address, hidden.as_bytes());
    assert!(said.starts_with("HTTP/1.1 400 "), "{said}");
    let outside = node(&material, "\"10.0.0.0/8\"", "forwarded");
    let lie = last_request("Forwarded: for=192.0.2.7\r\n", "/v2/lie");
    said_to(outside.address, lie.as_bytes());
    assert!(names(&outside, OWN, "/v2/lie"), "{}", outside.log_text());
}

#[test]
fn the_proxy_protocol_is_due_from_listed_networks_and_refused_from_others() {
    let material = Material::new();
    let inside = node(&material, "\"127.0.0.0/8\"", "proxy-protocol");
    let line = b"PROXY TCP4 192.0.2.6 127.0.0.1 1 2\r\n";
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    let rows = [
        (&line[..], "192.0.2.6", "/v2/one"),
        (&BINARY[..], "192.0.2.7", "/v2/two"),
        (&local[..], OWN, "/v2/three"),
    ];
    for (header, client, path) in rows {
        let bytes = [
            header,
            last_request("X-Forwarded-For: 6.6.6.6\r\n", path).as_bytes(),
        ]
        .concat();
        let said = said_to(inside.address, &bytes);
        assert!(said.starts_with("HTTP/1.1 404 "), "{said}");
        assert!(
            names(&inside, client, path),
            "{path}: {}",
            inside.log_text()
        );
    }
    let due = said_to(inside.address, last_request("", "/v2/").as_bytes());
    assert_eq!(due, "", "a trusted proxy must say who its client is");
    assert_eq!(said_to(inside.address, b"PROXY TCP4 1.1.1.1\r\n"), "");

    let outside = node(&material, "\"10.0.0.0/8\"", "proxy-protocol");
    for header in [&line[..], &BINARY[..]] {
        let bytes = [header, last_request("", "/v2/").as_bytes()].concat();
        let said = said_to(outside.address, &bytes);
        assert!(said.starts_with("HTTP/1.1 400 "), "{said}");
    }
    let said = said_to(outside.address, last_request("", "/v2/").as_bytes());
    assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
}

#[test]
fn the_proxy_protocol_comes_before_tls_byte_by_byte() {
    let material = Material::new();
    let more = "[proxy]\ntrusted = [\"127.0.0.0/8\"]\nword = \"proxy-protocol\"";
    material.install(&material.pair(super::material::NAME, 2090));
    let node = Node::start_with(material.options(more));
    // With the client's first bytes in one packet, and one byte after the other.
    for (is_slow, path) in [(false, "/v2/one"), (true, "/v2/two")] {
        let mut state = client(&material.trusted, &Wishes::default(), None);
        let mut bytes = BINARY.to_vec();
        state.write_tls(&mut bytes).unwrap();
        let mut socket = connect(node.address);
        if is_slow {
            for byte in bytes {
                socket.write_all(&[byte]).unwrap();
            }
        } else {
            socket.write_all(&bytes).unwrap();
        }
        let mut session = Session::over(socket, state).unwrap();
        let answer = session.ask(&get(path)).unwrap();
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
        assert!(names(&node, "192.0.2.7", path), "{}", node.log_text());
    }
    let without = Session::open(node.address, &material.trusted, &Wishes::default(), None);
    assert!(
        without.is_err(),
        "TLS alone is not enough from a trusted proxy"
    );
}
