//! Rules on networks, limits and audit lines where proxies stand between: whose word
//! decides, and whose does not.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use serde_json::Value;
use tempfile::TempDir;

use super::server::configured;
use crate::support::{Client, Node, Request, wait_for};

/// A proxy that is listed, and an address that is not.
const LISTED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 5);
const UNLISTED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 6);
const TRUSTED: &str = "['127.0.0.5/32', '10.0.0.0/8', 'fd00::/8']";
const RULES: &str = "
[[auth.rules]]
subject.anonymous = true
subject.network = '192.0.2.0/24'
resource.repository = 'office/four'
actions = ['pull']
[[auth.rules]]
subject.anonymous = true
subject.network = '2001:db8::/32'
resource.repository = 'office/six'
actions = ['pull']
[[auth.rules]]
subject.anonymous = true
subject.network = { or = ['0.0.0.0/0', '::/0'] }
resource.repository = 'known'
actions = ['pull']
";
const PATIENCE: Duration = Duration::from_secs(30);

/// The repositories that the rules are about: for clients in the office, by either kind
/// of address, and for whoever's address is known at all.
const REPOSITORIES: [&str; 3] = ["office/four", "office/six", "known"];
/// Which of them a client gets.
const FOUR: [bool; 3] = [true, false, true];
const SIX: [bool; 3] = [false, true, true];
const ELSEWHERE: [bool; 3] = [false, false, true];
const NOWHERE: [bool; 3] = [false, false, false];

/// A node that believes its proxies in one way, and its audit file.
fn node(word: &str, more: &str) -> ([TempDir; 2], PathBuf, Node) {
    let home = tempfile::tempdir().unwrap();
    let audit = home.path().join("audit");
    let text = format!(
        "[proxy]\ntrusted = {TRUSTED}\nword = '{word}'\n[audit]\nlevel = 'refusals'\nfile = '{}'\n\
         {more}\n[auth]\nmode = 'users'\n{RULES}",
        audit.display()
    );
    let (configuration, options) = configured(&text);
    let node = Node::start_with(options);
    ([home, configuration], audit, node)
}

/// What the node says to these bytes from one of this machine's addresses: the status
/// and the number of the request, or nothing before it closes.
#[track_caller]
fn said(from: Ipv4Addr, to: SocketAddr, bytes: &[u8]) -> Option<(u16, String)> {
    let open = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&open, &SocketAddrV4::new(from, 0)).unwrap();
    connect(&open, &to).unwrap();
    let mut stream = TcpStream::from(open);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut said = Vec::new();
    // A reset ends it as well; silence does not.
    if let Err(error) = stream.read_to_end(&mut said) {
        let text = String::from_utf8_lossy(&said);
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "after {text:?}");
    }
    let said = String::from_utf8(said).unwrap();
    let status = said.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().unwrap();
    let id = said
        .lines()
        .find_map(|line| line.strip_prefix("X-Request-Id: "));
    Some((status, id.unwrap_or_default().to_owned()))
}

fn request(repository: &str, headers: &str) -> String {
    format!(
        "GET /v2/{repository}/tags/list HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\r\n"
    )
}

/// Asks for every repository with this before and in the request; the rules decide as
/// they do for `given`, and audit lines name `client`.
#[track_caller]
fn check(
    (node, audit): (&Node, &PathBuf),
    (from, before, headers): (Ipv4Addr, &[u8], &str),
    (given, client): ([bool; 3], &str),
) {
    let about = format!("{from} {} {headers:?}", String::from_utf8_lossy(before));
    for (repository, is_given) in REPOSITORIES.into_iter().zip(given) {
        let bytes = [before, request(repository, headers).as_bytes()].concat();
        let (status, id) = said(from, node.address, &bytes).expect("an answer");
        // There is no such repository, which only who may pull it is told.
        let expected = if is_given { 404 } else { 401 };
        assert_eq!(status, expected, "{about}: {repository}");
        if !is_given {
            let line = || {
                let text = fs::read_to_string(audit).unwrap_or_default();
                let mut lines = text.lines().filter(|line| line.contains(&id));
                lines.find_map(|line| serde_json::from_str::<Value>(line).ok())
            };
            assert!(wait_for(PATIENCE, || line().is_some()), "{about}");
            assert_eq!(line().unwrap()["client"], client, "{about}");
        }
    }
}

/// Whether a request is refused for what stands in it.
#[track_caller]
fn check_refused(node: &Node, headers: &str) {
    for repository in REPOSITORIES {
        let bytes = request(repository, headers);
        let (status, _) = said(LISTED, node.address, bytes.as_bytes()).expect("an answer");
        assert_eq!(status, 400, "{headers:?}");
    }
}

#[test]
fn a_rule_on_networks_believes_x_forwarded_for_of_listed_proxies() {
    let (_home, audit, node) = node("x-forwarded-for", "");
    let at = (&node, &audit);
    let rows = [
        ("192.0.2.7", FOUR, "192.0.2.7"),
        ("192.0.2.7:4711", FOUR, "192.0.2.7"),
        ("::ffff:192.0.2.7", FOUR, "192.0.2.7"),
        ("2001:db8::7", SIX, "2001:db8::7"),
        ("[2001:db8::7]:4711", SIX, "2001:db8::7"),
        ("198.51.100.1", ELSEWHERE, "198.51.100.1"),
        ("2001:db9::7", ELSEWHERE, "2001:db9::7"),
        // Through several, whose addresses are listed.
        ("192.0.2.7, 10.0.0.1, fd00::1", FOUR, "192.0.2.7"),
        ("198.51.100.1, fd00::1, 10.0.0.1", ELSEWHERE, "198.51.100.1"),
        // What the client wrote itself, before what the first proxy saw.
        ("192.0.2.7, 198.51.100.1", ELSEWHERE, "198.51.100.1"),
        (
            "192.0.2.7, 198.51.100.1, 10.0.0.1",
            ELSEWHERE,
            "198.51.100.1",
        ),
        ("10.0.0.9, 198.51.100.1", ELSEWHERE, "198.51.100.1"),
        ("junk, 192.0.2.7", FOUR, "192.0.2.7"),
    ];
    for (value, given, client) in rows {
        let header = format!("X-Forwarded-For: {value}\r\n");
        check(at, (LISTED, b"", &header), (given, client));
        // From elsewhere nobody's word counts.
        check(at, (UNLISTED, b"", &header), (ELSEWHERE, "127.0.0.6"));
    }
    let lines = "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-For: 198.51.100.1\r\n";
    check(at, (LISTED, b"", lines), (ELSEWHERE, "198.51.100.1"));
    check(at, (LISTED, b"", ""), (ELSEWHERE, "127.0.0.5"));
    let other = "Forwarded: for=192.0.2.7\r\n";
    check(at, (LISTED, b"", other), (ELSEWHERE, "127.0.0.5"));
    for junk in [
        "junk",
        "",
        "unknown",
        "192.0.2.7, junk",
        "192.0.2.7,",
        "192.0.2.7, 10.0.0.1 x",
    ] {
        check_refused(&node, &format!("X-Forwarded-For: {junk}\r\n"));
    }
}

#[test]
fn a_rule_on_networks_believes_forwarded_of_listed_proxies() {
    let (_home, audit, node) = node("forwarded", "");
    let at = (&node, &audit);
    let rows = [
        ("for=192.0.2.7", FOUR, "192.0.2.7"),
        ("for=192.0.2.7;proto=https;host=a", FOUR, "192.0.2.7"),
        ("For=\"192.0.2.7:4711\"", FOUR, "192.0.2.7"),
        ("for=\"[2001:db8::7]:4711\"", SIX, "2001:db8::7"),
        ("for=\"[2001:db9::7]\"", ELSEWHERE, "2001:db9::7"),
        (
            "for=192.0.2.7, for=10.0.0.1, for=\"[fd00::1]\"",
            FOUR,
            "192.0.2.7",
        ),
        ("for=192.0.2.7, for=198.51.100.1", ELSEWHERE, "198.51.100.1"),
        ("for=_hidden, for=192.0.2.7", FOUR, "192.0.2.7"),
    ];
    for (value, given, client) in rows {
        let header = format!("Forwarded: {value}\r\n");
        check(at, (LISTED, b"", &header), (given, client));
        check(at, (UNLISTED, b"", &header), (ELSEWHERE, "127.0.0.6"));
    }
    let other = "X-Forwarded-For: 192.0.2.7\r\n";
    check(at, (LISTED, b"", other), (ELSEWHERE, "127.0.0.5"));
    for junk in [
        "for=unknown",
        "for=_hidden",
        "for=192.0.2.7, for=",
        "proto=https",
        "192.0.2.7",
    ] {
        check_refused(&node, &format!("Forwarded: {junk}\r\n"));
    }
}

/// The binary header for a family of addresses and its content.
fn binary(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    let signature = b"\r\n\r\n\0\r\nQUIT\n";
    [&signature[..], &[command, family], &length, content].concat()
}

#[test]
fn a_rule_on_networks_believes_the_proxy_protocol_of_listed_proxies() {
    let (_home, audit, node) = node("proxy-protocol", "");
    let at = (&node, &audit);
    let four = |client: [u8; 4]| {
        binary(
            0x21,
            0x11,
            &[&client[..], &[127, 0, 0, 1, 1, 1, 2, 2]].concat(),
        )
    };
    let six = |text: &str| {
        let client = text.parse::<std::net::Ipv6Addr>().unwrap().octets();
        binary(
            0x21,
            0x21,
            &[&client[..], &[0; 16], &[1, 1, 2, 2, 0xee, 0, 1, 9]].concat(),
        )
    };
    let line = |text: &str| text.as_bytes().to_vec();
    let rows = [
        (
            line("PROXY TCP4 192.0.2.7 127.0.0.1 1 2\r\n"),
            FOUR,
            "192.0.2.7",
        ),
        (
            line("PROXY TCP4 198.51.100.1 192.0.2.7 1 2\r\n"),
            ELSEWHERE,
            "198.51.100.1",
        ),
        (
            line("PROXY TCP6 2001:db8::7 ::1 1 2\r\n"),
            SIX,
            "2001:db8::7",
        ),
        (
            line("PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n"),
            FOUR,
            "192.0.2.7",
        ),
        (four([192, 0, 2, 7]), FOUR, "192.0.2.7"),
        (four([198, 51, 100, 1]), ELSEWHERE, "198.51.100.1"),
        (six("2001:db8::7"), SIX, "2001:db8::7"),
        (six("2001:db9::7"), ELSEWHERE, "2001:db9::7"),
        // The proxy for itself, and for somebody of whom it does not know where it is.
        (binary(0x20, 0, b""), ELSEWHERE, "127.0.0.5"),
        (binary(0x21, 0, b""), NOWHERE, "127.0.0.5"),
        (line("PROXY UNKNOWN\r\n"), NOWHERE, "127.0.0.5"),
        (
            line("PROXY UNKNOWN 192.0.2.7 127.0.0.1 1 2\r\n"),
            NOWHERE,
            "127.0.0.5",
        ),
    ];
    let lies = "X-Forwarded-For: 192.0.2.7\r\nForwarded: for=192.0.2.7\r\n";
    for (before, given, client) in rows {
        check(at, (LISTED, &before, lies), (given, client));
        let bytes = [&before[..], request("known", "").as_bytes()].concat();
        let (status, _) = said(UNLISTED, node.address, &bytes).expect("an answer");
        assert_eq!(status, 400, "{before:?}");
    }
    check(at, (UNLISTED, b"", lies), (ELSEWHERE, "127.0.0.6"));
}

#[test]
fn a_listed_proxy_that_says_nothing_sensible_is_not_listened_to() {
    let (_home, _audit, node) = node("proxy-protocol", "");
    let line = |text: &str| text.as_bytes().to_vec();
    let mut refused = 0;
    for junk in [
        line(""),
        line("PROXY TCP4 192.0.2.7\r\n"),
        line("PROXY TCP4 192.0.2.700 127.0.0.1 1 2\r\n"),
        line("PROXY TCP5 192.0.2.7 127.0.0.1 1 2\r\n"),
        binary(0x31, 0x11, &[192, 0, 2, 7, 127, 0, 0, 1, 1, 1, 2, 2]),
        binary(0x21, 0x12, &[192, 0, 2, 7, 127, 0, 0, 1, 1, 1, 2, 2]),
        binary(0x21, 0x11, &[192, 0, 2, 7]),
    ] {
        let bytes = [&junk[..], request("known", "").as_bytes()].concat();
        assert_eq!(said(LISTED, node.address, &bytes), None, "{junk:?}");
        refused += 1;
        // For what it said, and not because nothing more came.
        let line = format!("windlass_entrances_total{{end=\"proxy_header\"}} {refused}\n");
        let are_counted = || {
            let page = Client::new(node.admin_address).send(&Request::new("GET", "/metrics"));
            String::from_utf8(page.body).unwrap().contains(&line)
        };
        assert!(wait_for(PATIENCE, are_counted), "not {line}");
    }
}

#[test]
fn limits_are_those_of_the_client_behind_a_listed_proxy_and_of_any_other_peer() {
    let rate = "[limits.address]\nrequests_per_second = 1\nrequest_burst = 20\n";
    let (_home, _audit, node) = node("x-forwarded-for", rate);
    let ask = |from, client: &str| {
        let header = format!("X-Forwarded-For: {client}\r\n");
        said(from, node.address, request("known", &header).as_bytes())
            .expect("an answer")
            .0
    };
    let is_refused = |from, client: &dyn Fn(u32) -> String| {
        (0..60).any(|number| ask(from, &client(number)) == 429)
    };
    assert!(is_refused(LISTED, &|_| "192.0.2.7".to_owned()));
    assert_eq!(ask(LISTED, "192.0.2.8"), 404, "another client");
    assert_eq!(ask(LISTED, "2001:db8::7"), 404, "another client");
    assert!(!is_refused(LISTED, &|number| format!(
        "198.51.100.{number}"
    )));
    // Who invents clients is one.
    assert!(is_refused(UNLISTED, &|number| format!(
        "203.0.113.{number}"
    )));
    assert_eq!(ask(LISTED, "203.0.113.1"), 404, "nobody else pays for it");
}
