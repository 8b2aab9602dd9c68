//! A blob whose file goes bad on one node is served from another, and is whole again.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::{
    Client, Cluster, Node, Random, Registry, Request, digest_of, is_left_out, wait_for,
};
use crate::undo::{run_words, text};

const NAME: &str = "repair/app";
/// A file that was set aside has come anew by then.
const REPAIRED_MAX: Duration = Duration::from_secs(30);
/// A client that waits for nodes which nobody reaches has its answer by then.
const UNREACHABLE_MAX: Duration = Duration::from_secs(90);
/// Size of a disk that fails, and of its blocks.
const FAILING_DISK_BYTES: u64 = 32 * 1024 * 1024;
const BLOCK_BYTES: u64 = 4096;
/// What a read from it says.
const EIO: i32 = 5;
/// Four windows of a reader and a piece, so that a file may end in each part of it.
const BLOB_BYTES: usize = 4_500_000;

/// What happens to a file.
#[derive(Debug, Clone, Copy)]
enum Harm {
    /// It ends early.
    Cut(u64),
    /// Nothing of it can be read: a folder is in its place.
    Unreadable,
}

impl Harm {
    fn strike(self, file: &Path) {
        match self {
            Self::Cut(length) => {
                let file = fs::File::options().write(true).open(file);
                file.expect("a file")
                    .set_len(length)
                    .expect("a shorter file");
            }
            Self::Unreadable => {
                fs::remove_file(file).expect("a file");
                fs::create_dir(file).expect("a folder");
            }
        }
    }
}

/// The file of a blob on a node.
fn file_of(node: &Node, digest: &str) -> PathBuf {
    let hex = digest.strip_prefix("sha256:").expect("a digest");
    let files = node.files("blobs");
    let is_its = |path: &&PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(hex))
    };
    files
        .iter()
        .find(is_its)
        .expect("the file of a blob")
        .clone()
}

fn metric(node: &Node, name: &str) -> u64 {
    let mut client = Client::new(node.admin_address);
    let page = client.send(&Request::new("GET", "/metrics")).body;
    let page = String::from_utf8(page).expect("text");
    let value = page.lines().find_map(|line| line.strip_prefix(name));
    value.expect("the metric").trim().parse().expect("a number")
}

fn set_aside(node: &Node) -> u64 {
    metric(node, "windlass_blobs_set_aside_total ")
}

/// Pulls a blob whole. Which nodes hold one is written down a moment after its push;
/// until then nobody gives away the only file that is known, bad as it is.
#[track_caller]
fn pull(address: SocketAddr, target: &str, digest: &str) {
    let is_whole = wait_for(REPAIRED_MAX, || {
        let mut client = Client::new(address);
        let answer = client.try_send(&Request::new("GET", target));
        answer.is_ok_and(|got| got.status == 200 && digest_of("sha256", &got.body) == digest)
    });
    assert!(is_whole, "{target} at {address}");
}

#[test]
fn a_blob_that_cannot_be_read_comes_from_another_node_and_is_whole_again() {
    let mut cluster = Cluster::start(3);
    let addresses = cluster.addresses();
    let mut random = Random::new(31);
    let harms = [Harm::Cut(0), Harm::Cut(3_000_000), Harm::Unreadable];
    for (count, harm) in (1..).zip(harms) {
        let content = random.bytes(BLOB_BYTES);
        let digest = Registry::new(addresses[0]).push_blob(NAME, &content);
        cluster.wait_whole();
        let node = &cluster.nodes[1].node;
        let file = file_of(node, &digest);
        harm.strike(&file);

        let target = format!("/v2/{NAME}/blobs/{digest}");
        pull(addresses[1], &target, &digest);
        let is_aside = || set_aside(node) == count;
        assert!(wait_for(REPAIRED_MAX, is_aside), "{harm:?}");
        let is_whole = || {
            let found = fs::metadata(&file);
            found.is_ok_and(|found| {
                found.is_file() && usize::try_from(found.len()) == Ok(BLOB_BYTES)
            })
        };
        assert!(wait_for(REPAIRED_MAX, is_whole), "{harm:?}");
        assert_eq!(
            digest_of("sha256", &fs::read(&file).expect("a file")),
            digest
        );
    }

    // A file that fails while it is sent to another node is replaced as well.
    let content = random.bytes(BLOB_BYTES);
    let digest = Registry::new(addresses[0]).push_blob(NAME, &content);
    cluster.wait_whole();
    let (lacking, bad) = (&cluster.nodes[1].node, &cluster.nodes[2].node);
    let files = [lacking, bad].map(|node| file_of(node, &digest));
    Harm::Cut(0).strike(&files[0]);
    Harm::Unreadable.strike(&files[1]);
    let target = format!("/v2/{NAME}/blobs/{digest}");
    pull(addresses[1], &target, &digest);
    pull(addresses[2], &target, &digest);
}

/// A small file system whose device fails to read from some point on.
struct FailingDisk {
    directory: TempDir,
}

impl FailingDisk {
    /// With one file of it.
    #[track_caller]
    fn with(content: &[u8]) -> Self {
        let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let disk = Self { directory };
        let image = fs::File::create(disk.image()).expect("a file");
        image.set_len(FAILING_DISK_BYTES).expect("a sparse file");
        fs::create_dir(disk.root()).expect("a directory");
        let (image, root) = (disk.image(), disk.root());
        let (image, root) = (text(&image), text(&root));
        // Without a journal, which would lie behind the file.
        let words = ["-q", "-F", "-b", "4096", "-O", "^has_journal", image];
        run_words("mkfs.ext4", &words);
        run_words("mount", &["-o", "loop", image, root]);
        fs::write(disk.file(), content).expect("a file");
        // Nothing of it stays in memory.
        run_words("umount", &[root]);
        run_words("mount", &["-o", "loop", image, root]);
        disk
    }

    fn image(&self) -> PathBuf {
        self.directory.path().join("image")
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    fn file(&self) -> PathBuf {
        self.root().join("file")
    }

    /// Fails every read behind the first half of the file.
    #[track_caller]
    fn fail(&self) {
        let listed = Command::new("filefrag").arg("-v").arg(self.file()).output();
        let listed = String::from_utf8(listed.expect("filefrag runs").stdout).expect("text");
        // "   0:        0..    1098:       1234..      2332:   1099:  last,eof"
        let line = listed
            .lines()
            .find(|line| line.trim_start().starts_with("0:"));
        let first = line.and_then(|line| line.split(':').nth(2)?.split("..").next());
        let first: u64 = first.expect("an extent").trim().parse().expect("a block");
        let half = u64::try_from(BLOB_BYTES / 2).expect("few bytes");
        let image = fs::File::options().write(true).open(self.image());
        let cut = image
            .expect("the image")
            .set_len(first * BLOCK_BYTES + half);
        cut.expect("a shorter device");
    }
}

impl Drop for FailingDisk {
    fn drop(&mut self) {
        let root = self.root();
        drop(Command::new("umount").arg("--lazy").arg(root).status());
    }
}

#[test]
fn a_blob_whose_device_fails_in_mid_file_comes_from_another_node() {
    if is_left_out("mount the disk of this test") {
        return;
    }
    let mut cluster = Cluster::start(3);
    let addresses = cluster.addresses();
    let content = Random::new(37).bytes(BLOB_BYTES);
    let digest = Registry::new(addresses[0]).push_blob(NAME, &content);
    cluster.wait_whole();
    let node = &cluster.nodes[1].node;
    let file = file_of(node, &digest);
    let disk = FailingDisk::with(&content);
    disk.fail();
    let read = fs::read(disk.file()).expect_err("the device fails");
    assert_eq!(read.raw_os_error(), Some(EIO));
    fs::remove_file(&file).expect("a file");
    std::os::unix::fs::symlink(disk.file(), &file).expect("a link");

    let target = format!("/v2/{NAME}/blobs/{digest}");
    pull(addresses[1], &target, &digest);
    assert!(wait_for(REPAIRED_MAX, || set_aside(node) == 1));
    let is_own = || fs::symlink_metadata(&file).is_ok_and(|found| found.is_file());
    assert!(wait_for(REPAIRED_MAX, is_own));
    assert!(fs::read(&file).expect("a file") == content);
}

/// Whether a pull brings all of a blob in a moment.
fn is_whole(address: SocketAddr, target: &str, digest: &str) -> bool {
    let mut client = Client::with_patience(address, Duration::from_secs(2));
    let answer = client.try_send(&Request::new("GET", target));
    answer.is_ok_and(|got| got.status == 200 && digest_of("sha256", &got.body) == digest)
}

#[test]
fn of_two_files_that_fail_at_once_one_stays_until_it_is_good_again() {
    let mut cluster = Cluster::start(2);
    let addresses = cluster.addresses();
    let content = Random::new(43).bytes(BLOB_BYTES);
    let digest = Registry::new(addresses[0]).push_blob(NAME, &content);
    cluster.wait_whole();
    let target = format!("/v2/{NAME}/blobs/{digest}");
    let nodes = [&cluster.nodes[0].node, &cluster.nodes[1].node];
    let files = nodes.map(|node| file_of(node, &digest));
    for file in &files {
        Harm::Cut(3_000_000).strike(file);
    }
    let asides = || nodes.map(set_aside).iter().sum::<u64>();
    let until = Instant::now() + REPAIRED_MAX;
    while asides() == 0 && Instant::now() < until {
        std::thread::scope(|scope| {
            for address in &addresses {
                scope.spawn(|| is_whole(*address, &target, &digest));
            }
        });
    }
    // However often it is read.
    for _ in 0..3 {
        for address in &addresses {
            assert!(
                !is_whole(*address, &target, &digest),
                "nobody has all of it"
            );
        }
    }
    assert_eq!(asides(), 1, "{:?}", nodes.map(set_aside));
    let kept: Vec<bool> = files.iter().map(|file| file.exists()).collect();
    let keeper = kept
        .iter()
        .position(|is_kept| *is_kept)
        .expect("a file stays");
    assert_eq!(kept.iter().filter(|is_kept| **is_kept).count(), 1);
    let doubtful = || metric(nodes[keeper], "windlass_replication_doubtful_files ");
    // Each shard that met it counts it.
    assert!(doubtful() > 0);

    fs::write(&files[keeper], &content).expect("a good file again");
    for address in &addresses {
        pull(*address, &target, &digest);
    }
    assert!(wait_for(REPAIRED_MAX, || doubtful() == 0));
    assert!(
        files
            .iter()
            .all(|file| fs::read(file).is_ok_and(|got| got == content))
    );
}

#[test]
fn a_bad_file_without_a_quorum_is_an_error_and_is_whole_again_when_the_others_are_back() {
    let mut cluster = Cluster::start(3);
    let addresses = cluster.addresses();
    let mut random = Random::new(47);
    let harms = [Harm::Cut(0), Harm::Cut(3_000_000), Harm::Unreadable];
    let mut struck = Vec::new();
    for harm in harms {
        let content = random.bytes(BLOB_BYTES);
        let digest = Registry::new(addresses[0]).push_blob(NAME, &content);
        struck.push((harm, digest));
    }
    cluster.wait_whole();
    for index in [1, 2] {
        cluster.nodes[index].node.kill();
    }
    let alone = &cluster.nodes[0].node;
    let address = addresses[0];
    let struck: Vec<_> = struck
        .into_iter()
        .map(|(harm, digest)| {
            let file = file_of(alone, &digest);
            harm.strike(&file);
            (harm, file, format!("/v2/{NAME}/blobs/{digest}"), digest)
        })
        .collect();
    // All at once: each answer waits for nodes that are not there.
    std::thread::scope(|scope| {
        for (harm, _, target, digest) in &struck {
            scope.spawn(move || {
                let mut client = Client::with_patience(address, UNREACHABLE_MAX);
                match client.try_send(&Request::new("GET", target)) {
                    // What was sent before the failure is cut off.
                    Err(_) => assert!(matches!(harm, Harm::Cut(1..)), "{harm:?}"),
                    Ok(answer) => {
                        // 503 for nodes that cannot be reached, 500 when it was not written
                        // down yet that they hold it.
                        assert!([500, 503].contains(&answer.status), "{harm:?}: {answer:?}");
                        let said = String::from_utf8(answer.body).expect("text");
                        assert!(said.contains("errors"), "{harm:?} {digest}: {said}");
                    }
                }
            });
        }
    });
    assert_eq!(set_aside(alone), 0, "it is the only file within reach");

    for index in [1, 2] {
        cluster.nodes[index].node.restart();
    }
    for (harm, file, target, digest) in &struck {
        pull(addresses[0], target, digest);
        let is_whole = || {
            let found = fs::metadata(file);
            found.is_ok_and(|found| {
                found.is_file() && usize::try_from(found.len()) == Ok(BLOB_BYTES)
            })
        };
        assert!(wait_for(REPAIRED_MAX, is_whole), "{harm:?}");
        let whole = fs::read(file).expect("a file");
        assert_eq!(&digest_of("sha256", &whole), digest);
    }
}
