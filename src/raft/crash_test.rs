//! Real processes that are killed, and disks that forget: whatever was
//! acknowledged is there afterwards, or the node refuses to start.
//!
//! A power cut is SIGKILL and then the loss of what was never synced: a
//! preloaded library (`tests/fixtures/journal/synced_bytes.c`) keeps account.
//! It knows fjall's journals and the mark; tables, which fjall syncs before it
//! uses them, and directory entries are taken as safe.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};
use std::sync::Arc;

use tempfile::TempDir;

use crate::raft::suite_tests::{is_linked, link};
use crate::raft::{Handle, OpenError, Options, open, start};
use crate::runtime::{run_alone, spawn};
use crate::telemetry::Metrics;

/// Name of the test that is the child process.
const CHILD: &str = "raft::testing::crash_tests::child";
/// Tells the child where its node lives.
const DIRECTORY_VARIABLE: &str = "WINDLASS_TEST_NODE";
/// Tells the child which number to propose first.
const FIRST_VARIABLE: &str = "WINDLASS_TEST_FIRST";
/// Tells the child not to sync: the negative control.
const UNSYNCED_VARIABLE: &str = "WINDLASS_TEST_UNSYNCED";
/// Proposals in flight in the child.
const PROPOSERS: u64 = 8;
/// Distance of the numbers of two rounds.
const ROUND_NUMBERS: u64 = 1_000_000;

fn options(directory: &Path) -> Options {
    let mut options = Options::new(directory, Arc::new(Metrics::new()));
    options.journal.memtable_bytes = 128 * 1024;
    options.snapshot_entries = 500;
    options.log_entries_kept = 100;
    options
}

/// Proposes until it is killed and says what was acknowledged.
#[test]
fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY_VARIABLE) else {
        return;
    };
    let first: u64 = std::env::var(FIRST_VARIABLE).unwrap().parse().unwrap();
    run_alone(move || async move {
        let mut options = options(Path::new(&directory));
        options.journal.is_synced = std::env::var_os(UNSYNCED_VARIABLE).is_none();
        let opened = open(&options).unwrap();
        let (handle, _) = start(opened, options, None).await.unwrap();
        let proposers: Vec<_> = (0..PROPOSERS)
            .map(|proposer| spawn(propose_for_ever(handle.clone(), first + proposer)))
            .collect();
        for proposer in proposers {
            proposer.await.unwrap();
        }
    });
}

async fn propose_for_ever(handle: Handle, first: u64) {
    let mut number = first;
    while handle.propose(link(number)).await.is_ok() {
        let line = format!("acknowledged {number}\n");
        std::io::stdout().write_all(line.as_bytes()).unwrap();
        number += PROPOSERS;
    }
}

/// What one life of the child acknowledged, and how it ended.
struct Life {
    acknowledged: Vec<u64>,
    exit_code: Option<i32>,
    last_words: String,
}

/// A node's directory and the account of what its disk holds.
struct Machine {
    directory: TempDir,
    shim: PathBuf,
    rounds: u64,
    acknowledged: Vec<u64>,
    seed: u64,
}

impl Machine {
    fn new(seed: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let shim = directory.path().join("shim.so");
        let source = "tests/fixtures/journal/synced_bytes.c";
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
        let mut compiler = Process::new("cc");
        compiler
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&shim)
            .arg(source);
        assert!(compiler.arg("-ldl").status().unwrap().success());
        fs::create_dir(directory.path().join("synced")).unwrap();
        Self {
            directory,
            shim,
            rounds: 0,
            acknowledged: Vec::new(),
            seed,
        }
    }

    fn node(&self) -> PathBuf {
        self.directory.path().join("node")
    }

    fn random(&mut self, below: u64) -> u64 {
        self.seed = self
            .seed
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(11);
        (self.seed >> 33) % below
    }

    /// Lets a child run until it has acknowledged `count` proposals and kills
    /// it, unless it ends before.
    fn live(&mut self, count: usize, variables: &[(&str, &str)]) -> Life {
        let first = self.rounds * ROUND_NUMBERS;
        self.rounds += 1;
        let mut child = Process::new(std::env::current_exe().unwrap())
            .args(["--exact", CHILD, "--nocapture", "--test-threads=1"])
            .env(DIRECTORY_VARIABLE, self.node())
            .env(FIRST_VARIABLE, first.to_string())
            .env("SYNCED_DIRECTORY", self.directory.path().join("synced"))
            .env("LD_PRELOAD", &self.shim)
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut acknowledged = Vec::new();
        let mut is_killed = false;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let number = line.split("acknowledged ").nth(1);
            acknowledged.extend(number.and_then(|number| number.parse::<u64>().ok()));
            if acknowledged.len() >= count && !is_killed {
                child.kill().unwrap();
                is_killed = true;
            }
        }
        let exit_code = child.wait().unwrap().code();
        let mut last_words = String::new();
        let mut stderr = child.stderr.take().unwrap();
        stderr.read_to_string(&mut last_words).unwrap();
        assert!(
            is_killed || !variables.is_empty(),
            "the child ended by itself: {last_words}"
        );
        self.acknowledged.extend(&acknowledged);
        Life {
            acknowledged,
            exit_code,
            last_words,
        }
    }

    /// Takes from the disk what was never synced: cut, zeroed or torn.
    fn lose_power(&mut self) {
        let synced = self.directory.path().join("synced");
        for entry in fs::read_dir(synced).unwrap() {
            let account = entry.unwrap().path();
            let name = account.file_name().unwrap().to_str().unwrap();
            let path = PathBuf::from(name.replace('+', "/"));
            // fjall removes journals it no longer needs.
            let Ok(file) = fs::OpenOptions::new().read(true).write(true).open(&path) else {
                continue;
            };
            let mut held = Vec::new();
            fs::File::open(&account)
                .unwrap()
                .read_to_end(&mut held)
                .unwrap();
            if path.ends_with("mark") {
                file.write_all_at(&held, 0).unwrap();
                continue;
            }
            let synced_bytes = u64::from_le_bytes(held.try_into().unwrap());
            let allocated = file.metadata().unwrap().len();
            let kept = synced_bytes + self.random(64);
            match self.random(3) {
                0 => {
                    file.set_len(synced_bytes.min(allocated)).unwrap();
                    file.set_len(allocated).unwrap();
                }
                1 => {
                    file.set_len(kept.min(allocated)).unwrap();
                    file.set_len(allocated).unwrap();
                }
                _ => file.write_all_at(&[0xa5; 300], kept).unwrap(),
            }
        }
    }

    /// Starts the node and counts what is missing of what was acknowledged.
    fn missing(&self) -> Result<usize, OpenError> {
        let options = options(&self.node());
        let opened = open(&options)?;
        let acknowledged = self.acknowledged.clone();
        Ok(run_alone(move || async move {
            let (handle, _) = start(opened, options, None).await.unwrap();
            let view = handle.view();
            let is_missing = |number: &&u64| !is_linked(&view, **number);
            let missing = acknowledged.iter().filter(is_missing).count();
            drop(view);
            handle.shutdown().await;
            missing
        }))
    }
}

#[test]
fn whatever_was_acknowledged_survives_kills() {
    let mut machine = Machine::new(1);
    for round in 0..6 {
        let life = machine.live(150 + round * 60, &[]);
        assert!(life.acknowledged.len() >= 150);
        assert_eq!(machine.missing().unwrap(), 0, "round {round}");
    }
}

#[test]
fn whatever_was_acknowledged_survives_power_cuts() {
    let mut machine = Machine::new(2);
    for round in 0..10 {
        let count = usize::try_from(100 + machine.random(400)).unwrap();
        machine.live(count, &[]);
        machine.lose_power();
        assert_eq!(machine.missing().unwrap(), 0, "round {round}");
    }
}

#[test]
fn without_syncs_a_power_cut_loses_what_was_acknowledged() {
    let mut machine = Machine::new(3);
    machine.live(300, &[(UNSYNCED_VARIABLE, "1")]);
    machine.lose_power();
    let missing = machine.missing();
    // The harness would notice a journal that does not sync.
    assert!(missing.is_err() || missing.is_ok_and(|missing| missing > 0));
}

#[test]
fn a_failed_sync_ends_the_process_with_a_clear_last_line() {
    let mut machine = Machine::new(4);
    let life = machine.live(usize::MAX, &[("FAIL_SYNC_AFTER", "60")]);
    assert_eq!(life.exit_code, Some(74), "{}", life.last_words);
    let last = life.last_words.lines().last().unwrap_or_default();
    assert!(last.contains("journal failed"), "{last}");
    machine.lose_power();
    assert_eq!(machine.missing().unwrap(), 0);
}
