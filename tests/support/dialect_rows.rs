//! The rows of the dialect, in the order of its sentences.

use super::End::{Closed, Open};
use super::{BODY, End, Row};

/// Every row; `body_path` is where a PUT has its body read.
pub(crate) fn rows(body_path: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    rows.extend(framing(body_path));
    rows.extend(header_lines());
    rows.extend(chunks(body_path));
    rows.extend(bounds(body_path));
    rows.extend(request_lines());
    rows.extend(expectations(body_path));
    rows.extend(early_answers());
    rows.extend(pipelines(body_path));
    rows
}

fn row(name: &'static str, sent: impl Into<Vec<u8>>, answers: &[u16], end: End) -> Row {
    Row {
        name,
        sent: sent.into(),
        answers: answers.to_vec(),
        end,
    }
}

/// A GET that is right but for the given lines.
fn get(lines: &str) -> String {
    format!("GET /v2/ HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
}

fn put(path: &str, lines: &str, body: &str) -> String {
    format!(
        "PUT {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/vnd.test\r\n{lines}\r\n{body}"
    )
}

fn framing(path: &str) -> Vec<Row> {
    let refused = |name, lines: &str| row(name, put(path, lines, "abc"), &[400], Closed);
    let length = |name, value: &str| {
        let lines = format!("Content-Length: {value}\r\n");
        row(name, put(path, &lines, "abc"), &[400], Closed)
    };
    let coding = |name, value: &str, status| {
        let lines = format!("Transfer-Encoding: {value}\r\n");
        row(
            name,
            put(path, &lines, "3\r\nabc\r\n0\r\n\r\n"),
            &[status],
            Closed,
        )
    };
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
        length("a list of lengths", "3, 3"),
        length("a length with a plus", "+3"),
        length("a negative length", "-3"),
        length("a hexadecimal length", "0x3"),
        length("an empty length", ""),
        length("a length above u64", "18446744073709551616"),
        length("a length with a space", "3 3"),
        length("a length with a fraction", "3.0"),
        coding("identity coding", "identity", 501),
        coding("two codings", "gzip, chunked", 501),
        coding("chunked twice in a line", "chunked, chunked", 501),
        coding("a look-alike of chunked", "xchunked", 501),
        coding("chunked with a parameter", "chunked;q=1", 400),
        coding("quoted chunked", "\"chunked\"", 400),
        coding("an empty coding", "", 400),
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

fn header_lines() -> Vec<Row> {
    let refused = |name, lines: &str| row(name, get(lines), &[400], Closed);
    let raw = |name, bytes: &[u8]| row(name, bytes, &[400], Closed);
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
        row(
            "nothing after a refusal is parsed",
            [get("A : b\r\n"), get(""), get("")].concat(),
            &[400],
            Closed,
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

fn request_lines() -> Vec<Row> {
    let line = |name, line: &str, status| {
        row(
            name,
            format!("{line}\r\nHost: a\r\n\r\n"),
            &[status],
            Closed,
        )
    };
    vec![
        row(
            "HTTP/2 preface",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            &[505],
            Closed,
        ),
        row("HTTP/0.9", "GET /v2/\r\n", &[400], Closed),
        row(
            "a TLS hello",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(),
            &[400],
            Closed,
        ),
        row(
            "HTTP/1.0 is answered and closed",
            "GET /v2/ HTTP/1.0\r\nHost: a\r\n\r\n",
            &[200],
            Closed,
        ),
        row(
            "HTTP/1.0 is closed whatever it wishes",
            "GET /v2/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
            &[200],
            Closed,
        ),
        row(
            "Connection: close",
            get("Connection: close\r\n"),
            &[200],
            Closed,
        ),
        row(
            "HEAD has no body",
            "HEAD /v2/ HTTP/1.1\r\nHost: a\r\n\r\n",
            &[200],
            Open,
        ),
        line("HTTP/1.2", "GET /v2/ HTTP/1.2", 505),
        line("HTTP/3.0", "GET /v2/ HTTP/3.0", 505),
        line("a version in small letters", "GET /v2/ http/1.1", 400),
        line("no version", "GET /v2/", 400),
        line("two spaces", "GET  /v2/ HTTP/1.1", 400),
        line("a space at the end", "GET /v2/ HTTP/1.1 ", 400),
        line("a space at the front", " GET /v2/ HTTP/1.1", 400),
        line("a tab for a space", "GET\t/v2/ HTTP/1.1", 400),
        line("a space in the target", "GET /v2/ a HTTP/1.1", 400),
        line("a fragment", "GET /v2/#a HTTP/1.1", 400),
        line(
            "a byte above ASCII in the target",
            "GET /v2/\u{e9} HTTP/1.1",
            400,
        ),
        line("a NUL in the target", "GET /v2/\0 HTTP/1.1", 400),
        line("a relative target", "GET v2/ HTTP/1.1", 400),
        line(
            "a broken escape in the query",
            "GET /v2/?n=%zz HTTP/1.1",
            400,
        ),
        line("CONNECT", "CONNECT a:443 HTTP/1.1", 405),
        line("TRACE", "TRACE /v2/ HTTP/1.1", 405),
        line("OPTIONS", "OPTIONS * HTTP/1.1", 405),
        line("an unknown method", "BREW /v2/ HTTP/1.1", 501),
        line("a method in small letters", "get /v2/ HTTP/1.1", 501),
        line("a method that is no token", "G{T /v2/ HTTP/1.1", 400),
        row(
            "one empty line before a request",
            format!("\r\n{}", get("")),
            &[200],
            Open,
        ),
        row(
            "two empty lines before a request",
            format!("\r\n\r\n{}", get("")),
            &[400],
            Closed,
        ),
        row(
            "absolute form: the authority is ignored",
            "GET http://elsewhere.example:81/v2/ HTTP/1.1\r\nHost: a\r\n\r\n",
            &[200],
            Open,
        ),
        row(
            "absolute form needs a Host too",
            "GET http://elsewhere.example/v2/ HTTP/1.1\r\n\r\n",
            &[400],
            Closed,
        ),
        row(
            "another scheme",
            "GET ftp://elsewhere.example/v2/ HTTP/1.1\r\nHost: a\r\n\r\n",
            &[400],
            Closed,
        ),
    ]
}

fn expectations(path: &str) -> Vec<Row> {
    let expect = "Expect: 100-continue\r\nContent-Length: 3\r\n";
    vec![
        row(
            "100 before a body that is read",
            put(path, expect, "abc"),
            &[100, BODY],
            Open,
        ),
        row(
            "an expectation in other letters",
            put(path, "Expect: 100-Continue\r\nContent-Length: 3\r\n", "abc"),
            &[100, BODY],
            Open,
        ),
        row(
            "no 100 for a request that is refused, and no guess about its body",
            put("/v2/a/blobs/uploads/none", expect, ""),
            &[404],
            Closed,
        ),
        row(
            "no 100 where there is no body",
            get("Expect: 100-continue\r\n"),
            &[200],
            Open,
        ),
        row(
            "an unknown expectation",
            get("Expect: 200-ok\r\n"),
            &[417],
            Closed,
        ),
        row(
            "two expectations",
            get("Expect: 100-continue, 200-ok\r\n"),
            &[417],
            Closed,
        ),
        row(
            "HTTP/1.0 knows no 100",
            format!("PUT {path} HTTP/1.0\r\nContent-Type: a/b\r\n{expect}\r\nabc"),
            &[BODY],
            Closed,
        ),
    ]
}

fn early_answers() -> Vec<Row> {
    let early = |length: usize| {
        let lines = format!("Content-Length: {length}\r\n");
        put("/v2/a/blobs/uploads/none", &lines, &"x".repeat(length))
    };
    let chunked = |data: &str| {
        put(
            "/v2/a/blobs/uploads/none",
            "Transfer-Encoding: chunked\r\n",
            data,
        )
    };
    let smuggled = "GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n";
    vec![
        row(
            "an unread body of 64 KiB is drained",
            early(64 * 1024),
            &[404],
            Open,
        ),
        row(
            "a longer unread body closes",
            early(64 * 1024 + 1),
            &[404],
            Closed,
        ),
        row(
            "an unread body is not a request",
            put(
                "/v2/a/blobs/uploads/none",
                &format!("Content-Length: {}\r\n", smuggled.len()),
                smuggled,
            ),
            &[404],
            Open,
        ),
        row(
            "unread chunks are drained",
            chunked("5\r\nabcde\r\n0\r\n\r\n"),
            &[404],
            Open,
        ),
        row(
            "too many unread chunks close",
            chunked(&format!("20000\r\n{}\r\n0\r\n\r\n", "x".repeat(0x20000))),
            &[404],
            Closed,
        ),
        row(
            "broken unread chunks close",
            chunked("zz\r\n"),
            &[404],
            Closed,
        ),
        row("a GET with a body", get_with_body("abc"), &[200], Open),
    ]
}

fn get_with_body(body: &str) -> String {
    format!(
        "GET /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn pipelines(path: &str) -> Vec<Row> {
    let body = put(path, "Content-Length: 3\r\n", "abc");
    let chunked = put(
        path,
        "Transfer-Encoding: chunked\r\n",
        "3\r\nabc\r\n0\r\n\r\n",
    );
    let missing = "GET /v2/a/blobs/uploads/none HTTP/1.1\r\nHost: a\r\n\r\n";
    vec![
        row(
            "two hundred at once",
            get("").repeat(200),
            &[200; 200],
            Open,
        ),
        row(
            "answers in the order of the requests",
            [&get(""), missing, &body, missing, &chunked, &get("")].concat(),
            &[200, 404, BODY, 404, BODY, 200],
            Open,
        ),
        row(
            "nothing after a close is answered",
            [get(""), get("Connection: close\r\n"), get("")].concat(),
            &[200, 200],
            Closed,
        ),
        row(
            "right answers before a refusal",
            [get(""), get("A : b\r\n"), get("")].concat(),
            &[200, 400],
            Closed,
        ),
    ]
}
