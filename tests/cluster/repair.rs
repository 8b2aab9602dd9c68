//! A blob whose file goes bad on one node is served from another, and is whole again.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::{Client, Cluster, Node, Random, Registry, Request, digest_of, wait_for};

const NAME: &str = "repair/app";
/// A file that was set aside has come anew by then.
const REPAIRED_MAX: Duration = Duration::from_secs(30);
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

fn set_aside(node: &Node) -> u64 {
    let mut client = Client::new(node.admin_address);
    let page = client.send(&Request::new("GET", "/metrics")).body;
    let page = String::from_utf8(page).expect("text");
    let name = "windlass_blobs_set_aside_total ";
    let value = page.lines().find_map(|line| line.strip_prefix(name));
    value.expect("the metric").parse().expect("a number")
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
        assert_eq!(set_aside(node), count, "{harm:?}");
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
