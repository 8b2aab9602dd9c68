//! Nodes of a cluster as processes of their own, killed again and again: whatever
//! was acknowledged by any of them is on all of them afterwards.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::time::Duration;

use super::{Home, agree, cluster, leader, run, soon, stop, until};
use crate::base::units::to_u64;
use crate::raft::suite_tests::link;
use crate::raft::{Handle, Options};
use crate::runtime::{run_alone, sleep, spawn};

/// Name of the test that is the child process.
const CHILD: &str = "raft::testing::cluster_crash_tests::child";
/// Tells the child where its node lives.
const DIRECTORY_VARIABLE: &str = "WINDLASS_TEST_CLUSTER_NODE";
/// Tells the child where it listens.
const ADDRESS_VARIABLE: &str = "WINDLASS_TEST_CLUSTER_ADDRESS";
/// Tells the child which number to propose first.
const FIRST_VARIABLE: &str = "WINDLASS_TEST_CLUSTER_FIRST";
/// Distance of the numbers of two lives.
const LIFE_NUMBERS: u64 = 1_000_000;
/// Proposals in flight in a child.
const PROPOSERS: usize = 3;
/// Kills of one node; each third one is of all nodes.
const ROUNDS: usize = 6;

fn short_log(options: &mut Options) {
    options.snapshot_entries = 400;
    options.log_entries_kept = 50;
}

/// Proposes until it is killed and says what was acknowledged.
#[test]
fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY_VARIABLE) else {
        return;
    };
    let variable = |name| std::env::var(name).unwrap();
    let address: SocketAddr = variable(ADDRESS_VARIABLE).parse().unwrap();
    let first: u64 = variable(FIRST_VARIABLE).parse().unwrap();
    run_alone(move || async move {
        let options = Home::options_in(Path::new(&directory), short_log);
        let (handle, _, serving) = run((address, address), options).await;
        let proposers: Vec<_> = (0..PROPOSERS)
            .map(to_u64)
            .map(|proposer| spawn(propose_for_ever(handle.clone(), first + proposer)))
            .collect();
        for proposer in proposers {
            proposer.await.unwrap();
        }
        drop(serving);
    });
}

async fn propose_for_ever(handle: Handle, first: u64) {
    for number in (first..).step_by(PROPOSERS) {
        if handle.propose(link(number)).await.is_ok() {
            let line = format!("acknowledged {number}\n");
            std::io::stdout().write_all(line.as_bytes()).unwrap();
        }
    }
}

/// Runs children, one per node, and keeps account of what they acknowledge.
struct Machines {
    homes: Vec<(PathBuf, SocketAddr)>,
    children: Vec<Child>,
    lives: u64,
    acknowledged: flume::Receiver<u64>,
    told: flume::Sender<u64>,
}

impl Machines {
    fn start(homes: Vec<(PathBuf, SocketAddr)>) -> Self {
        let (told, acknowledged) = flume::unbounded();
        let mut machines = Self {
            homes,
            children: Vec::new(),
            lives: 0,
            acknowledged,
            told,
        };
        for at in 0..machines.homes.len() {
            let child = machines.boot(at);
            machines.children.push(child);
        }
        machines
    }

    fn boot(&mut self, at: usize) -> Child {
        let (directory, address) = &self.homes[at];
        self.lives += 1;
        let mut child = Process::new(std::env::current_exe().unwrap())
            .args(["--exact", CHILD, "--nocapture", "--test-threads=1"])
            .env(DIRECTORY_VARIABLE, directory)
            .env(ADDRESS_VARIABLE, address.to_string())
            .env(FIRST_VARIABLE, (self.lives * LIFE_NUMBERS).to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let told = self.told.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let number = line.split("acknowledged ").nth(1);
                let number = number.and_then(|number| number.parse().ok());
                if let Some(number) = number {
                    told.send(number).unwrap();
                }
            }
        });
        child
    }

    fn kill(&mut self, at: usize) {
        self.children[at].kill().unwrap();
        self.children[at].wait().unwrap();
    }

    /// Waits until so many more changes are acknowledged.
    async fn work(&self, numbers: &mut Vec<u64>, count: usize) {
        let before = numbers.len();
        until("changes flow", || {
            numbers.extend(self.acknowledged.try_iter());
            numbers.len() >= before + count
        })
        .await;
    }
}

#[test]
fn whatever_any_node_acknowledged_survives_kills_of_one_and_of_all() {
    run_alone(|| async {
        let homes = stop(cluster(3, short_log).await);
        let places = homes.iter().map(Home::place).collect();
        let mut machines = Machines::start(places);
        let mut numbers = Vec::new();
        machines.work(&mut numbers, 100).await;
        for round in 0..ROUNDS {
            let dying: Vec<_> = if round % 3 == 2 {
                vec![0, 1, 2]
            } else {
                vec![(round + round / 3) % 3]
            };
            for at in &dying {
                machines.kill(*at);
            }
            if dying.len() == 1 {
                // The others go on, whoever led.
                machines.work(&mut numbers, 100).await;
            }
            for at in dying {
                machines.children[at] = machines.boot(at);
            }
            machines.work(&mut numbers, 100).await;
            sleep(Duration::from_millis(37 * to_u64(round % 4))).await;
        }
        for at in 0..3 {
            machines.kill(at);
        }
        numbers.extend(machines.acknowledged.try_iter());

        let nodes: Vec<_> = homes.into_iter().map(Home::start).collect();
        leader(&nodes).await;
        for node in &nodes {
            let confirmed = soon("a read", node.handle.read_index()).await;
            confirmed.unwrap();
            let missing = numbers.iter().filter(|number| !node.holds(**number));
            assert_eq!(missing.count(), 0, "of {}", numbers.len());
        }
        agree(&nodes).await;
        stop(nodes);
    });
}
