//! A cluster under faults: whatever is killed, stopped or cut off, what was
//! acknowledged is there afterwards, and every tag behaves like one register.
//!
//! `WINDLASS_NEMESIS_SECONDS` and `WINDLASS_NEMESIS_SEED` make it longer or repeat it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::client::{REPOSITORY, Run};
use super::history::is_linearizable;
use super::network::Network;
use crate::support::{Client, Cluster, NodeOptions, Random, Request, digest_of};

/// Nodes of the cluster.
const NODES: u8 = 3;
/// Clients at work, one operation at a time each.
const CLIENTS: u64 = 6;
/// How long one run injects faults by default.
const SECONDS_DEFAULT: u64 = 45;
/// How long a fault lasts.
const FAULT_MIN: Duration = Duration::from_millis(1500);
/// How long the cluster is left alone between two faults.
const REST: Duration = Duration::from_millis(2500);

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    KillLeader,
    KillOther,
    KillAll,
    PauseLeader,
    PauseOther,
    CutLeaderOff,
    CutOtherOff,
    DeafLeader,
    MuteLeader,
}

const FAULTS: [Fault; 9] = [
    Fault::KillLeader,
    Fault::CutLeaderOff,
    Fault::PauseLeader,
    Fault::KillAll,
    Fault::DeafLeader,
    Fault::KillOther,
    Fault::MuteLeader,
    Fault::CutOtherOff,
    Fault::PauseOther,
];

struct Nemesis {
    cluster: Cluster,
    network: Network,
    random: Random,
    done: BTreeMap<Fault, u32>,
}

impl Nemesis {
    fn new(seed: u64) -> Self {
        let network = Network::new(NODES);
        let options = |index: u8| NodeOptions {
            wrapper: network.wrapper(index),
            host: Some(network.address(index)),
            ..NodeOptions::default()
        };
        let cluster = Cluster::of((1..=NODES).map(options).collect());
        Self {
            cluster,
            network,
            random: Random::new(seed),
            done: BTreeMap::new(),
        }
    }

    /// Lets one fault happen, lasts it out, and heals it.
    fn strike(&mut self, fault: Fault) {
        let leader = self.cluster.leader();
        let nodes = usize::from(NODES);
        let other = (leader + 1 + self.random.below(nodes - 1)) % nodes;
        let number = |index: usize| u8::try_from(index + 1).expect("few nodes");
        let lasting = FAULT_MIN + Duration::from_millis(self.random.next() % 2500);
        match fault {
            Fault::KillLeader => self.kill(&[leader], lasting),
            Fault::KillOther => self.kill(&[other], lasting),
            Fault::KillAll => self.kill(&[0, 1, 2], FAULT_MIN),
            Fault::PauseLeader => self.pause(leader, lasting),
            Fault::PauseOther => self.pause(other, lasting),
            Fault::CutLeaderOff => {
                self.network.cut_off(number(leader));
                thread::sleep(lasting);
            }
            Fault::CutOtherOff => {
                self.network.cut_off(number(other));
                thread::sleep(lasting);
            }
            Fault::DeafLeader => {
                for index in (0..nodes).filter(|index| *index != leader) {
                    self.network.cut_one_way(number(index), number(leader));
                }
                thread::sleep(lasting);
            }
            Fault::MuteLeader => {
                for index in (0..nodes).filter(|index| *index != leader) {
                    self.network.cut_one_way(number(leader), number(index));
                }
                thread::sleep(lasting);
            }
        }
        self.network.heal();
        *self.done.entry(fault).or_default() += 1;
    }

    fn kill(&mut self, nodes: &[usize], lasting: Duration) {
        for index in nodes {
            self.cluster.nodes[*index].node.kill();
        }
        thread::sleep(lasting);
        for index in nodes {
            self.cluster.nodes[*index].node.spawn();
        }
    }

    fn pause(&self, index: usize, lasting: Duration) {
        let pid = i32::try_from(self.cluster.nodes[index].node.pid()).expect("a pid");
        let pid = Pid::from_raw(pid).expect("a pid");
        kill_process(pid, Signal::STOP).expect("the process takes a signal");
        thread::sleep(lasting);
        kill_process(pid, Signal::CONT).expect("the process takes a signal");
    }

    /// Every acknowledged image, whole, at every node.
    fn check_kept(&self, run: &Run) {
        let kept = run.log().kept.clone();
        for address in self.cluster.addresses() {
            let mut client = Client::new(address);
            for image in &kept {
                let manifest = [("manifests", &image.manifest)];
                let blobs = image.blobs.iter().map(|digest| ("blobs", digest));
                for (kind, digest) in manifest.into_iter().chain(blobs) {
                    let target = format!("/v2/{REPOSITORY}/{kind}/{digest}");
                    let answer = client.send(&Request::new("GET", target)).expect(200);
                    assert_eq!(digest_of("sha256", &answer.body), *digest, "at {address}");
                }
            }
        }
    }
}

fn check_tags(run: &Run) {
    let log = run.log();
    assert!(log.wrong.is_empty(), "{:#?}", log.wrong);
    for (tag, history) in &log.tags {
        assert!(is_linearizable(history), "{tag}: {history:#?}");
    }
}

fn seconds() -> u64 {
    let given = std::env::var("WINDLASS_NEMESIS_SECONDS");
    given.map_or(SECONDS_DEFAULT, |text| text.parse().expect("a number"))
}

fn torment(seed: u64) {
    println!("seed {seed}");
    let mut nemesis = Nemesis::new(seed);
    let run = Run::new(nemesis.cluster.addresses());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let run = Arc::clone(&run);
            thread::spawn(move || run.work(seed * 1000 + client))
        })
        .collect();
    let began = Instant::now();
    let mut turn = 0;
    while began.elapsed() < Duration::from_secs(seconds()) {
        thread::sleep(REST);
        nemesis.strike(FAULTS[turn % FAULTS.len()]);
        turn += 1;
    }
    run.is_over.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("a client ends");
    }
    for member in &mut nemesis.cluster.nodes {
        member.node.wait_ready();
    }
    nemesis.cluster.wait_voters(usize::from(NODES));
    nemesis.cluster.wait_whole();
    check_tags(&run);
    nemesis.check_kept(&run);
    let log = run.log();
    println!(
        "{} operations succeeded, {} failed, {} images kept, faults {:?}",
        log.succeeded,
        log.failed,
        log.kept.len(),
        nemesis.done
    );
    // A run in which too little happened proves nothing.
    assert!(log.succeeded > 300, "only {} operations", log.succeeded);
    let planned = turn.min(FAULTS.len());
    assert_eq!(nemesis.done.len(), planned, "{:?}", nemesis.done);
}

#[test]
fn nothing_acknowledged_is_lost_under_faults() {
    let given = std::env::var("WINDLASS_NEMESIS_SEED").ok();
    torment(given.map_or(1, |text| text.parse().expect("a number")));
}
