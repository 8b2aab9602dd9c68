//! The checker is checked: a data directory that lost something must not pass.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;

use super::model::Pusher;
use super::support::Node;

/// Steps of the pusher before its data is damaged.
const STEPS: usize = 80;

fn work(pusher: &mut Pusher, steps: usize) {
    for _ in 0..steps {
        pusher.step().expect("the node runs");
    }
}

/// Whether the check after a restart fails. The panic is the answer, so it is kept
/// from the screen.
fn is_noticed(node: &mut Node, pusher: &mut Pusher) -> bool {
    node.spawn();
    node.wait_ready();
    let checked = catch_unwind(AssertUnwindSafe(|| pusher.verify(true)));
    node.kill();
    checked.is_err()
}

#[test]
fn nothing_is_noticed_when_nothing_is_lost() {
    let mut node = Node::start();
    let mut pusher = Pusher::new(node.address, 0, 1);
    work(&mut pusher, STEPS);
    node.kill();
    assert!(!is_noticed(&mut node, &mut pusher));
}

#[test]
fn a_lost_and_a_damaged_blob_are_noticed() {
    for seed in [2, 3] {
        let mut node = Node::start();
        let mut pusher = Pusher::new(node.address, 0, seed);
        work(&mut pusher, STEPS);
        node.kill();
        let blobs = node.files("blobs");
        let victim = blobs.first().expect("some blobs have files");
        if seed == 2 {
            fs::remove_file(victim).unwrap();
        } else {
            let mut content = fs::read(victim).unwrap();
            let middle = content.len() / 2;
            content[middle] ^= 1;
            fs::write(victim, content).unwrap();
        }
        assert!(is_noticed(&mut node, &mut pusher), "seed {seed}");
    }
}

#[test]
fn a_lost_session_is_noticed() {
    let mut node = Node::start();
    let mut pusher = Pusher::new(node.address, 0, 4);
    work(&mut pusher, STEPS);
    node.kill();
    let files = node.upload_files();
    assert!(!files.is_empty(), "some sessions hold bytes");
    for file in files {
        fs::remove_file(file).unwrap();
    }
    assert!(is_noticed(&mut node, &mut pusher));
}

#[test]
fn a_step_back_in_time_is_noticed() {
    let mut node = Node::start();
    let mut pusher = Pusher::new(node.address, 0, 5);
    work(&mut pusher, STEPS);
    node.kill();
    let before = node.data_dir.with_file_name("before");
    copy(&node.data_dir, &before);
    node.spawn();
    node.wait_ready();
    pusher.verify(false);
    work(&mut pusher, STEPS);
    node.kill();
    fs::remove_dir_all(&node.data_dir).unwrap();
    fs::rename(&before, &node.data_dir).unwrap();
    assert!(is_noticed(&mut node, &mut pusher));
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(status.unwrap().success());
}
