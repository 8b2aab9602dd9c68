//! A leader that cannot write does not lead: its disk fails, or stands still, and the
//! others go on.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::{
    Cluster, NodeOptions, Random, Registry, Request, digest_of, is_left_out, wait_for,
};
use crate::undo::{run_words, text};

/// Size of the disk; its file grows as it is written.
const DISK_BYTES: u64 = 1024 * 1024 * 1024;
/// The others take writes again within this time.
const FAILOVER_MAX: Duration = Duration::from_secs(20);
/// A process whose journal failed has ended by then.
const ENDED_MAX: Duration = Duration::from_secs(20);
/// Written while the disk stands still; together longer than the watchdog of a
/// stuck executor waits.
const FROZEN_PUSHES: u64 = 40;
const FROZEN_PAUSE: Duration = Duration::from_millis(200);
/// Asks ext4 to take no more writes, and to write nothing back, as when the device
/// is gone.
const SHUT_DOWN: &str = "import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))";

/// A file system of its own, on a file.
struct Disk {
    directory: TempDir,
}

impl Disk {
    #[track_caller]
    fn mount() -> Self {
        let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let disk = Self { directory };
        let image = std::fs::File::create(disk.image()).expect("a file");
        image.set_len(DISK_BYTES).expect("a sparse file");
        std::fs::create_dir(disk.root()).expect("a directory");
        run_words("mkfs.ext4", &["-q", "-F", text(&disk.image())]);
        disk.mount_again();
        disk
    }

    #[track_caller]
    fn mount_again(&self) {
        let (image, root) = (self.image(), self.root());
        run_words("mount", &["-o", "loop", text(&image), text(&root)]);
    }

    fn image(&self) -> PathBuf {
        self.directory.path().join("image")
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    /// Fails every write and every sync from now on.
    #[track_caller]
    fn fail(&self) {
        run_words("python3", &["-c", SHUT_DOWN, text(&self.root())]);
    }

    /// As new after a repair; nobody may use it meanwhile.
    #[track_caller]
    fn repair(&self) {
        run_words("umount", &[text(&self.root())]);
        self.mount_again();
    }

    /// Lets no write return until the guard is dropped.
    #[track_caller]
    fn freeze(&self) -> Frozen {
        run_words("fsfreeze", &["--freeze", text(&self.root())]);
        Frozen(self.root())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let root = self.root();
        drop(Command::new("umount").arg("--lazy").arg(root).status());
    }
}

/// A disk that stands still.
struct Frozen(PathBuf);

impl Drop for Frozen {
    fn drop(&mut self) {
        drop(Command::new("fsfreeze").arg("-u").arg(&self.0).status());
    }
}

/// Three voters, the first of which leads and has a disk of its own; nothing where
/// no disk can be mounted.
fn cluster() -> Option<(Disk, Cluster)> {
    if is_left_out("mount the disk of this test") {
        return None;
    }
    let disk = Disk::mount();
    let small = |name: &str, value: &str| (format!("WINDLASS_STORAGE__{name}"), value.to_owned());
    let own = NodeOptions {
        data_dir: Some(disk.root().join("data")),
        environment: vec![small("HARD_FREE", "64MiB"), small("HARD_PERCENT", "99")],
        ..NodeOptions::default()
    };
    let others = NodeOptions::default();
    let mut cluster = Cluster::of(vec![own, others.clone(), others]);
    cluster.lead(0);
    Some((disk, cluster))
}

/// Pushes through a node until it is taken.
#[track_caller]
fn push(address: SocketAddr, content: &[u8], patience: Duration) -> String {
    let digest = digest_of("sha256", content);
    let target = format!("/v2/kept/app/blobs/uploads/?digest={digest}");
    let mut last = None;
    let is_taken = wait_for(patience, || {
        let request = Request::new("POST", target.clone()).body(content);
        let answer = Registry::new(address).client.try_send(&request);
        last = answer.ok().map(|answer| answer.status);
        last == Some(201)
    });
    assert!(is_taken, "no push through {address}: {last:?}");
    digest
}

/// Every node has every blob.
#[track_caller]
fn check_kept(cluster: &mut Cluster, kept: &[String]) {
    cluster.wait_voters(3);
    cluster.wait_whole();
    for address in cluster.addresses() {
        for digest in kept {
            let target = format!("/v2/kept/app/blobs/{digest}");
            let got = Registry::new(address).get(&target).expect(200);
            assert_eq!(digest_of("sha256", &got.body), *digest, "at {address}");
        }
    }
}

#[test]
fn a_leader_whose_disk_fails_ends_and_another_one_leads() {
    let Some((disk, mut cluster)) = cluster() else {
        return;
    };
    let addresses = cluster.addresses();
    let mut random = Random::new(21);
    let mut kept = vec![push(addresses[0], &random.bytes(40_000), FAILOVER_MAX)];
    disk.fail();
    for address in [addresses[1], addresses[2]] {
        kept.push(push(address, &random.bytes(40_000), FAILOVER_MAX));
    }
    // What it could not sync it does not sync again: the process has ended.
    let status = cluster.nodes[0].node.wait_end(ENDED_MAX);
    assert!(!status.success(), "{status}");
    let log = cluster.nodes[0].node.log_text();
    assert!(log.contains("journal"), "{log}");
    let leader = cluster.leader();
    assert!(leader != 0);

    disk.repair();
    cluster.nodes[0].node.spawn();
    cluster.nodes[0].node.wait_ready();
    check_kept(&mut cluster, &kept);
}

#[test]
fn a_leader_whose_disk_stands_still_gives_up_and_comes_back() {
    let Some((disk, mut cluster)) = cluster() else {
        return;
    };
    let addresses = cluster.addresses();
    let mut random = Random::new(22);
    let mut kept = vec![push(addresses[0], &random.bytes(40_000), FAILOVER_MAX)];
    let frozen = disk.freeze();
    kept.push(push(addresses[1], &random.bytes(40_000), FAILOVER_MAX));
    let leader = cluster.status(1).expect("a status");
    let first = cluster.nodes[0].peer_address.to_string();
    let nodes = leader["nodes"].as_array().expect("nodes");
    let leads = |node: &&serde_json::Value| node["role"] == "leader";
    let leading = nodes.iter().find(leads).expect("a leader");
    assert!(leading["address"] != first.as_str(), "{leading}");
    for number in 0..FROZEN_PUSHES {
        let through = if number % 2 == 0 { 1 } else { 2 };
        kept.push(push(addresses[through], &random.bytes(2000), FAILOVER_MAX));
        std::thread::sleep(FROZEN_PAUSE);
    }
    drop(frozen);
    // Its watchdog may have ended it; then it comes back as after a crash.
    let mut has_ended = false;
    wait_for(Duration::from_secs(3), || {
        has_ended = !cluster.nodes[0].node.is_running();
        has_ended
    });
    if has_ended {
        cluster.nodes[0].node.restart();
    }
    cluster.nodes[0].node.wait_ready();
    check_kept(&mut cluster, &kept);
}
