//! The strict HTTP/1.1 dialect at the socket: bytes in, answer out.
//!
//! Behind every refused row a well-formed request follows at once. It must not
//! be answered: whoever disagrees with a proxy about where a request ends lets
//! one client speak for another.

use std::time::Duration;

use super::support::{Client, shared_address};

/// A server that has closed says so within this time.
const CLOSE_MAX: Duration = Duration::from_secs(15);
/// What follows every row.
const FOLLOWER: &str = "GET /v2/ HTTP/1.1\r\nHost: follower\r\n\r\n";

/// Sends `bytes` in pieces of `piece_bytes` and gives the status of each answer
/// until the server closes, and whether it said that it would.
fn exchange(bytes: &[u8], piece_bytes: usize) -> (Vec<u16>, bool) {
    let mut client = Client::new(shared_address());
    client.set_patience(CLOSE_MAX).unwrap();
    for piece in bytes.chunks(piece_bytes) {
        // The server may close before it has taken everything.
        if client.write(piece).is_err() {
            break;
        }
    }
    let mut received = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(count) = client.read_some(&mut piece) {
        if count == 0 {
            break;
        }
        received.extend_from_slice(&piece[..count]);
    }
    let text = String::from_utf8_lossy(&received).into_owned();
    let answers = text
        .match_indices("HTTP/1.1 ")
        .map(|(at, _)| &text[at + 9..at + 12]);
    let statuses = answers.map(|digits| digits.parse().unwrap()).collect();
    (
        statuses,
        text.to_ascii_lowercase().contains("connection: close"),
    )
}

#[track_caller]
fn refused(rows: &[(&str, Vec<u8>)], statuses: &[u16]) {
    for (what, bytes) in rows {
        let mut all = bytes.clone();
        all.extend_from_slice(FOLLOWER.as_bytes());
        let (got, says_close) = exchange(&all, all.len());
        assert_eq!(got.len(), 1, "{what}: answers {got:?}");
        assert!(
            statuses.contains(&got[0]),
            "{what}: {got:?}, want {statuses:?}"
        );
        assert!(says_close, "{what}: no `Connection: close`");
    }
}

/// Rows that are answered, and the connection goes on: the follower asks to close.
#[track_caller]
fn accepted(rows: &[(&str, Vec<u8>)], status: u16) {
    let last = "GET /v2/ HTTP/1.1\r\nHost: follower\r\nConnection: close\r\n\r\n";
    for (what, bytes) in rows {
        let mut all = bytes.clone();
        all.extend_from_slice(last.as_bytes());
        let (got, _) = exchange(&all, all.len());
        assert_eq!(got, [status, 200], "{what}");
    }
}

fn get(headers: &str) -> Vec<u8> {
    format!("GET /v2/ HTTP/1.1\r\nHost: x\r\n{headers}\r\n").into_bytes()
}

/// A request whose body is read to its end before it is answered: a push with a
/// digest that cannot be right.
fn post(headers: &str, body: &str) -> Vec<u8> {
    let digest = "0".repeat(64);
    let target = format!("/v2/dialect/x/blobs/uploads/?digest=sha256:{digest}");
    format!("POST {target} HTTP/1.1\r\nHost: x\r\n{headers}\r\n{body}").into_bytes()
}

#[test]
fn ambiguous_framing_is_refused() {
    refused(
        &[
            (
                "both framings",
                post(
                    "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
                    "0\r\n\r\n",
                ),
            ),
            (
                "both, other order",
                post(
                    "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
                    "0\r\n\r\n",
                ),
            ),
            (
                "two lengths",
                post("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"),
            ),
            (
                "two other lengths",
                post("Content-Length: 3\r\nContent-Length: 4\r\n", "abcd"),
            ),
            ("a list of lengths", post("Content-Length: 3, 3\r\n", "abc")),
            ("a plus", post("Content-Length: +3\r\n", "abc")),
            ("a minus", post("Content-Length: -3\r\n", "")),
            ("hexadecimal", post("Content-Length: 0x3\r\n", "abc")),
            ("no number", post("Content-Length: \r\n", "")),
            ("a fraction", post("Content-Length: 3.0\r\n", "abc")),
            (
                "an overflow",
                post("Content-Length: 18446744073709551616\r\n", "abc"),
            ),
            ("an inner space", post("Content-Length: 3 3\r\n", "abc")),
        ],
        &[400],
    );
}

#[test]
fn transfer_encodings_other_than_chunked_are_refused() {
    let row = |value: &str| post(&format!("Transfer-Encoding: {value}\r\n"), "0\r\n\r\n");
    refused(
        &[
            ("gzip then chunked", row("gzip, chunked")),
            ("chunked twice", row("chunked, chunked")),
            ("identity", row("identity")),
            ("empty", row("")),
            ("a look-alike", row("xchunked")),
            ("a vertical tab", row("\u{b}chunked")),
            ("quoted", row("\"chunked\"")),
            ("with a parameter", row("chunked;q=1")),
            (
                "two lines",
                post(
                    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
                    "",
                ),
            ),
        ],
        &[400, 501],
    );
    let old = b"POST /v2/dialect/x/blobs/uploads/ HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    refused(
        &[("chunked in HTTP/1.0", [&old[..], b"0\r\n\r\n"].concat())],
        &[400],
    );
    accepted(&[("any case", row("CHUNKED"))], 400);
}

#[test]
fn malformed_heads_are_refused() {
    refused(
        &[
            ("a space before the colon", get("Name : value\r\n")),
            ("a tab before the colon", get("Name\t: value\r\n")),
            ("a folded line", get("Name: value\r\n folded\r\n")),
            (
                "a folded line with a tab",
                get("Name: value\r\n\tfolded\r\n"),
            ),
            ("a bare LF", get("Name: value\nOther: value\r\n")),
            ("a bare CR", get("Name: val\rue\r\n")),
            ("NUL in a value", get("Name: val\0ue\r\n")),
            ("a control byte in a value", get("Name: val\u{1}ue\r\n")),
            ("DEL in a value", get("Name: val\u{7f}ue\r\n")),
            ("an empty name", get(": value\r\n")),
            ("no colon", get("Name value\r\n")),
            ("a control byte in a name", get("Na\u{2}me: value\r\n")),
            ("a name outside the token grammar", get("Na(me: value\r\n")),
            ("only LF", b"GET /v2/ HTTP/1.1\nHost: x\n\n".to_vec()),
            (
                "a space first",
                b"GET /v2/ HTTP/1.1\r\n Host: x\r\n\r\n".to_vec(),
            ),
            ("no Host", b"GET /v2/ HTTP/1.1\r\n\r\n".to_vec()),
            (
                "two Hosts",
                b"GET /v2/ HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n".to_vec(),
            ),
        ],
        &[400],
    );
}

#[test]
fn malformed_request_lines_are_refused() {
    let row = |line: &str| format!("{line}\r\nHost: x\r\n\r\n").into_bytes();
    refused(
        &[
            ("HTTP/0.9", b"GET /v2/\r\n\r\n".to_vec()),
            (
                "the preface of HTTP/2",
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            ),
            ("version 2.0", row("GET /v2/ HTTP/2.0")),
            ("version 1.2", row("GET /v2/ HTTP/1.2")),
            ("version 9.9", row("GET /v2/ HTTP/9.9")),
            ("a lower-case version", row("GET /v2/ http/1.1")),
            ("two spaces", row("GET  /v2/ HTTP/1.1")),
            ("a space inside", row("GET /v2/ x HTTP/1.1")),
            ("a tab", row("GET\t/v2/ HTTP/1.1")),
            ("nothing but spaces", row("  ")),
            ("a control byte", row("GET /v2/\u{1} HTTP/1.1")),
            ("bytes above ASCII", row("GET /v2/\u{e9} HTTP/1.1")),
            ("a relative target", row("GET v2/ HTTP/1.1")),
            ("a fragment", row("GET /v2/#x HTTP/1.1")),
        ],
        &[400, 404, 505],
    );
}

#[test]
fn malformed_chunks_are_refused() {
    let row = |body: &str| post("Transfer-Encoding: chunked\r\n", body);
    let overlong = format!("5;{}\r\nhello\r\n0\r\n\r\n", "e".repeat(17_000));
    refused(
        &[
            ("a sign", row("+5\r\nhello\r\n0\r\n\r\n")),
            ("a minus", row("-5\r\nhello\r\n0\r\n\r\n")),
            ("a prefix", row("0x5\r\nhello\r\n0\r\n\r\n")),
            ("an underscore", row("0_5\r\nhello\r\n0\r\n\r\n")),
            ("no size", row("\r\nhello\r\n0\r\n\r\n")),
            ("no hexadecimal", row("g\r\nhello\r\n0\r\n\r\n")),
            (
                "an overflow",
                row("10000000000000005\r\nhello\r\n0\r\n\r\n"),
            ),
            ("a space first", row(" 5\r\nhello\r\n0\r\n\r\n")),
            ("LF after the size", row("5\nhello\r\n0\r\n\r\n")),
            ("CR after the size", row("5\rhello\r\n0\r\n\r\n")),
            ("LF after the data", row("5\r\nhello\n0\r\n\r\n")),
            ("more data than said", row("5\r\nhello!\r\n0\r\n\r\n")),
            ("less data than said", row("6\r\nhello\r\n0\r\n\r\n")),
            (
                "a control byte in an extension",
                row("5;a=\u{1}\r\nhello\r\n0\r\n\r\n"),
            ),
            (
                "a bare LF in an extension",
                row("5;a=\nb\r\nhello\r\n0\r\n\r\n"),
            ),
            ("an endless extension", row(&overlong)),
        ],
        &[400, 413, 431],
    );
    accepted(
        &[
            ("an extension", row("5;name=value\r\nhello\r\n0\r\n\r\n")),
            ("leading zeros", row("0005\r\nhello\r\n000\r\n\r\n")),
            ("a trailer", row("5\r\nhello\r\n0\r\nName: value\r\n\r\n")),
        ],
        400,
    );
}

#[test]
fn bounds_are_answered_with_their_own_status() {
    let long_line = format!("GET /v2/{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(9000));
    refused(
        &[("a request line over 8 KiB", long_line.into_bytes())],
        &[414],
    );
    let many: Vec<String> = (0..64).map(|number| format!("N{number}: v\r\n")).collect();
    let long = format!("Name: {}\r\n", "v".repeat(33_000));
    let trailers = format!("0\r\nName: {}\r\n\r\n", "v".repeat(17_000));
    refused(
        &[
            ("65 header lines", get(&many.concat())),
            ("a head over 32 KiB", get(&long)),
            (
                "trailers over 16 KiB",
                post("Transfer-Encoding: chunked\r\n", &trailers),
            ),
        ],
        &[431],
    );
    accepted(&[("64 header lines", get(&many[..63].concat()))], 200);
}

#[test]
fn legal_oddities_are_accepted() {
    accepted(
        &[
            ("white space around a value", get("Name: \t value \t\r\n")),
            ("an empty value", get("Name:\r\n")),
            ("bytes above ASCII in a value", get("Name: \u{e9}\r\n")),
            (
                "an upgrade, ignored",
                get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"),
            ),
            (
                "an absolute target",
                b"GET http://any/v2/ HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            ),
            ("an empty body", get("Content-Length: 0\r\n")),
            (
                "a query",
                b"GET /v2/?a=b&c=%20 HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            ),
        ],
        200,
    );
}

#[test]
fn unknown_expectations_are_417() {
    let row = post("Expect: the-unexpected\r\nContent-Length: 5\r\n", "");
    let (got, _) = exchange(&row, row.len());
    assert_eq!(got, [417]);
}

#[test]
fn connect_and_trace_are_refused() {
    refused(
        &[(
            "CONNECT",
            b"CONNECT registry:443 HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        )],
        &[400, 405, 501],
    );
}

#[test]
fn any_split_of_the_bytes_gives_the_same_answers() {
    let mut stream = Vec::new();
    stream.extend(get("Name: value\r\n"));
    stream.extend(post(
        "Transfer-Encoding: chunked\r\n",
        "5;x=y\r\nhello\r\n0\r\nT: v\r\n\r\n",
    ));
    stream.extend(b"HEAD /v2/ HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.extend(post("Content-Length: 5\r\n", "hello"));
    stream.extend(get("Broken : header\r\n"));
    stream.extend(FOLLOWER.as_bytes());
    for piece_bytes in [stream.len(), 1, 2, 3, 7, 16, 61] {
        let (got, _) = exchange(&stream, piece_bytes);
        assert_eq!(got, [200, 400, 200, 400, 400], "pieces of {piece_bytes}");
    }
}
