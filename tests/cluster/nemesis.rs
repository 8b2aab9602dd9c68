//! A cluster under faults: whatever is killed, stopped, cut off, slowed down, filled
//! up or replaced, what was acknowledged is there afterwards, and every tag behaves
//! like one register.
//!
//! Each run goes through all faults at least once, in an order of its seed's; one in
//! which a fault did not happen is rejected. `WINDLASS_NEMESIS_SEED` repeats a run,
//! `WINDLASS_NEMESIS_SECONDS` lets it go on for at least so long.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::client::{MOUNTS, REPOSITORY, Run};
use super::faults::{FAULTS, NODES, Nemesis};
use super::history::is_linearizable;
use super::spells::CALM_AFTER;
use super::turn::heavy;
use crate::support::{Client, Cluster, Random, Request, SETTLED_MAX, digest_of, wait_for};

/// Clients at work, one operation at a time each.
const CLIENTS: u64 = 6;
/// The seed of the run that is the same each time.
const SEED: u64 = 1;
/// Blobs up to this size live in the journal and have no file.
const INLINE_BYTES_MAX: usize = 16 * 1024;
/// How long clients work after the last fault when it explains nothing any more.
const CALM: Duration = Duration::from_secs(4);
/// What a node logs when it starts, and when it hears of a leader.
const STARTED: &str = "executors are placed";
const LED: &str = "leadership changes";
/// How long the cluster is left alone between two faults.
const REST: Duration = Duration::from_millis(1200);

/// Every acknowledged image, whole, at every node.
pub(crate) fn check_kept(cluster: &Cluster, run: &Run) {
    let (kept, mounted) = {
        let log = run.log();
        (log.kept.clone(), log.mounted.clone())
    };
    for address in cluster.addresses() {
        let mut client = Client::new(address);
        for image in &kept {
            let manifest = [("manifests", &image.manifest)];
            let blobs = image.blobs.iter().map(|blob| ("blobs", &blob.digest));
            for (kind, digest) in manifest.into_iter().chain(blobs) {
                let target = format!("/v2/{REPOSITORY}/{kind}/{digest}");
                let answer = client.send(&Request::new("GET", target)).expect(200);
                assert_eq!(digest_of("sha256", &answer.body), *digest, "at {address}");
            }
        }
        for blob in &mounted {
            let target = format!("/v2/{MOUNTS}/blobs/{}", blob.digest);
            client.send(&Request::new("HEAD", target)).expect(200);
        }
    }
}

/// Every node lists the same tags, and each gives every tag a value that one register
/// explains, together with all that the clients saw.
pub(crate) fn check_tags(cluster: &Cluster, run: &Run) {
    let mut lists = Vec::new();
    for address in cluster.addresses() {
        run.read_all_tags(address);
        let target = format!("/v2/{REPOSITORY}/tags/list");
        let list = Client::new(address).send(&Request::new("GET", target));
        lists.push(list.expect(200).json());
    }
    assert!(lists.windows(2).all(|two| two[0] == two[1]), "{lists:#?}");
    let log = run.log();
    assert!(log.wrong.is_empty(), "{:#?}", log.wrong);
    for (tag, history) in &log.tags {
        assert!(is_linearizable(history), "{tag}: {history:#?}");
    }
}

/// At one index all nodes have one state.
pub(crate) fn check_states(cluster: &Cluster) {
    let mut seen = Vec::new();
    let is_one = wait_for(SETTLED_MAX, || {
        let nodes = 0..cluster.nodes.len();
        let states = nodes.map(|index| {
            let status = cluster.status(index).unwrap_or_default();
            let state = &status["state"];
            (state["applied_index"].as_u64(), state["hash"].clone())
        });
        seen = states.collect();
        let index = seen[0].0;
        index.is_some() && seen.iter().all(|state| state.0 == index)
    });
    assert!(is_one, "the nodes are not at one index: {seen:?}");
    assert!(seen.iter().all(|state| *state == seen[0]), "{seen:#?}");
    assert!(seen[0].1.is_string(), "{seen:?}");
}

/// With the nodes stopped: every blob that has a file has it at every node, with its
/// bytes.
fn check_files(nemesis: &mut Nemesis, run: &Run) {
    for member in &mut nemesis.cluster.nodes {
        member.node.kill();
    }
    let log = run.log();
    let blobs = log.kept.iter().flat_map(|kept| &kept.blobs);
    let blobs: Vec<&str> = blobs
        .filter(|blob| blob.bytes > INLINE_BYTES_MAX)
        .map(|blob| blob.digest.as_str())
        .collect();
    assert!(!blobs.is_empty(), "no blob has a file");
    for member in &nemesis.cluster.nodes {
        let mut files: HashMap<String, PathBuf> = HashMap::new();
        for path in member.node.files("blobs") {
            let name = path.file_name().expect("a name").to_string_lossy();
            let hex = name.split('.').next().unwrap_or_default();
            files.insert(format!("sha256:{hex}"), path);
        }
        let place = member.node.data_dir.display();
        for digest in &blobs {
            let path = files.get(*digest);
            let path = path.unwrap_or_else(|| panic!("{digest} has no file in {place}"));
            let content = fs::read(path).expect("a file can be read");
            assert_eq!(digest_of("sha256", &content), *digest, "{}", path.display());
        }
    }
}

/// Who led, by term and number, as one node's log has it.
///
/// - Errors: a leader that came back. A term may have a second one, with a higher number:
///   a vote may be given again in its term to a higher node, whose entries have other
///   names. Nobody leads after that who led before, and nobody of an older term.
fn leaders(log: &str) -> Result<BTreeSet<(u64, u64)>, String> {
    let (mut leaders, mut last) = (BTreeSet::new(), (0, 0));
    for line in log.lines() {
        if line.contains(STARTED) {
            // What it heard last before it was killed it may not have kept.
            last = (0, 0);
        }
        if !line.contains(LED) {
            continue;
        }
        let line: Value = serde_json::from_str(line).unwrap_or_default();
        if let (Some(term), Some(leader)) = (line["term"].as_u64(), line["leader"].as_u64()) {
            if (term, leader) < last {
                return Err(format!("{leader} leads in term {term} after {last:?}"));
            }
            last = (term, leader);
            leaders.insert(last);
        }
    }
    Ok(leaders)
}

/// Nobody leads again who was followed by another one, whichever node's log is asked.
fn check_leaders(nemesis: &Nemesis) {
    let logs = nemesis.cluster.nodes.iter();
    let seen: BTreeSet<_> = logs
        .flat_map(|member| {
            let log = member.node.log_text();
            leaders(&log).unwrap_or_else(|back| panic!("{back}:\n{log}"))
        })
        .collect();
    assert!(seen.len() > 1, "the logs name {seen:?} only");
}

#[test]
fn a_leader_that_comes_back_is_told_from_the_second_one_of_a_term() {
    let led = |term: u64, leader: u64| {
        let line = serde_json::json!({ "message": LED, "term": term, "leader": leader });
        format!("{line}\n")
    };
    let second = [led(3, 1), led(3, 2), led(4, 1)].concat();
    assert_eq!(
        leaders(&second),
        Ok(BTreeSet::from([(3, 1), (3, 2), (4, 1)]))
    );
    assert!(leaders(&[led(3, 2), led(3, 1)].concat()).is_err());
    assert!(leaders(&[led(4, 1), led(3, 2)].concat()).is_err());
    let restarted = [led(4, 1), format!("{STARTED}\n"), led(3, 2)].concat();
    assert!(leaders(&restarted).is_ok());
}

fn seconds() -> u64 {
    let given = std::env::var("WINDLASS_NEMESIS_SECONDS");
    given.map_or(0, |text| text.parse().expect("a number"))
}

fn torment(seed: u64) {
    let _turn = heavy();
    println!("WINDLASS_NEMESIS_SEED={seed}");
    let mut nemesis = Nemesis::new(seed);
    let run = Run::new(nemesis.cluster.addresses());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let run = Arc::clone(&run);
            let seed = Random::new(seed).next().wrapping_add(client);
            thread::spawn(move || run.work(seed))
        })
        .collect();
    let end = EndOf(Arc::clone(&run));
    let _history = HistoryOf {
        run: Arc::clone(&run),
        seed,
    };
    let began = Instant::now();
    let mut turns: BTreeMap<_, u32> = BTreeMap::new();
    while turns.is_empty() || began.elapsed() < Duration::from_secs(seconds()) {
        for fault in nemesis.plan() {
            thread::sleep(REST);
            let struck = Instant::now();
            nemesis.strike(fault, &run);
            let (at, took) = (began.elapsed(), struck.elapsed());
            println!("{at:6.1?} {fault:?} took {took:.1?}");
            *turns.entry(fault).or_default() += 1;
        }
    }
    // Without faults nobody is told to try again, whatever was done before.
    thread::sleep(Duration::from_micros(CALM_AFTER) + CALM);
    drop(end);
    for client in clients {
        client.join().expect("a client ends");
    }
    for member in &mut nemesis.cluster.nodes {
        member.node.wait_ready();
    }
    nemesis.cluster.wait_voters(usize::from(NODES));
    nemesis.cluster.wait_whole();
    check_tags(&nemesis.cluster, &run);
    check_kept(&nemesis.cluster, &run);
    check_leaders(&nemesis);
    check_states(&nemesis.cluster);
    check_files(&mut nemesis, &run);
    let log = run.log();
    println!(
        "{} operations succeeded, {} failed, {} tags, {} images kept, {} gone \
         ({} times found without a quorum), {:.0?} in all",
        log.succeeded,
        log.failed,
        log.tags.len(),
        log.kept.len(),
        log.gone.len(),
        log.served_without_quorum,
        began.elapsed(),
    );
    // A run in which too little happened proves nothing.
    assert!(log.succeeded > 300, "only {} operations", log.succeeded);
    assert!(log.gone.len() > 5, "only {} deletes", log.gone.len());
    assert_eq!(turns.len(), FAULTS.len());
    assert_eq!(nemesis.done, turns, "a planned fault did not happen");
}

/// Writes down what the clients saw when the run fails.
struct HistoryOf {
    run: Arc<Run>,
    seed: u64,
}

impl Drop for HistoryOf {
    fn drop(&mut self) {
        if thread::panicking() {
            let seed = self.seed;
            let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("nemesis-{seed}.txt"));
            // Nobody is left to tell when this cannot be written either.
            drop(fs::write(&path, format!("{:#?}", *self.run.log())));
            let path = path.display();
            println!("WINDLASS_NEMESIS_SEED={seed} failed; its history is in {path}");
        }
    }
}

/// Ends the clients, however the run ends.
pub(crate) struct EndOf(pub(crate) Arc<Run>);

impl Drop for EndOf {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}

#[test]
fn nothing_acknowledged_is_lost_under_faults() {
    let given = std::env::var("WINDLASS_NEMESIS_SEED").ok();
    torment(given.map_or(SEED, |text| text.parse().expect("a number")));
}

#[test]
fn nothing_acknowledged_is_lost_under_faults_in_any_order() {
    if std::env::var_os("WINDLASS_NEMESIS_SEED").is_some() {
        return;
    }
    let now = std::time::SystemTime::now();
    let since = now
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970");
    torment(since.as_secs());
}
