//! The rows about one message: framing, header lines, chunks, bounds.

use super::End::{Closed, Open};
use super::{BODY, End, Row};

/// Every row; `body_path` is where a PUT has its body read.
pub(crate) fn rows(body_path: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    rows.extend(framing(body_path));
    rows.extend(lengths(body_path));
    rows.extend(codings(body_path));
    rows.extend(header_lines());
    rows.extend(line_ends_and_hosts());
    rows.extend(chunks(body_path));
    rows.extend(bounds(body_path));
    rows.extend(super::order::rows(body_path));
    rows
}

pub(super) fn row(name: &'static str, sent: impl Into<Vec<u8>>, answers: &[u16], end: End) -> Row {
    Row {
        name,
        sent: sent.into(),
        answers: answers.to_vec(),
        end,
    }
}

/// A GET that is right but for the given lines.
pub(super) fn get(lines: &str) -> String {
    format!("GET /v2/ HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
}

pub(super) fn put(path: &str, lines: &str, body: &str) -> String {
    format!(
        "PUT {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/vnd.test\r\n{lines}\r\n{body}"
    )
}

fn framing(path: &str) -> Vec<Row> {
    let refused = |name, lines: &str| row(name, put(path, lines, "abc"), &[400], Closed);
    let body = |name, lines: &str, body: &str| row(name, put(path, lines, body), &[BODY], Open);
    vec![
        body("a length frames the body", "Content-Length: 3\r\n", "abc"),
        body(
            "chunks frame the body",
            "Transfer-Encoding: chunked\r\n",
            "3\r\nabc\r\n0\r\n\r\n",
        ),
        body(
            "chunked in any case",
            "transfer-encoding: CHUNKED\r\n",
            "3\r\nabc\r\n0\r\n\r\n",
        ),
        body("leading zeros are digits", "Content-Length: 003\r\n", "abc"),
        refused(
            "length and coding",
            "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        ),
        refused(
            "coding and length",
            "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        ),
        refused(
            "two lengths, equal",
            "Content-Length: 3\r\nContent-Length: 3\r\n",
        ),
        refused(
            "two lengths, different",
            "Content-Length: 3\r\nContent-Length: 4\r\n",
        ),
        refused(
            "chunked in two lines",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        ),
        row(
            "coding with HTTP/1.0",
            format!(
                "PUT {path} HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
            &[400],
            Closed,
        ),
    ]
}

fn lengths(path: &str) -> Vec<Row> {
    let length = |name, value: &str| {
        let lines = format!("Content-Length: {value}\r\n");
        row(name, put(path, &lines, "abc"), &[400], Closed)
    };
    vec![
        length("a list of lengths", "3, 3"),
        length("a length with a plus", "+3"),
        length("a negative length", "-3"),
        length("a hexadecimal length", "0x3"),
        length("an empty length", ""),
        length("a length above u64", "18446744073709551616"),
        length("a length with a space", "3 3"),
        length("a length with a fraction", "3.0"),
    ]
}

fn codings(path: &str) -> Vec<Row> {
    let coding = |name, value: &str, status| {
        let lines = format!("Transfer-Encoding: {value}\r\n");
        row(
            name,
            put(path, &lines, "3\r\nabc\r\n0\r\n\r\n"),
            &[status],
            Closed,
        )
    };
    vec![
        coding("identity coding", "identity", 501),
        coding("two codings", "gzip, chunked", 501),
        coding("chunked twice in a line", "chunked, chunked", 501),
        coding("a look-alike of chunked", "xchunked", 501),
        coding("chunked with a parameter", "chunked;q=1", 400),
        coding("quoted chunked", "\"chunked\"", 400),
        coding("an empty coding", "", 400),
    ]
}

fn header_lines() -> Vec<Row> {
    let refused = |name, lines: &str| row(name, get(lines), &[400], Closed);
    vec![
        row("a plain request", get(""), &[200], Open),
        row(
            "seven Accept lines",
            get(&"Accept: a/b\r\n".repeat(7)),
            &[200],
            Open,
        ),
        row("a tab around a value", get("A:\tb\t\r\n"), &[200], Open),
        row("an empty value", get("A:\r\n"), &[200], Open),
        row(
            "Upgrade is ignored",
            get("Connection: upgrade\r\nUpgrade: websocket\r\n"),
            &[200],
            Open,
        ),
        refused("space before the colon", "A : b\r\n"),
        refused("tab before the colon", "A\t: b\r\n"),
        refused(
            "space before the colon of a length",
            "Content-Length : 0\r\n",
        ),
        refused("a folded line", "A: b\r\n c\r\n"),
        refused("a folded line, with a tab", "A: b\r\n\tc\r\n"),
        refused("a line that begins with a space", " A: b\r\n"),
        refused("no colon", "A\r\n"),
        refused("an empty name", ": b\r\n"),
        refused("a name that is no token", "A(b): c\r\n"),
        refused("a NUL in a value", "A: b\0c\r\n"),
        refused("a control byte in a value", "A: b\x01c\r\n"),
        refused("DEL in a value", "A: b\x7fc\r\n"),
        refused("a NUL in a name", "A\0: c\r\n"),
        refused("two Hosts", "Host: a\r\n"),
        refused("two Ranges", "Range: bytes=0-1\r\nRange: bytes=1-2\r\n"),
        row(
            "nothing after a refusal is parsed",
            [get("A : b\r\n"), get(""), get("")].concat(),
            &[400],
            Closed,
        ),
    ]
}

fn line_ends_and_hosts() -> Vec<Row> {
    let raw = |name, bytes: &[u8]| row(name, bytes, &[400], Closed);
    vec![
        raw(
            "bare LF after the request line",
            b"GET /v2/ HTTP/1.1\nHost: a\r\n\r\n",
        ),
        raw(
            "bare LF after a header line",
            b"GET /v2/ HTTP/1.1\r\nHost: a\n\r\n",
        ),
        raw(
            "bare LF at the end of the head",
            b"GET /v2/ HTTP/1.1\r\nHost: a\r\n\n",
        ),
        raw(
            "bare CR in a header line",
            b"GET /v2/ HTTP/1.1\r\nHost: a\rb\r\n\r\n",
        ),
        raw(
            "bare CR at the end of the head",
            b"GET /v2/ HTTP/1.1\r\nHost: a\r\n\rX",
        ),
        raw(
            "bare CR in the request line",
            b"GET /v2/\r HTTP/1.1\r\nHost: a\r\n\r\n",
        ),
        raw("no Host", b"GET /v2/ HTTP/1.1\r\n\r\n"),
        raw(
            "a Host with a space",
            b"GET /v2/ HTTP/1.1\r\nHost: a b\r\n\r\n",
        ),
        raw(
            "a Host with a path",
            b"GET /v2/ HTTP/1.1\r\nHost: a/b\r\n\r\n",
        ),
    ]
}

fn chunks(path: &str) -> Vec<Row> {
    let send = |body: &str| put(path, "Transfer-Encoding: chunked\r\n", body);
    let good = |name, body: &str| row(name, send(body), &[BODY], Open);
    let bad = |name, body: &str| row(name, send(body), &[400], Closed);
    let extension = |bytes: usize| format!("1;{}\r\na\r\n", "e".repeat(bytes));
    let trailer = |bytes: usize| format!("1\r\na\r\n0\r\nA: {}\r\n\r\n", "t".repeat(bytes));
    vec![
        good(
            "sizes in both cases",
            "a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n",
        ),
        good("sizes with leading zeros", "0003\r\nabc\r\n000\r\n\r\n"),
        good("an empty chunked body", "0\r\n\r\n"),
        good(
            "extensions are skipped",
            "3;a=b;c=\"d e\"\r\nabc\r\n0;x\r\n\r\n",
        ),
        good(
            "trailers are dropped",
            "3\r\nabc\r\n0\r\nA: b\r\nContent-Length: 9\r\n\r\n",
        ),
        good(
            "extensions up to the bound",
            &format!("{}0\r\n\r\n", extension(16 * 1024)),
        ),
        good("trailers below the bound", &trailer(16 * 1024 - 7)),
        bad("a size with a plus", "+3\r\nabc\r\n0\r\n\r\n"),
        bad("a size with a minus", "-3\r\nabc\r\n0\r\n\r\n"),
        bad("a size with 0x", "0x3\r\nabc\r\n0\r\n\r\n"),
        bad(
            "a size with an underscore",
            "1_0\r\n0123456789abcdef\r\n0\r\n\r\n",
        ),
        bad("a size above u64", "10000000000000003\r\nabc\r\n0\r\n\r\n"),
        bad("an empty size", "\r\nabc\r\n0\r\n\r\n"),
        bad("a size after a space", " 3\r\nabc\r\n0\r\n\r\n"),
        bad("a size before a space", "3 \r\nabc\r\n0\r\n\r\n"),
        bad("a size that is no number", "g\r\nabc\r\n0\r\n\r\n"),
        bad("bare LF after a size", "3\nabc\r\n0\r\n\r\n"),
        bad("bare CR after a size", "3\rabc\r\n0\r\n\r\n"),
        bad("bare LF after data", "3\r\nabc\n0\r\n\r\n"),
        bad("data longer than its size", "3\r\nabcd\r\n0\r\n\r\n"),
        bad("no CRLF after data", "3\r\nabc0\r\n\r\n"),
        bad(
            "a control byte in an extension",
            "3;a\x01\r\nabc\r\n0\r\n\r\n",
        ),
        bad("bare LF in an extension", "3;a\nabc\r\n0\r\n\r\n"),
        bad("a trailer without a colon", "0\r\nA\r\n\r\n"),
        bad(
            "a trailer with space before the colon",
            "0\r\nA : b\r\n\r\n",
        ),
        bad("a folded trailer", "0\r\nA: b\r\n c\r\n\r\n"),
        bad("bare LF after the last chunk", "0\r\n\n"),
        bad(
            "extensions summed over the message",
            &format!("{}{}0\r\n\r\n", extension(10 * 1024), extension(10 * 1024)),
        ),
        row(
            "trailers above the bound",
            send(&trailer(16 * 1024)),
            &[431],
            Closed,
        ),
    ]
}

fn bounds(path: &str) -> Vec<Row> {
    let line = |bytes: usize| {
        let fixed = "GET /v2/? HTTP/1.1".len();
        format!(
            "GET /v2/?{} HTTP/1.1\r\nHost: a\r\n\r\n",
            "q".repeat(bytes - fixed)
        )
    };
    let head = |bytes: usize| {
        let fixed = get("A: \r\nB: \r\n").len();
        let value = "v".repeat(16 * 1024);
        let rest = "v".repeat(bytes - fixed - value.len());
        get(&format!("A: {value}\r\nB: {rest}\r\n"))
    };
    // The Host line counts too.
    let lines = |count: usize| get(&"A: b\r\n".repeat(count - 1));
    vec![
        row("a request line of 8 KiB", line(8 * 1024), &[200], Open),
        row(
            "a request line above 8 KiB",
            line(8 * 1024 + 1),
            &[414],
            Closed,
        ),
        row(
            "a request line without end",
            "G".repeat(9000),
            &[414],
            Closed,
        ),
        row("a head of 32 KiB", head(32 * 1024), &[200], Open),
        row("a head above 32 KiB", head(32 * 1024 + 1), &[431], Closed),
        row(
            "a head without end",
            format!("GET / HTTP/1.1\r\nA: {}", "v".repeat(40_000)),
            &[431],
            Closed,
        ),
        row("64 header lines", lines(64), &[200], Open),
        row("65 header lines", lines(65), &[431], Closed),
        row("1000 header lines", lines(1000), &[431], Closed),
        row(
            "a body of several buffers",
            put(path, "Content-Length: 300000\r\n", &"x".repeat(300_000)),
            &[BODY],
            Open,
        ),
    ]
}
