//! The rows about requests as a whole: request lines, expectations, early
//! answers, pipelines.

use super::End::{Closed, Open};
use super::rows::{get, put, row};
use super::{BODY, Row};

/// Every row of this file; `path` is where a PUT has its body read.
pub(super) fn rows(path: &str) -> Vec<Row> {
    let mut rows = versions();
    rows.extend(request_lines());
    rows.extend(targets());
    rows.extend(expectations(path));
    rows.extend(early_answers());
    rows.extend(pipelines(path));
    rows
}

fn versions() -> Vec<Row> {
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
        line("HTTP/1.2", "GET /v2/ HTTP/1.2", 505),
        line("HTTP/3.0", "GET /v2/ HTTP/3.0", 505),
        line("a version in small letters", "GET /v2/ http/1.1", 400),
        line("no version", "GET /v2/", 400),
        line("two spaces", "GET  /v2/ HTTP/1.1", 400),
        line("a space at the end", "GET /v2/ HTTP/1.1 ", 400),
        line("a space at the front", " GET /v2/ HTTP/1.1", 400),
        line("a tab for a space", "GET\t/v2/ HTTP/1.1", 400),
        line("a space in the target", "GET /v2/ a HTTP/1.1", 400),
        line("CONNECT", "CONNECT a:443 HTTP/1.1", 405),
        line("TRACE", "TRACE /v2/ HTTP/1.1", 405),
        line("OPTIONS", "OPTIONS * HTTP/1.1", 405),
        line("an unknown method", "BREW /v2/ HTTP/1.1", 501),
        line("a method in small letters", "get /v2/ HTTP/1.1", 501),
        line("a method that is no token", "G{T /v2/ HTTP/1.1", 400),
    ]
}

fn targets() -> Vec<Row> {
    let line = |name, line: &str, status| {
        row(
            name,
            format!("{line}\r\nHost: a\r\n\r\n"),
            &[status],
            Closed,
        )
    };
    vec![
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
