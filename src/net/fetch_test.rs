use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread::JoinHandle;

use super::*;

const LIMITS: FetchLimits = FetchLimits {
    time: Duration::from_secs(10),
    bytes_max: 1000,
    is_loopback_http_allowed: true,
};

/// Whom nobody is vouched for by, and nobody is asked for.
fn fetcher(limits: FetchLimits) -> Fetcher {
    let pem = include_bytes!("../../tests/fixtures/auth/ec.crt");
    let authorities = TlsAuthorities::of_pem(pem).unwrap();
    Fetcher::new(Some(&authorities), limits).unwrap()
}

/// Answers one request; gives its head.
fn answering(answer: String) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/keys", listener.local_addr().unwrap());
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() > 0 {
            head.extend(byte);
        }
        // Whoever has read enough hangs up.
        drop(stream.write_all(answer.as_bytes()));
        String::from_utf8(head).unwrap()
    });
    (address, serving)
}

fn ok(headers: &str, body: &str) -> String {
    let bytes = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n{headers}\r\n{body}")
}

#[test]
fn a_document_comes_with_what_is_said_about_keeping_it() {
    let (address, serving) = answering(ok("Cache-Control: max-age=60\r\nAge: 7\r\n", "keys"));
    let fetched = fetcher(LIMITS).fetch(&address, Some("secret")).unwrap();
    assert_eq!(fetched.body, b"keys");
    assert_eq!(fetched.cache_control.as_deref(), Some("max-age=60"));
    assert_eq!(fetched.age_seconds, 7);
    let head = serving.join().unwrap().to_lowercase();
    assert!(head.contains("authorization: bearer secret\r\n"), "{head}");
}

#[test]
fn answers_that_are_none_are_named() {
    let long = "x".repeat(1001);
    let rows = [
        (
            "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "the server answered 503",
        ),
        (
            "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
                .to_owned(),
            "the server answered 302",
        ),
        (ok("", &long), "the answer is longer than 1000 bytes"),
        (
            format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n{long}\r\n0\r\n\r\n"
            ),
            "the answer is longer than 1000 bytes",
        ),
    ];
    for (answer, expected) in rows {
        let (address, serving) = answering(answer);
        let error = fetcher(LIMITS).fetch(&address, None).unwrap_err();
        assert_eq!(error.to_string(), expected);
        serving.join().unwrap();
    }
    for answer in [
        "nonsense\r\n\r\n".to_owned(),
        String::new(),
        "HTTP/1.1 200 OK\r\n".repeat(9000),
    ] {
        let (address, serving) = answering(answer);
        let error = fetcher(LIMITS).fetch(&address, None).unwrap_err();
        assert!(matches!(error, FetchError::Failed(_)), "{error:?}");
        serving.join().unwrap();
    }
}

#[test]
fn a_server_that_says_nothing_is_not_waited_for() {
    let limits = FetchLimits {
        time: Duration::from_millis(200),
        ..LIMITS
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    for scheme in ["http", "https"] {
        let error = fetcher(limits).fetch(&format!("{scheme}://{address}/"), None);
        assert!(matches!(error, Err(FetchError::TimedOut(_))), "{error:?}");
    }
}

#[test]
fn only_https_is_spoken_with_others() {
    let fetcher = fetcher(LIMITS);
    for address in [
        "http://192.0.2.1/",
        "http://localhost/",
        "http://127.0.0.1.example.org/",
        "http://user@127.0.0.1/",
        "https://user:password@example.org/",
        "file:///etc/passwd",
        "/keys",
        "",
        "https://",
    ] {
        let error = fetcher.fetch(address, None).unwrap_err();
        assert!(
            matches!(error, FetchError::Address(_)),
            "{address}: {error:?}"
        );
    }
    let closed = self::fetcher(FetchLimits {
        is_loopback_http_allowed: false,
        ..LIMITS
    });
    let error = closed.fetch("http://127.0.0.1:1/", None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`http://127.0.0.1:1/` is no https:// address"
    );
    assert!(is_here("127.0.0.2") && is_here("[::1]") && !is_here("[::2]"));
}

#[test]
fn a_token_that_is_no_word_is_not_sent() {
    for token in ["", "two words", "a\r\nX: y", "a\tb"] {
        let error = fetcher(LIMITS)
            .fetch("http://127.0.0.1:1/", Some(token))
            .unwrap_err();
        assert!(matches!(error, FetchError::Secret), "{error:?}");
    }
}
