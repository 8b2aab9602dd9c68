//! One CPU, little lockable memory, an ordinary user, few descriptors.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::geteuid;

use super::support::{Client, Node, NodeOptions, Random, Registry, Request, is_left_out, wait_for};

/// The user and group `nobody` of every Linux.
const NOBODY_ID: u32 = 65_534;
/// An idle node ends within this time.
const END_MAX: Duration = Duration::from_secs(10);

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

/// Pushes and pulls in every size class, several clients at once, and ends well.
fn exercise(mut node: Node) {
    std::thread::scope(|scope| {
        for number in 0..8_u64 {
            let address = node.address;
            scope.spawn(move || {
                let mut registry = Registry::new(address);
                let name = format!("narrow/client-{number}");
                registry.push_image(&name, "v1", number);
                for size in [1, 16_000, 17_000, 300_000, 2_500_000] {
                    let content = Random::new(number + 7).bytes(size);
                    let digest = registry.push_blob(&name, &content);
                    let target = format!("/v2/{name}/blobs/{digest}");
                    assert!(registry.get(&target).expect(200).body == content);
                }
            });
        }
    });
    let status = node.terminate(END_MAX);
    assert_eq!(status.code(), Some(0), "{status}");
}

#[test]
fn one_cpu_is_enough() {
    exercise(Node::start_with(NodeOptions {
        wrapper: words("taskset -c 0"),
        ..NodeOptions::default()
    }));
}

/// Starts a node that must refuse to run, with 78 and a word on what to change.
fn expect_refusal(options: NodeOptions, word: &str) {
    let mut node = Node::prepare(options);
    node.spawn();
    let status = node.wait_end(END_MAX);
    let log = node.log_text();
    assert_eq!(status.code(), Some(78), "{log}");
    assert!(log.contains(word), "{log}");
}

#[test]
fn more_shards_than_cpus_are_refused() {
    let options = NodeOptions {
        wrapper: words("taskset -c 0"),
        environment: vec![("WINDLASS_RUNTIME__SHARDS".to_owned(), "3".to_owned())],
        ..NodeOptions::default()
    };
    expect_refusal(options, "runtime.shards");
}

#[test]
fn too_few_descriptors_are_refused() {
    let options = NodeOptions {
        wrapper: words("prlimit --nofile=160:160"),
        ..NodeOptions::default()
    };
    expect_refusal(options, "RLIMIT_NOFILE");
}

#[test]
fn an_ordinary_user_with_8_mib_of_lockable_memory_is_enough() {
    // A folder that the other user may enter, and a copy of the binary that it
    // may run, wherever the build folder stands.
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let binary = directory.path().join("windlass");
    fs::copy(env!("CARGO_BIN_EXE_windlass"), &binary).unwrap();
    let data_dir = directory.path().join("data");
    fs::create_dir(&data_dir).unwrap();
    let mut wrapper = words("prlimit --memlock=8388608:8388608");
    if geteuid().is_root() {
        chown(&data_dir, Some(NOBODY_ID), Some(NOBODY_ID)).unwrap();
        let user = format!("setpriv --reuid {NOBODY_ID} --regid {NOBODY_ID} --clear-groups");
        wrapper.extend(words(&format!(
            "{user} --bounding-set -all --inh-caps -all"
        )));
    }
    exercise(Node::start_with(NodeOptions {
        wrapper,
        data_dir: Some(data_dir),
        binary: Some(binary),
        ..NodeOptions::default()
    }));
}

#[test]
fn a_data_directory_of_another_user_is_refused() {
    if is_left_out("give a directory to another user") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let binary = directory.path().join("windlass");
    fs::copy(env!("CARGO_BIN_EXE_windlass"), &binary).unwrap();
    let data_dir: PathBuf = directory.path().join("data");
    let user = format!("setpriv --reuid {NOBODY_ID} --regid {NOBODY_ID} --clear-groups");
    let word = data_dir.to_str().unwrap().to_owned();
    let options = NodeOptions {
        wrapper: words(&user),
        data_dir: Some(data_dir),
        binary: Some(binary),
        ..NodeOptions::default()
    };
    expect_refusal(options, &word);
}

#[test]
fn connections_beyond_the_descriptors_wait_or_fail_and_the_node_recovers() {
    let node = Node::start_with(NodeOptions {
        wrapper: words("prlimit --nofile=1024:1024"),
        ..NodeOptions::default()
    });
    let mut registry = Registry::new(node.address);
    registry.push_image("few/descriptors", "v1", 1);
    let mut crowd = Vec::new();
    for _ in 0..1300 {
        let mut client = Client::new(node.address);
        // Half a request keeps the connection.
        if client.write(b"GET /v2/ HTTP/1.1\r\n").is_ok() {
            crowd.push(client);
        }
    }
    drop(crowd);
    let recovers = wait_for(Duration::from_secs(20), || {
        let mut client = Client::new(node.address);
        let manifest = Request::new("GET", "/v2/few/descriptors/manifests/v1");
        client.set_patience(Duration::from_secs(5)).is_ok()
            && client
                .try_send(&manifest)
                .is_ok_and(|answer| answer.status == 200)
    });
    assert!(recovers);
    registry.client.close();
    registry.push_image("few/descriptors", "v2", 2);
}
