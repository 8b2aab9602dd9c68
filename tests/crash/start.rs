//! What the process refuses to start with, and what it cleans up when it starts.

use std::fs;
use std::process::Command;
use std::time::Duration;

use super::support::{Node, NodeOptions, Random, Registry, Request, location, sha256, wait_for};

/// Exit status for a machine or a configuration that must be changed first.
const EXIT_CONFIGURATION: i32 = 78;
/// A refusal takes less than this.
const REFUSAL_MAX: Duration = Duration::from_secs(20);

fn run_to_end(mut node: Node) -> (Option<i32>, String) {
    node.spawn();
    let status = node.wait_end(REFUSAL_MAX);
    (status.code(), node.log_text())
}

#[test]
fn a_second_process_on_the_same_directory_is_refused() {
    let mut first = Node::start();
    let second = Node::prepare(NodeOptions {
        data_dir: Some(first.data_dir.clone()),
        ..NodeOptions::default()
    });
    let (code, log) = run_to_end(second);
    assert_eq!(code, Some(EXIT_CONFIGURATION), "{log}");
    assert!(log.contains(first.data_dir.to_str().unwrap()), "{log}");
    assert!(log.contains("another process") || log.contains("in use") || log.contains("lock"));
    assert!(first.is_running());
    let mut registry = Registry::new(first.address);
    registry.push_image("after/refusal", "v1", 1);
}

#[test]
fn a_data_directory_that_is_a_file_is_refused() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = directory.path().join("data");
    fs::write(&path, "in the way").unwrap();
    let node = Node::prepare(NodeOptions {
        data_dir: Some(path.clone()),
        ..NodeOptions::default()
    });
    let (code, log) = run_to_end(node);
    assert_eq!(code, Some(EXIT_CONFIGURATION), "{log}");
    assert!(log.contains(path.to_str().unwrap()), "{log}");
}

#[test]
fn a_data_directory_that_cannot_be_written_is_refused() {
    // Nothing can be created below /proc, whoever asks.
    let node = Node::prepare(NodeOptions {
        data_dir: Some("/proc/windlass-data".into()),
        ..NodeOptions::default()
    });
    let (code, log) = run_to_end(node);
    assert_eq!(code, Some(EXIT_CONFIGURATION), "{log}");
    assert!(log.contains("/proc/windlass-data"), "{log}");
}

#[test]
fn an_unknown_configuration_key_is_refused_with_its_name() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let file = directory.path().join("windlass.toml");
    fs::write(&file, "data_dirr = \"/nowhere\"\n").unwrap();
    let node = Node::prepare(NodeOptions {
        arguments: vec!["--config".to_owned(), file.to_str().unwrap().to_owned()],
        ..NodeOptions::default()
    });
    let (code, log) = run_to_end(node);
    assert_eq!(code, Some(EXIT_CONFIGURATION), "{log}");
    assert!(
        log.contains("data_dirr") && log.contains("windlass.toml"),
        "{log}"
    );
    let checked = Command::new(env!("CARGO_BIN_EXE_windlass"))
        .args(["check-config", "--config"])
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(checked.status.code(), Some(EXIT_CONFIGURATION));
}

#[test]
fn an_address_that_is_taken_is_refused() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut node = Node::prepare(NodeOptions::default());
    node.address = taken.local_addr().unwrap();
    let address = node.address.to_string();
    let (code, log) = run_to_end(node);
    assert!(code.is_some_and(|code| code != 0), "{code:?} {log}");
    assert!(log.contains(&address), "{log}");
}

#[test]
fn leftovers_of_a_crash_are_cleaned_up_and_live_content_is_kept() {
    let mut node = Node::start();
    let mut registry = Registry::new(node.address);
    let content = Random::new(3).bytes(300_000);
    let digest = registry.push_blob("kept/blob", &content);
    let session = registry.open_upload("kept/session");
    let half = &content[..150_001];
    let session = location(
        &registry
            .send(&Request::new("PATCH", session).body(half))
            .expect(202),
    );
    node.kill();

    // A file that no session and no record knows, in each place.
    let orphan = Random::new(4).bytes(50_000);
    let hex = sha256(&orphan).replace("sha256:", "");
    let orphan_path = node
        .data_dir
        .join(format!("blobs/sha256/{}/{hex}.1", &hex[..2]));
    fs::create_dir_all(orphan_path.parent().unwrap()).unwrap();
    fs::write(&orphan_path, &orphan).unwrap();
    let upload_path = node.data_dir.join("uploads/deadbeef.data");
    fs::write(&upload_path, &orphan).unwrap();

    node.restart();
    registry.client.close();
    let gone = wait_for(Duration::from_secs(20), || {
        !upload_path.exists() && !orphan_path.exists()
    });
    assert!(gone, "{:?} {:?}", node.upload_files(), node.files("blobs"));
    assert!(
        registry
            .get(&format!("/v2/kept/blob/blobs/{digest}"))
            .expect(200)
            .body
            == content
    );
    assert_eq!(registry.get(&session).expect(204).only("Range"), "0-150000");
    let rest = Request::new("PATCH", &session)
        .header("Content-Range", "150001-299999")
        .body(&content[150_001..]);
    let session = location(&registry.send(&rest).expect(202));
    registry
        .call("PUT", &format!("{session}?digest={digest}"))
        .expect(201);
    assert!(
        registry
            .get(&format!("/v2/kept/session/blobs/{digest}"))
            .expect(200)
            .body
            == content
    );
}

#[test]
fn an_empty_session_survives_a_kill() {
    let mut node = Node::start();
    let mut registry = Registry::new(node.address);
    let session = registry.open_upload("empty/session");
    node.kill();
    node.spawn();
    node.wait_ready();
    registry.client.close();
    assert_eq!(registry.get(&session).expect(204).only("Range"), "0-0");
    let put = format!("{session}?digest={}", sha256(b"after"));
    registry
        .send(&Request::new("PUT", put).body("after"))
        .expect(201);
}

#[test]
fn a_single_post_that_breaks_off_leaves_nothing() {
    let node = Node::start();
    let content = Random::new(5).bytes(2_000_000);
    for _ in 0..5 {
        let mut registry = Registry::new(node.address);
        let target = format!("/v2/broken/post/blobs/uploads/?digest={}", sha256(&content));
        let request = Request::new("POST", target).body(content.clone());
        registry.client.write(&request.head_bytes()).unwrap();
        registry.client.write(&content[..1_500_000]).unwrap();
    }
    // Nobody knows a session of such a request, so nobody could go on with it.
    let is_clean = wait_for(Duration::from_secs(20), || node.upload_files().is_empty());
    assert!(is_clean, "{:?}", node.upload_files());
}
