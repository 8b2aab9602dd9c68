//! Rows of heads and what becomes of them.

use proptest::prelude::*;

use super::*;

fn parse(head: &str) -> Result<Head, u16> {
    match Head::parse(head.as_bytes()) {
        Ok(Some((parsed, taken_bytes))) => {
            assert_eq!(taken_bytes, head.len());
            Ok(parsed)
        }
        Ok(None) => panic!("incomplete: {head:?}"),
        Err(refusal) => Err(refusal.status.code()),
    }
}

/// A GET with a Host and the given further lines.
fn with_lines(lines: &str) -> Result<Head, u16> {
    parse(&format!("GET /v2/ HTTP/1.1\r\nHost: a\r\n{lines}\r\n"))
}

#[test]
fn a_head_tells_its_parts() {
    let head = parse(
        "PATCH /v2/a/blobs/uploads/1?digest=sha256:ab HTTP/1.1\r\nHost: a:5000\r\n\
         Accept: x\r\naccept:y \r\nContent-Length: 12\r\nExpect: 100-Continue\r\nEmpty:\r\n\r\n",
    )
    .unwrap();
    assert_eq!(head.method(), Method::Patch);
    assert_eq!(head.path(), "/v2/a/blobs/uploads/1");
    assert_eq!(head.query().value("digest"), Some("sha256:ab"));
    assert_eq!(head.version(), Version::Http11);
    assert_eq!(head.framing(), Framing::Length(12));
    assert!(head.keep_alive() && head.expects_continue());
    assert_eq!(head.headers("ACCEPT").collect::<Vec<_>>(), ["x", "y"]);
    assert_eq!(head.header("empty"), Some(""));
    assert_eq!(head.header("absent"), None);
}

#[test]
fn seven_accept_lines_are_seven_values() {
    let lines = "Accept: a/b\r\n".repeat(7);
    assert_eq!(with_lines(&lines).unwrap().headers("accept").count(), 7);
}

#[test]
fn a_value_that_is_not_text_reads_as_absent() {
    let bytes = b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: \xff\r\nUser-Agent: b\r\n\r\n";
    let (head, _) = Head::parse(bytes).unwrap().unwrap();
    assert_eq!(head.header("user-agent"), Some("b"));
}

#[test]
fn header_lines_outside_the_dialect_are_refused() {
    for lines in [
        "A : b\r\n",
        " A: b\r\n",
        "A: b\r\n c\r\n",
        "A: b\r\n\tc\r\n",
        "A\r\n",
        ": b\r\n",
        "A B: c\r\n",
        "A\u{e9}: b\r\n",
        "A: \u{1}\r\n",
        "Content-Length : 5\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\ncontent-length: 6\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Host: a\r\n",
        "Range: bytes=0-1\r\nRange: bytes=2-3\r\n",
        "Authorization: a\r\nAuthorization: b\r\n",
    ] {
        assert_eq!(with_lines(lines).unwrap_err(), 400, "{lines:?}");
    }
}

#[test]
fn the_header_count_has_an_exact_bound() {
    let lines = |count: usize| "A: b\r\n".repeat(count);
    assert!(with_lines(&lines(HEADERS_MAX - 1)).is_ok());
    assert_eq!(with_lines(&lines(HEADERS_MAX)).unwrap_err(), 431);
}

#[test]
fn exactly_one_plausible_host_is_wanted() {
    assert_eq!(parse("GET / HTTP/1.1\r\n\r\n").unwrap_err(), 400);
    assert!(parse("GET / HTTP/1.1\r\nHost:\r\n\r\n").is_ok());
    assert!(parse("GET / HTTP/1.1\r\nHost: [::1]:5000\r\n\r\n").is_ok());
    assert!(parse("GET / HTTP/1.0\r\n\r\n").is_ok());
    for host in ["a b", "a/b", "user@a", "a\\b", "a, b", "\u{e9}"] {
        let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(parse(&head).unwrap_err(), 400, "{host}");
    }
    let two = "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n";
    assert_eq!(parse(two).unwrap_err(), 400);
}

#[test]
fn persistence_follows_version_and_connection() {
    assert!(with_lines("").unwrap().keep_alive());
    assert!(!with_lines("Connection: Close\r\n").unwrap().keep_alive());
    let listed = with_lines("Connection: upgrade\r\nConnection: te , close\r\n").unwrap();
    assert!(!listed.keep_alive());
    let old = parse("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").unwrap();
    assert!(!old.keep_alive());
}

#[test]
fn expectations_other_than_continue_fail() {
    for lines in [
        "Expect: 200-ok\r\n",
        "Expect:\r\n",
        "Expect: 100-continue, x\r\n",
        "Expect: 100-continue\r\nExpect: 100-continue\r\n",
    ] {
        assert_eq!(with_lines(lines).unwrap_err(), 417, "{lines:?}");
    }
    let old = parse("PUT / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n").unwrap();
    assert!(!old.expects_continue(), "HTTP/1.0 has no 100");
}

/// Bytes that a fuzzer would try first, and any others.
fn head_bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec![
            "GET / HTTP/1.1\r\n", "Host: a\r\n", "\r\n", "\r\n\r\n", ":", " ", "\t", "\n", "\r",
            "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", "Connection: ,close\r\n",
            "A:", "?a=%41&%", "http://", "HTTP/1.0",
        ]).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..6),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_bytes_are_a_head_a_refusal_or_a_beginning(bytes in head_bytes()) {
        if let Ok(Some((head, taken))) = Head::parse(&bytes) {
            prop_assert!(bytes[..taken].ends_with(b"\r\n\r\n"));
            prop_assert!(head.path().starts_with('/'));
            let lengths = head.headers("content-length").count();
            let codings = head.headers("transfer-encoding").count();
            prop_assert!(lengths + codings <= 1, "two framings were let through");
            prop_assert_eq!(head.framing() == Framing::Chunked, codings == 1);
        }
    }
}
