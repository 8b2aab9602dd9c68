//! A leader whose disk falls behind applies what the others have synced. When it dies
//! then, it finds a state ahead of its log, and that must not keep it from starting.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::{Cluster, NodeOptions, Random, Registry, Request, digest_of, wait_for};

/// Whatever is waited for here comes within this time.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pushed while no sync of the leader returns.
const HELD_PUSHES: u64 = 8;
/// A blob that lives in the journal.
const SMALL_BYTES: usize = 900;

/// A library that holds syncs of the log while a file is there.
struct HeldSyncs {
    library: PathBuf,
    switch: PathBuf,
    _directory: TempDir,
}

impl HeldSyncs {
    #[track_caller]
    fn build() -> Self {
        let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let library = directory.path().join("held_syncs.so");
        let source =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/journal/held_syncs.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]);
        let built = compiler.arg(&library).arg(source).arg("-ldl").status();
        assert!(built.is_ok_and(|built| built.success()), "cc failed");
        Self {
            library,
            switch: directory.path().join("hold"),
            _directory: directory,
        }
    }

    fn environment(&self) -> Vec<(String, String)> {
        let text = |path: &Path| path.display().to_string();
        vec![
            ("LD_PRELOAD".to_owned(), text(&self.library)),
            ("HELD_SYNCS".to_owned(), text(&self.switch)),
        ]
    }

    fn hold(&self) {
        File::create(&self.switch).expect("a file");
    }

    fn let_go(&self) {
        std::fs::remove_file(&self.switch).expect("the file is there");
    }
}

/// Index of the last entry that a node has applied.
#[track_caller]
fn applied(cluster: &Cluster, node: usize) -> u64 {
    let status = cluster.status(node).expect("a status");
    let nodes = status["nodes"].as_array().expect("nodes");
    let own = nodes.iter().find(|other| other["node"] == status["node"]);
    let index = own.map(|own| own["report"]["applied_index"].as_u64());
    index.flatten().expect("an index")
}

#[test]
fn a_leader_that_dies_with_a_state_ahead_of_its_log_comes_back() {
    let held = HeldSyncs::build();
    let slow = NodeOptions {
        environment: held.environment(),
        ..NodeOptions::default()
    };
    let others = NodeOptions::default();
    let mut cluster = Cluster::of(vec![slow, others.clone(), others]);
    cluster.lead(0);
    let through = cluster.addresses()[1];
    let mut random = Random::new(31);
    let mut kept = Vec::new();
    let mut push = || {
        let content = random.bytes(SMALL_BYTES);
        let digest = digest_of("sha256", &content);
        let target = format!("/v2/kept/app/blobs/uploads/?digest={digest}");
        let request = Request::new("POST", target).body(content);
        let answer = Registry::new(through).client.try_send(&request);
        assert_eq!(answer.map(|answer| answer.status).ok(), Some(201));
        kept.push(digest);
    };
    push();
    let before = applied(&cluster, 0);
    held.hold();
    for _ in 0..HELD_PUSHES {
        push();
    }
    let is_ahead = wait_for(PATIENCE, || applied(&cluster, 0) >= before + HELD_PUSHES);
    assert!(is_ahead, "{before} and then {}", applied(&cluster, 0));
    cluster.nodes[0].node.kill();
    held.let_go();
    cluster.nodes[0].node.restart();
    let log = cluster.nodes[0].node.log_text();
    assert!(
        log.contains("ahead of the log"),
        "nothing was shown:\n{log}"
    );
    cluster.wait_voters(3);
    cluster.wait_whole();
    for address in cluster.addresses() {
        for digest in &kept {
            let target = format!("/v2/kept/app/blobs/{digest}");
            let got = Registry::new(address).get(&target).expect(200);
            assert_eq!(digest_of("sha256", &got.body), *digest, "at {address}");
        }
    }
}
