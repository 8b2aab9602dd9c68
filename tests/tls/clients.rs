//! Clients that prove themselves, and operators.

use std::fs;
use std::process::Command;
use std::time::Duration;

use super::certificates::hang_up;
use super::material::{Material, NAME};
use super::session::{Session, Wishes, get};
use super::support::{Client, Node, Request, wait_for};

const NEWS_MAX: Duration = Duration::from_secs(10);
/// Files are looked at every five seconds, and twice.
const RELOAD_MAX: Duration = Duration::from_secs(30);

/// The page of a node whose operators are spoken to in the open.
pub(crate) fn metrics(node: &Node) -> String {
    let metrics = Client::new(node.admin_address).send(&Request::new("GET", "/metrics"));
    String::from_utf8(metrics.body).unwrap()
}

/// The status line of an answer, or why there is none.
fn asked(node: &Node, trusted: &str, own: Option<&super::material::Pair>) -> String {
    // Under TLS 1.3 a client hears of its refusal only after its handshake.
    let answer = Session::open(node.address, trusted, &Wishes::default(), own)
        .and_then(|mut session| session.ask(&get("/v2/")));
    match answer {
        Ok(answer) => answer.lines().next().unwrap().to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_required_certificate_lets_in_whom_the_authority_vouches_for() {
    let (material, stranger) = (Material::new(), Material::new());
    let authority = format!("client_ca_file = '{}'", material.path("ca.pem").display());
    let node = material.node(&authority);
    let robot = material.pair("robot.example", 2090);
    let answer = asked(&node, &material.trusted, Some(&robot));
    assert_eq!(answer, "HTTP/1.1 200 OK");
    let names = || {
        node.log_text()
            .contains("\"certificate\":\"robot.example\"")
    };
    assert!(wait_for(NEWS_MAX, names), "{}", node.log_text());
    let foreign = stranger.pair("robot.example", 2090);
    let old = material.pair("robot.example", 2021);
    for own in [None, Some(&foreign), Some(&old)] {
        let answer = asked(&node, &material.trusted, own);
        assert!(!answer.starts_with("HTTP/"), "{answer}");
    }
    let counted = || metrics(&node).contains("windlass_entrances_total{end=\"certificate\"} 3");
    assert!(wait_for(NEWS_MAX, counted), "{}", metrics(&node));
}

#[test]
fn a_requested_certificate_may_be_left_out_but_not_be_wrong() {
    let (material, stranger) = (Material::new(), Material::new());
    let more = format!(
        "client_ca_file = '{}'\nclient_certificates = \"requested\"",
        material.path("ca.pem").display()
    );
    let node = material.node(&more);
    let own = material.pair("robot.example", 2090);
    assert_eq!(asked(&node, &material.trusted, None), "HTTP/1.1 200 OK");
    assert_eq!(
        asked(&node, &material.trusted, Some(&own)),
        "HTTP/1.1 200 OK"
    );
    let foreign = stranger.pair("robot.example", 2090);
    let answer = asked(&node, &material.trusted, Some(&foreign));
    assert!(!answer.starts_with("HTTP/"), "{answer}");
}

#[test]
fn authorities_of_clients_are_exchanged_and_connections_stay() {
    let (material, next) = (Material::new(), Material::new());
    let path = material.path("clients.pem");
    let install = |text: &str| {
        let beside = material.path("beside");
        fs::write(&beside, text).unwrap();
        fs::rename(&beside, &path).unwrap();
    };
    install(&material.trusted);
    let node = material.node(&format!("client_ca_file = '{}'", path.display()));
    let [old, new] = [&material, &next].map(|by| by.pair("robot.example", 2090));
    let is_in = |own| asked(&node, &material.trusted, Some(own)) == "HTTP/1.1 200 OK";
    assert_eq!([is_in(&old), is_in(&new)], [true, false]);
    let mut kept = Session::open(
        node.address,
        &material.trusted,
        &Wishes::default(),
        Some(&old),
    )
    .unwrap();
    let mut is_kept = || kept.ask(&get("/v2/")).unwrap().starts_with("HTTP/1.1 200 ");
    assert!(is_kept());
    install(&next.trusted);
    // Without a signal; each shard has it by and by.
    assert!(wait_for(RELOAD_MAX, || is_in(&new) && !is_in(&old)));
    assert!(is_kept(), "a connection was dropped");
    let times = |text: &str| node.log_text().matches(text).count();
    install("no certificate");
    hang_up(&node);
    assert!(wait_for(NEWS_MAX, || times("the old one stays in use") == 1));
    assert_eq!([is_in(&old), is_in(&new)], [false, true]);
    install(&(material.trusted.clone() + &next.trusted));
    hang_up(&node);
    assert!(wait_for(NEWS_MAX, || is_in(&old)));
    assert!(is_in(&new) && is_kept());
}

#[test]
fn operators_are_spoken_to_in_tls_when_that_is_asked_for() {
    let material = Material::new();
    material.install(&material.pair(NAME, 2090));
    let more = format!(
        "admin = true\nclient_ca_file = '{}'",
        material.path("ca.pem").display()
    );
    let mut node = Node::prepare(material.options(&more));
    node.spawn();
    let ready = || {
        let session = Session::open(
            node.admin_address,
            &material.trusted,
            &Wishes::default(),
            None,
        );
        let answer = session.and_then(|mut session| session.ask(&get("/readyz")));
        answer.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
    };
    // They need no certificate, whatever clients need. Before the node listens, there
    // is nobody to connect to.
    let listens = || std::net::TcpStream::connect(node.admin_address).is_ok();
    assert!(
        wait_for(NEWS_MAX, || listens() && ready()),
        "{}",
        node.log_text()
    );
    // The node's own commands know it by the certificate in its configuration.
    let status = || {
        let address = node.admin_address.to_string();
        Command::new(env!("CARGO_BIN_EXE_windlass"))
            .args(["cluster", "status", "--admin-listen", &address, "--config"])
            .arg(material.path("windlass.toml"))
            .output()
            .unwrap()
    };
    let shown = status();
    let table = String::from_utf8_lossy(&shown.stdout);
    assert!(table.contains("leader"), "{shown:?}");
    let other = material.pair(NAME, 2090);
    fs::write(material.path("tls.pem"), other.certificate).unwrap();
    let refused = status();
    assert!(!refused.status.success(), "{refused:?}");
}

#[test]
fn the_pair_for_trials_works_as_printed() {
    let material = Material::new();
    let folder = material.path("made");
    let made = Command::new(env!("CARGO_BIN_EXE_windlass"))
        .args(["tls", "self-signed", NAME, "127.0.0.1", "--out"])
        .arg(&folder)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let printed = String::from_utf8(made.stdout).unwrap();
    let path = material.path("printed.toml");
    let node = Node::start_with(super::material::configured(&path, &printed));
    let trusted = fs::read_to_string(folder.join("tls.pem")).unwrap();
    let mut session = Session::plain(node.address, &trusted);
    assert!(
        session
            .ask(&get("/v2/"))
            .unwrap()
            .starts_with("HTTP/1.1 200")
    );
}
