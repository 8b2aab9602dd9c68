//! Who gets through the handshake, who does not, and how that ends.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use futures_rustls::rustls::version::{TLS12, TLS13};

use super::material::Material;
use super::session::{Session, Wishes, client, connect, get};
use super::support::{Client, Request, wait_for};

/// Counters and logs show news within this time.
const NEWS_MAX: Duration = Duration::from_secs(10);

/// Everything the server says to these bytes, until it ends the connection.
fn said_to(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(address);
    stream.write_all(bytes).unwrap();
    let mut said = Vec::new();
    // A reset ends it as well.
    drop(stream.read_to_end(&mut said));
    said
}

#[test]
fn both_versions_are_spoken_and_http_is_the_one_protocol() {
    let material = Material::new();
    let node = material.node("");
    for version in [&TLS12, &TLS13] {
        let wishes = Wishes {
            versions: vec![version],
            protocols: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        };
        let mut session = Session::open(node.address, &material.trusted, &wishes, None).unwrap();
        assert_eq!(session.tls.conn.protocol_version(), Some(version.version));
        assert_eq!(session.tls.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
        assert!(
            session
                .ask(&get("/v2/"))
                .unwrap()
                .starts_with("HTTP/1.1 200")
        );
    }
    let wishes = Wishes {
        protocols: vec![b"h2".to_vec()],
        ..Wishes::default()
    };
    let refused = Session::open(node.address, &material.trusted, &wishes, None);
    let error = refused.err().unwrap().to_string();
    assert!(error.contains("NoApplicationProtocol"), "{error}");
}

/// The first message of a client that knows nothing newer than `minor`.
fn old_hello(minor: u8) -> Vec<u8> {
    let suites = [0xc0, 0x13, 0xc0, 0x14, 0x00, 0x2f];
    let mut hello = vec![3, minor];
    hello.extend([7; 32]);
    hello.push(0);
    hello.extend([0, u8::try_from(suites.len()).unwrap()]);
    hello.extend(suites);
    hello.extend([1, 0]);
    let mut message = vec![1, 0, 0, u8::try_from(hello.len()).unwrap()];
    message.extend(hello);
    let mut record = vec![0x16, 3, 1, 0, u8::try_from(message.len()).unwrap()];
    record.extend(message);
    record
}

#[test]
fn older_versions_are_refused_by_an_alert() {
    let material = Material::new();
    let node = material.node("");
    for minor in [1, 2] {
        let said = said_to(node.address, &old_hello(minor));
        // A record of an alert, and in it: fatal (2), and one of handshake_failure (40)
        // and protocol_version (70).
        assert_eq!(said.first(), Some(&0x15), "TLS 1.{}: {said:?}", minor - 1);
        assert!(matches!(said[5..], [2, 40 | 70]), "{said:?}");
    }
}

#[test]
fn what_is_no_tls_is_told_or_cut() {
    let material = Material::new();
    let node = material.node("");
    let said = said_to(node.address, get("/v2/").as_bytes());
    let said = String::from_utf8(said).unwrap();
    assert!(said.starts_with("HTTP/1.1 400 "), "{said}");
    assert!(
        said.contains("Connection: close") && said.ends_with("use https.\n"),
        "{said}"
    );
    for bytes in [
        &b"\0\0\0\0"[..],
        b"SSH-2.0-x\r\n",
        &[0x16, 9, 9, 9, 9],
        &[0x80, 0x2e, 1],
    ] {
        let said = said_to(node.address, bytes);
        let is_no_answer = !said.starts_with(b"HTTP/1.1 2");
        assert!(is_no_answer, "{bytes:?}: {said:?}");
    }
    let mut session = Session::plain(node.address, &material.trusted);
    assert!(
        session
            .ask(&get("/v2/"))
            .unwrap()
            .starts_with("HTTP/1.1 200")
    );
}

#[test]
fn a_client_that_leaves_during_the_handshake_costs_nothing() {
    let material = Material::new();
    let node = material.node("");
    for end in ["alert", "end", "reset"] {
        let mut state = client(&material.trusted, &Wishes::default(), None);
        let mut hello = Vec::new();
        state.write_tls(&mut hello).unwrap();
        let mut stream = connect(node.address);
        stream.write_all(&hello).unwrap();
        match end {
            // A warning, close_notify.
            "alert" => stream.write_all(&[0x15, 3, 3, 0, 2, 1, 0]).unwrap(),
            "end" => stream.shutdown(Shutdown::Write).unwrap(),
            _ => {}
        }
        if end != "reset" {
            // The server ends it by itself, long before its time is up.
            let mut said = Vec::new();
            drop(stream.read_to_end(&mut said));
        }
    }
    let is_over = || {
        let metrics = Client::new(node.admin_address).send(&Request::new("GET", "/metrics"));
        let text = String::from_utf8(metrics.body).unwrap();
        text.contains("\nwindlass_entering_connections 0\n")
    };
    assert!(wait_for(NEWS_MAX, is_over), "{}", node.log_text());
    let mut session = Session::plain(node.address, &material.trusted);
    assert!(
        session
            .ask(&get("/v2/"))
            .unwrap()
            .starts_with("HTTP/1.1 200")
    );
}

#[test]
fn single_bytes_make_a_handshake_and_a_request() {
    let material = Material::new();
    let node = material.node("");
    let mut state = client(&material.trusted, &Wishes::default(), None);
    let mut socket = connect(node.address);
    while state.is_handshaking() {
        let mut records = Vec::new();
        while state.wants_write() {
            state.write_tls(&mut records).unwrap();
        }
        for byte in records {
            socket.write_all(&[byte]).unwrap();
        }
        if state.wants_read() && state.is_handshaking() {
            state.read_tls(&mut socket).unwrap();
            state.process_new_packets().unwrap();
        }
    }
    let mut session = Session::over(socket, state).unwrap();
    // Each byte of the request is a record of its own.
    for byte in get("/v2/").bytes() {
        session.tls.write_all(&[byte]).unwrap();
        session.tls.flush().unwrap();
    }
    assert!(session.answer().unwrap().starts_with("HTTP/1.1 200"));
}
