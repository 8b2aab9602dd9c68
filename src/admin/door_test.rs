//! The door through a socket.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;

use super::*;
use crate::exchange::{self, Options, serve};
use crate::net::Listener;
use crate::runtime::{Shutdown, off_shard, run_alone};

#[derive(Debug, thiserror::Error)]
#[error("no room for \"entries\"")]
struct Full;

/// Serves one connection with a probe that goes as told, and returns what the
/// client read until the end.
fn ask(health: &Health, probe: Result<(), ()>, request: &str) -> String {
    let (health, request) = (health.clone(), request.to_owned());
    run_alone(move || async move {
        let metrics = Arc::new(Metrics::new());
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let exchange =
            exchange::Door::open(Options::default(), Arc::clone(&metrics), Shutdown::new());
        let door = Door::new(metrics, health, None, async || probe.map_err(|()| Full));
        let address = listener.address();
        let answer = std::thread::spawn(move || talk(address, &request));
        let stream = listener.accept().await.unwrap();
        let handler = async |exchange: &mut Exchange| door.handle(exchange).await;
        serve(stream, &Rc::clone(&exchange), &handler).await;
        off_shard(move || answer.join().unwrap()).await.unwrap()
    })
}

fn talk(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!("{request} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or(answer)
}

#[test]
fn a_node_is_live_at_once_started_after_recovery_and_ready_until_it_stops() {
    let health = Health::starting();
    let pages = ["/livez", "/startupz", "/readyz"];
    let statuses = |health: &Health| {
        pages.map(|page| status(&ask(health, Ok(()), &format!("GET {page}"))).to_owned())
    };
    assert_eq!(statuses(&health), ["200", "503", "503"]);
    health.serve();
    assert_eq!(statuses(&health), ["200", "200", "200"]);
    health.stop();
    assert_eq!(statuses(&health), ["200", "200", "503"]);
}

#[test]
fn readiness_fails_with_the_reason_of_the_probe() {
    let health = Health::starting();
    health.serve();
    let answer = ask(&health, Err(()), "GET /readyz");
    assert_eq!(status(&answer), "503", "{answer}");
    assert!(
        answer.contains("Content-Type: application/json\r\n"),
        "{answer}"
    );
    assert!(
        answer.contains(r#"does not commit: no room for \"entries\""#),
        "{answer}"
    );
}

#[test]
fn metrics_are_a_page_for_prometheus() {
    let answer = ask(&Health::starting(), Ok(()), "GET /metrics");
    assert_eq!(status(&answer), "200");
    let line = "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n";
    assert!(answer.contains(line), "{answer}");
    assert!(
        answer.contains("\nwindlass_http_connections 1\n"),
        "{answer}"
    );
}

#[test]
fn what_is_no_page_or_no_reading_is_refused() {
    let health = Health::starting();
    assert_eq!(status(&ask(&health, Ok(()), "GET /v2/")), "404");
    let answer = ask(&health, Ok(()), "DELETE /metrics");
    assert_eq!(status(&answer), "405");
    assert!(answer.contains("Allow: GET, HEAD\r\n"), "{answer}");
    let answer = ask(&health, Ok(()), "HEAD /livez");
    assert_eq!(status(&answer), "200");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}
