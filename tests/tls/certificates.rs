//! Certificates and keys of the node: what is refused at the start, and what happens
//! when they change under load.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::material::{Material, NAME, Pair};
use super::session::{Session, get};
use super::support::{Node, wait_for};

/// A changed file is seen within this time, two looks later.
const SEEN_MAX: Duration = Duration::from_secs(30);
const END_MAX: Duration = Duration::from_secs(30);

pub(crate) fn hang_up(node: &Node) {
    let pid = Pid::from_raw(i32::try_from(node.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
}

#[test]
fn a_new_certificate_is_shown_without_dropping_a_connection() {
    let material = Material::new();
    let node = material.node("");
    let (address, trusted) = (node.address, material.trusted.clone());
    let first = Session::plain(address, &trusted).shown();
    let (is_over, asked) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let workers: Vec<_> = (0..4)
        .map(|number| {
            let (is_over, asked) = (Arc::clone(&is_over), Arc::clone(&asked));
            let trusted = trusted.clone();
            std::thread::spawn(move || {
                let mut kept = Session::plain(address, &trusted);
                while !is_over.load(Ordering::Relaxed) {
                    let answer = if number % 2 == 0 {
                        kept.ask(&get("/v2/"))
                    } else {
                        Session::plain(address, &trusted).ask(&get("/v2/"))
                    };
                    assert!(answer.unwrap().starts_with("HTTP/1.1 200"));
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let mut shown = first;
    for _ in 0..5 {
        material.install(&material.pair(NAME, 2091));
        hang_up(&node);
        let is_shown = wait_for(SEEN_MAX, || {
            Session::plain(address, &trusted).shown() != shown
        });
        assert!(is_shown, "{}", node.log_text());
        // Both shards have it by and by; only then may it change again.
        shown = Session::plain(address, &trusted).shown();
    }
    // On a busy machine the requests take their time.
    let has_asked = wait_for(SEEN_MAX, || asked.load(Ordering::Relaxed) > 100);
    is_over.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.join().unwrap();
    }
    assert!(has_asked, "{} requests", asked.load(Ordering::Relaxed));
}

#[test]
fn a_changed_file_is_seen_without_a_signal_and_a_bad_one_changes_nothing() {
    let material = Material::new();
    let node = material.node("");
    let shown = || Session::plain(node.address, &material.trusted).shown();
    let first = shown();
    fs::write(material.path("tls.pem"), "no certificate").unwrap();
    hang_up(&node);
    let says = |text: &str| wait_for(SEEN_MAX, || node.log_text().contains(text));
    assert!(says("the old one stays in use"), "{}", node.log_text());
    assert_eq!(shown(), first);
    material.install(&material.pair(NAME, 2092));
    assert!(
        wait_for(SEEN_MAX, || shown() != first),
        "{}",
        node.log_text()
    );
    let text = super::clients::metrics(&node);
    assert!(
        text.contains("\nwindlass_tls_reloads_total{end=\"failed\"} 1\n"),
        "{text}"
    );
    assert!(
        text.contains("\nwindlass_tls_reloads_total{end=\"loaded\"} 1\n"),
        "{text}"
    );
    // The last day of 2092.
    let end = "\nwindlass_tls_certificate_expiry_timestamp_seconds 3881520000\n";
    assert!(text.contains(end), "{text}");
}

#[test]
fn an_expired_certificate_is_warned_of_and_shown() {
    let material = Material::new();
    material.install(&material.pair(NAME, 2021));
    let node = Node::start_with(material.options(""));
    let warns = || node.log_text().contains("the TLS certificate has expired");
    assert!(wait_for(SEEN_MAX, warns), "{}", node.log_text());
    let refused = Session::open(
        node.address,
        &material.trusted,
        &super::session::Wishes::default(),
        None,
    );
    let error = refused.err().unwrap().to_string();
    assert!(error.contains("xpired"), "{error}");
}

/// Starts a node that must end, and gives what it says.
fn refused(material: &Material) -> String {
    let mut node = Node::prepare(material.options(""));
    node.spawn();
    let status = node.wait_end(END_MAX);
    assert_eq!(status.code(), Some(78), "{}", node.log_text());
    node.log_text()
}

#[test]
fn what_cannot_be_used_is_refused_at_the_start_with_the_reason() {
    let material = Material::new();
    let good = material.pair(NAME, 2090);
    material.install(&good);
    let loosened = fs::Permissions::from_mode(0o644);
    fs::set_permissions(material.path("tls.key"), loosened).unwrap();
    let said = refused(&material);
    assert!(
        said.contains("tls.key has mode 0644: others may not read a key"),
        "{said}"
    );

    let other = material.pair(NAME, 2090);
    material.install(&Pair {
        certificate: good.certificate,
        key: other.key,
    });
    let said = refused(&material);
    assert!(said.contains("use the key"), "{said}");

    for (bits, is_refused) in [("1024", true), ("2048", false)] {
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", &format!("rsa:{bits}"), "-nodes"])
            .args([
                "-subj",
                "/CN=x",
                "-addext",
                "subjectAltName=DNS:registry.test",
            ])
            .arg("-keyout")
            .arg(material.path("rsa.key"))
            .arg("-out")
            .arg(material.path("rsa.pem"))
            .output()
            .expect("openssl");
        assert!(made.status.success(), "{made:?}");
        material.install(&Pair {
            certificate: fs::read_to_string(material.path("rsa.pem")).unwrap(),
            key: fs::read_to_string(material.path("rsa.key")).unwrap(),
        });
        if is_refused {
            let said = refused(&material);
            assert!(
                said.contains("an RSA key of 1024 bits is too small"),
                "{said}"
            );
        } else {
            drop(Node::start_with(material.options("")));
        }
    }
    fs::remove_file(material.path("tls.pem")).unwrap();
    assert!(refused(&material).contains("tls.pem is missing"));
}
