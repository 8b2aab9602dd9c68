//! A disk that fills up: pushes are refused, everything else goes on, and room
//! is all it takes to push again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::support::{Node, NodeOptions, Random, Registry, Request, is_left_out, sha256, wait_for};

/// Size of the disk in the test.
const DISK_MIB: usize = 400;
/// Bytes of each blob that fills it.
const BLOB_BYTES: usize = 6 * 1024 * 1024;

/// A small filesystem of its own, unmounted with the value.
struct SmallDisk {
    directory: TempDir,
}

impl SmallDisk {
    fn mount() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let status = Command::new("mount")
            .args([
                "-t",
                "tmpfs",
                "-o",
                &format!("size={DISK_MIB}m"),
                "windlass-test",
            ])
            .arg(directory.path())
            .status()
            .unwrap();
        assert!(status.success(), "a small filesystem can be mounted");
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let path = self.directory.path();
        drop(Command::new("umount").arg("--lazy").arg(path).status());
    }
}

#[test]
fn a_full_disk_refuses_pushes_only_and_recovers_with_room() {
    if is_left_out("mount the small disk of this test") {
        return;
    }
    let disk = SmallDisk::mount();
    let mut node = Node::start_with(NodeOptions {
        data_dir: Some(disk.path("data")),
        environment: vec![
            (
                "WINDLASS_STORAGE__HARD_FREE".to_owned(),
                "128MiB".to_owned(),
            ),
            ("WINDLASS_STORAGE__HARD_PERCENT".to_owned(), "99".to_owned()),
        ],
        ..NodeOptions::default()
    });
    let mut registry = Registry::new(node.address);
    let (manifest, _) = registry.push_image("full/kept", "v1", 1);
    let kept = fill(&mut registry);
    assert!(node.is_running(), "{}", node.log_text());

    // Reads and deletes go on.
    expect_kept(&mut registry, &manifest, &kept);
    registry
        .call("DELETE", "/v2/full/kept/manifests/v1")
        .expect(202);
    registry.get("/v2/full/kept/manifests/v1").expect(404);

    // Not one byte left: whatever happens to writes, what is there stays.
    let ballast = disk.path("ballast");
    exhaust(&ballast);
    let content = Random::new(99).bytes(BLOB_BYTES);
    let refused = Request::new("POST", "/v2/full/none/blobs/uploads/").body(content.clone());
    if let Ok(answer) = registry.try_send(&refused) {
        assert!(answer.status >= 500, "{}", answer.status);
    }
    fs::remove_file(&ballast).unwrap();
    if !node.is_running() {
        node.restart();
    }
    registry.client.close();
    for (target, content) in &kept {
        assert!(registry.get(target).expect(200).body == *content);
    }

    // Room, and pushes are taken again.
    for (target, _) in &kept[..kept.len() / 2] {
        registry.call("DELETE", target).expect(202);
    }
    make_room(&disk);
    let mut registry = Registry::new(node.address);
    let is_taken = wait_for(Duration::from_secs(30), || {
        registry
            .call("POST", "/v2/full/again/blobs/uploads/")
            .status
            == 202
    });
    assert!(is_taken, "pushes are still refused");
    registry.push_blob("full/again", &content);
    registry.push_image("full/kept", "v1", 1);
}

/// Pushes blobs until one is refused for want of room; gives those taken.
fn fill(registry: &mut Registry) -> Vec<(String, Vec<u8>)> {
    let mut kept = Vec::new();
    for number in 0..DISK_MIB as u64 {
        let content = Random::new(number).bytes(BLOB_BYTES);
        let digest = sha256(&content);
        let target = format!("/v2/full/kept/blobs/uploads/?digest={digest}");
        let request = Request::new("POST", target).body(content.clone());
        // A refusal comes before the body is read, so the connection may end.
        let answer = registry.try_send(&request).ok();
        if answer.is_none_or(|answer| answer.expect_any(&[201, 507]).status == 507) {
            break;
        }
        kept.push((format!("/v2/full/kept/blobs/{digest}"), content));
    }
    let opened = registry
        .call("POST", "/v2/full/kept/blobs/uploads/")
        .expect(507);
    drop(opened.says(&["DENIED", "UNSUPPORTED", "TOOMANYREQUESTS"]));
    assert!(kept.len() > 20, "only {} blobs are on the disk", kept.len());
    kept
}

fn expect_kept(registry: &mut Registry, manifest: &[u8], kept: &[(String, Vec<u8>)]) {
    assert!(registry.get("/v2/full/kept/manifests/v1").expect(200).body == manifest);
    for (target, content) in kept {
        assert!(registry.get(target).expect(200).body == *content);
        registry.call("HEAD", target).expect(200);
    }
}

/// Writes a file until the disk takes nothing more.
fn exhaust(path: &Path) {
    let piece = vec![1; 1024 * 1024];
    let mut file = fs::File::create(path).unwrap();
    while std::io::Write::write_all(&mut file, &piece).is_ok() {}
}

/// Makes the disk larger, as an operator does.
fn make_room(disk: &SmallDisk) {
    let status = Command::new("mount")
        .args(["-o", &format!("remount,size={}m", DISK_MIB * 2)])
        .arg(disk.directory.path())
        .status()
        .unwrap();
    assert!(status.success(), "a mounted tmpfs can grow");
}
