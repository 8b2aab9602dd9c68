//! What can go wrong with a cluster, made to happen and healed again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::client::Run;
use super::disk::SmallDisk;
use super::network::Network;
use crate::support::{
    Client, Cluster, Member, NodeOptions, Random, Request, SETTLED_MAX, said, wait_for,
};

/// Voters of the cluster, when none is being added or removed.
pub(crate) const NODES: u8 = 3;
/// Voters while the cluster is large.
const NODES_MAX: u8 = 5;
/// The place whose disk a test can fill.
const DISK_PLACE: u8 = 3;
/// Port of the registry, and of the peers, at a node's own address.
const CLIENT_PORT: u16 = 5000;
const PEER_PORT: u16 = 5002;
/// How long a fault lasts, and by how much longer at most.
const FAULT_MIN: Duration = Duration::from_millis(1500);
const FAULT_MORE_MS: u64 = 1500;
/// A leader that nobody hears is replaced within this; until then the fault lasts.
const DEPOSED_MAX: Duration = Duration::from_secs(20);
/// A transfer is cut within this, and counted; until then the fault lasts.
const CUT_MAX: Duration = Duration::from_secs(20);
/// Blobs that a node was sending when the other one went away …
const CUT_SENDING: &str = "windlass_replication_serves_total{end=\"gone\"}";
/// … and blobs of which the rest did not come. Nodes that were not reached have another
/// reason.
const CUT_RECEIVING: &str = "windlass_replication_fetch_failures_total{";
const CUT_REASONS: [&str; 2] = ["reason=\"broken\"", "reason=\"stalled\""];
/// Nodes have caught up within this, though clients go on and a busy machine runs five.
const CAUGHT_UP_MAX: Duration = Duration::from_secs(240);
/// A full disk is noticed, and room as well, within this.
const DISK_NOTICED: Duration = Duration::from_secs(20);

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    KillLeader,
    KillOther,
    KillAll,
    PauseLeader,
    PauseOther,
    CutLeaderOff,
    CutOtherOff,
    DeafLeader,
    MuteLeader,
    CutPeerPortOfLeader,
    CutPeerPortOfOther,
    CutClientPort,
    SlowLinkOfLeader,
    SlowLinkOfOther,
    BreakOffAtLeader,
    BreakOffAtOther,
    FillDisk,
    ReplaceNode,
    GrowAndShrink,
}

pub(crate) const FAULTS: [Fault; 19] = [
    Fault::KillLeader,
    Fault::CutLeaderOff,
    Fault::PauseLeader,
    Fault::KillAll,
    Fault::DeafLeader,
    Fault::KillOther,
    Fault::MuteLeader,
    Fault::CutOtherOff,
    Fault::PauseOther,
    Fault::CutPeerPortOfLeader,
    Fault::CutPeerPortOfOther,
    Fault::CutClientPort,
    Fault::SlowLinkOfLeader,
    Fault::SlowLinkOfOther,
    Fault::BreakOffAtLeader,
    Fault::BreakOffAtOther,
    Fault::FillDisk,
    Fault::ReplaceNode,
    Fault::GrowAndShrink,
];

impl Fault {
    /// Which nodes it may keep from a quorum, though they answer.
    fn kept_off(
        self,
        leader: SocketAddr,
        other: SocketAddr,
        all: Vec<SocketAddr>,
    ) -> Vec<SocketAddr> {
        match self {
            Self::KillAll => all,
            Self::CutLeaderOff
            | Self::DeafLeader
            | Self::MuteLeader
            | Self::CutPeerPortOfLeader
            | Self::SlowLinkOfLeader
            | Self::BreakOffAtLeader => vec![leader],
            Self::CutOtherOff
            | Self::CutPeerPortOfOther
            | Self::SlowLinkOfOther
            | Self::BreakOffAtOther => vec![other],
            Self::KillLeader
            | Self::KillOther
            | Self::PauseLeader
            | Self::PauseOther
            | Self::CutClientPort
            | Self::FillDisk
            | Self::ReplaceNode
            | Self::GrowAndShrink => Vec::new(),
        }
    }
}

/// A cluster in a network of its own, and the hand that breaks it.
pub(crate) struct Nemesis {
    pub(crate) cluster: Cluster,
    /// Where each node of the cluster is in the network.
    places: Vec<u8>,
    network: Network,
    disk: SmallDisk,
    random: Random,
    /// How often each fault did happen.
    pub(crate) done: BTreeMap<Fault, u32>,
}

impl Nemesis {
    pub(crate) fn new(seed: u64) -> Self {
        let (network, disk) = (Network::new(NODES_MAX), SmallDisk::new());
        let places: Vec<u8> = (1..=NODES).collect();
        let options = places.iter().map(|place| options(&network, &disk, *place));
        Self {
            cluster: Cluster::of(options.collect()),
            places,
            network,
            disk,
            random: Random::new(seed),
            done: BTreeMap::new(),
        }
    }

    /// Every fault once, in an order of the seed's.
    pub(crate) fn plan(&mut self) -> Vec<Fault> {
        let mut plan = FAULTS.to_vec();
        for index in (1..plan.len()).rev() {
            plan.swap(index, self.random.below(index + 1));
        }
        plan
    }

    /// Lets one fault happen, lasts it out, and heals it. What did not happen, though
    /// it was to, is not counted.
    pub(crate) fn strike(&mut self, fault: Fault, run: &Run) {
        let leader = self.cluster.leader();
        let nodes = self.places.len();
        let other = (leader + 1 + self.random.below(nodes - 1)) % nodes;
        let lasting = FAULT_MIN + Duration::from_millis(self.random.next() % FAULT_MORE_MS);
        let term = self.term(leader);
        let deposed = Some((leader, term));
        let addresses = self.cluster.addresses();
        let kept_off = fault.kept_off(addresses[leader], addresses[other], addresses.clone());
        run.begin_outage(kept_off);
        run.begin_fault(fault == Fault::FillDisk);
        let has_happened = match fault {
            Fault::KillLeader => self.kill(&[leader], lasting, deposed),
            Fault::KillOther => self.kill(&[other], lasting, None),
            Fault::KillAll => self.kill(&[0, 1, 2], FAULT_MIN, None),
            Fault::PauseLeader => self.pause(leader, lasting, deposed),
            Fault::PauseOther => self.pause(other, lasting, None),
            Fault::FillDisk => self.fill_disk(lasting),
            Fault::ReplaceNode => self.replace(other, run),
            Fault::GrowAndShrink => self.grow_and_shrink(run, lasting),
            Fault::CutLeaderOff
            | Fault::CutOtherOff
            | Fault::DeafLeader
            | Fault::MuteLeader
            | Fault::CutPeerPortOfLeader
            | Fault::CutPeerPortOfOther
            | Fault::CutClientPort
            | Fault::SlowLinkOfLeader
            | Fault::SlowLinkOfOther => {
                self.disturb(fault, leader, other);
                thread::sleep(lasting);
                let is_alone = matches!(fault, Fault::CutLeaderOff | Fault::MuteLeader);
                let is_deposed = !is_alone || self.is_deposed(leader, term);
                is_deposed && self.network.hits() > 0
            }
            Fault::BreakOffAtLeader | Fault::BreakOffAtOther => {
                let cut = self.cut_transfers();
                self.disturb(fault, leader, other);
                thread::sleep(lasting);
                // The rule lets a connection carry a part of a blob before it resets it.
                let is_cut = wait_for(CUT_MAX, || self.cut_transfers() > cut);
                is_cut && self.network.hits() > 0
            }
        };
        self.network.heal();
        run.end_outage();
        run.end_fault();
        if has_happened {
            *self.done.entry(fault).or_default() += 1;
        } else {
            println!("{fault:?} was to happen and did not");
        }
    }

    /// Begins a fault of the network.
    fn disturb(&self, fault: Fault, leader: usize, other: usize) {
        let place = |index: usize| self.places[index];
        let network = &self.network;
        let others = self.places.iter().filter(|at| **at != place(leader));
        match fault {
            Fault::CutLeaderOff => network.cut_off(place(leader)),
            Fault::CutOtherOff => network.cut_off(place(other)),
            Fault::DeafLeader => others.for_each(|at| network.cut_one_way(*at, place(leader))),
            Fault::MuteLeader => others.for_each(|at| network.cut_one_way(place(leader), *at)),
            Fault::CutPeerPortOfLeader => network.cut_port(place(leader), PEER_PORT),
            Fault::CutPeerPortOfOther => network.cut_port(place(other), PEER_PORT),
            Fault::CutClientPort => network.cut_port(place(other), CLIENT_PORT),
            Fault::SlowLinkOfLeader => network.slow_down(place(leader)),
            Fault::SlowLinkOfOther => network.slow_down(place(other)),
            Fault::BreakOffAtLeader => network.break_off(place(leader)),
            Fault::BreakOffAtOther => network.break_off(place(other)),
            _ => panic!("{fault:?} is no fault of the network"),
        }
    }

    /// Whether the nodes ran before, and another one leads than the one to be deposed.
    fn kill(&mut self, nodes: &[usize], lasting: Duration, deposed: Option<(usize, u64)>) -> bool {
        let mut ran = nodes.iter();
        let ran = ran.all(|index| self.cluster.nodes[*index].node.is_running());
        for index in nodes {
            self.cluster.nodes[*index].node.kill();
        }
        thread::sleep(lasting);
        let is_deposed = deposed.is_none_or(|(leader, term)| self.is_deposed(leader, term));
        for index in nodes {
            self.cluster.nodes[*index].node.spawn();
        }
        ran && is_deposed
    }

    /// As [`Nemesis::kill`], for a node that goes on afterwards.
    fn pause(&mut self, index: usize, lasting: Duration, deposed: Option<(usize, u64)>) -> bool {
        let ran = self.cluster.nodes[index].node.is_running();
        let pid = i32::try_from(self.cluster.nodes[index].node.pid()).expect("a pid");
        let pid = Pid::from_raw(pid).expect("a pid");
        kill_process(pid, Signal::STOP).expect("the process takes a signal");
        thread::sleep(lasting);
        let is_deposed = deposed.is_none_or(|(leader, term)| self.is_deposed(leader, term));
        kill_process(pid, Signal::CONT).expect("the process takes a signal");
        ran && is_deposed
    }

    /// Waits until another node leads in a later term, as the others say.
    fn is_deposed(&self, leader: usize, term: u64) -> bool {
        let others = (0..self.places.len()).filter(|index| *index != leader);
        let others: Vec<usize> = others.collect();
        wait_for(DEPOSED_MAX, || {
            others.iter().any(|index| self.term(*index) > term)
        })
    }

    /// The latest term in which a node knows a leader; 0 when it says none.
    fn term(&self, index: usize) -> u64 {
        let status = self.cluster.status(index).unwrap_or_default();
        let mut nodes = status["nodes"].as_array().into_iter().flatten();
        let is_led = nodes.any(|node| node["role"] == "leader");
        status["term"].as_u64().filter(|_| is_led).unwrap_or(0)
    }

    /// Transfers of blobs that broke off once they had begun, as the nodes say that run
    /// since.
    fn cut_transfers(&self) -> u64 {
        let of_node = |member: &Member| {
            let mut client = Client::with_patience(member.node.admin_address, FAULT_MIN);
            let page = client.try_send(&Request::new("GET", "/metrics"));
            let page = page.map(|answer| answer.body).unwrap_or_default();
            let page = String::from_utf8_lossy(&page).into_owned();
            let is_cut = |line: &&str| {
                let is_failure = line.starts_with(CUT_RECEIVING);
                let is_in_blob = CUT_REASONS.iter().any(|reason| line.contains(reason));
                line.starts_with(CUT_SENDING) || is_failure && is_in_blob
            };
            let values = page.lines().filter(is_cut);
            let values = values.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
            values.sum::<u64>()
        };
        self.cluster.nodes.iter().map(of_node).sum()
    }

    /// Fills a node's disk until it refuses uploads or ends, and gives the room back.
    fn fill_disk(&mut self, lasting: Duration) -> bool {
        let place = self.places.iter().position(|place| *place == DISK_PLACE);
        let Some(index) = place else { return false };
        let address = self.cluster.nodes[index].node.address;
        let is_full = self.disk.fill();
        let is_noticed = wait_for(DISK_NOTICED, || {
            !self.cluster.nodes[index].node.is_running() || opening(address) == Some(507)
        });
        thread::sleep(lasting);
        self.disk.free();
        let node = &mut self.cluster.nodes[index].node;
        if !node.is_running() {
            println!("the node with the full disk had ended");
            node.restart();
        }
        let is_healed = wait_for(DISK_NOTICED, || opening(address) == Some(202));
        assert!(is_healed, "{address} takes no uploads though it has room");
        is_full && is_noticed
    }

    /// A node dies with its disk and is replaced by an empty one under a new number.
    fn replace(&mut self, victim: usize, run: &Run) -> bool {
        self.wait_caught_up(run);
        let place = self.places[victim];
        let old = self.number_of(victim);
        run.begin_removal(self.cluster.nodes[victim].node.address);
        self.cluster.nodes[victim].node.kill();
        run.end_removal();
        self.remove_node(victim, old);
        // The old directory knows who it was, and is refused.
        let node = &mut self.cluster.nodes[victim].node;
        node.spawn();
        let status = node.wait_end(SETTLED_MAX);
        let log = node.log_text();
        assert!(log.contains("removed from the cluster"), "{status}: {log}");
        node.spawn();
        assert!(
            !node.wait_end(SETTLED_MAX).success(),
            "a removed node starts"
        );
        drop(self.cluster.nodes.remove(victim));
        self.places.remove(victim);
        self.add(place);
        self.cluster.wait_voters(usize::from(NODES));
        run.set_addresses(self.cluster.addresses());
        let new = self.number_of(self.places.len() - 1);
        assert!(new > old, "number {new} is not after {old}");
        true
    }

    /// Two nodes join and two others leave, while clients work.
    fn grow_and_shrink(&mut self, run: &Run, lasting: Duration) -> bool {
        let free = (1..=NODES_MAX).filter(|place| !self.places.contains(place));
        for place in free.collect::<Vec<u8>>() {
            self.add(place);
        }
        self.cluster.wait_voters(usize::from(NODES_MAX));
        run.set_addresses(self.cluster.addresses());
        thread::sleep(lasting);
        self.wait_caught_up(run);
        for left in [NODES + 1, NODES] {
            let mut victim = self.random.below(self.places.len());
            if self.places[victim] == DISK_PLACE {
                victim = (victim + 1) % self.places.len();
            }
            let number = self.number_of(victim);
            run.begin_removal(self.cluster.nodes[victim].node.address);
            self.remove_node(victim, number);
            self.cluster.nodes[victim].node.wait_end(SETTLED_MAX);
            run.end_removal();
            drop(self.cluster.nodes.remove(victim));
            self.places.remove(victim);
            run.set_addresses(self.cluster.addresses());
            self.cluster.wait_voters(usize::from(left));
            self.wait_caught_up(run);
        }
        true
    }

    /// Lets a node join at a place of the network.
    fn add(&mut self, place: u8) {
        if place == DISK_PLACE {
            drop(std::fs::remove_dir_all(self.disk.path().join("data")));
        }
        let options = options(&self.network, &self.disk, place);
        self.cluster.add(options);
        self.places.push(place);
    }

    /// Removes a node as an operator does, at another node.
    fn remove_node(&self, victim: usize, number: u64) {
        let operator = (victim + 1) % self.cluster.nodes.len();
        let mut last = String::new();
        let is_removed = wait_for(SETTLED_MAX, || {
            let words = ["remove", &number.to_string()];
            let removed = self.cluster.nodes[operator].operate(&words);
            last = said(&removed);
            removed.status.success()
        });
        assert!(is_removed, "node {number} cannot be removed: {last}");
    }

    fn number_of(&self, index: usize) -> u64 {
        let mut number = None;
        let is_told = wait_for(SETTLED_MAX, || {
            let status = self.cluster.status(index).unwrap_or_default();
            number = status["node"].as_u64();
            number.is_some()
        });
        assert!(is_told, "no number in {SETTLED_MAX:?}");
        number.expect("just told")
    }

    /// Waits until each node has been seen to lack nothing: what was acknowledged
    /// before is everywhere then, though clients go on.
    fn wait_caught_up(&mut self, run: &Run) {
        run.is_gentle.store(true, Ordering::Relaxed);
        let mut waiting: Vec<u64> = (0..self.places.len())
            .map(|index| self.number_of(index))
            .collect();
        let mut seen = Value::Null;
        let is_so = wait_for(CAUGHT_UP_MAX, || {
            let leader = self.cluster.leader();
            seen = self.cluster.status(leader).unwrap_or_default();
            for node in seen["nodes"].as_array().into_iter().flatten() {
                if node["report"]["blobs_missing"] == 0 {
                    waiting.retain(|number| node["node"] != *number);
                }
            }
            waiting.is_empty()
        });
        assert!(
            is_so,
            "{waiting:?} lack blobs for {CAUGHT_UP_MAX:?}: {seen:#}"
        );
    }
}

fn options(network: &Network, disk: &SmallDisk, place: u8) -> NodeOptions {
    NodeOptions {
        wrapper: network.wrapper(place),
        host: Some(network.address(place)),
        data_dir: (place == DISK_PLACE).then(|| disk.path().join("data")),
        ..NodeOptions::default()
    }
}

/// What a node says to whoever wants to upload.
fn opening(address: SocketAddr) -> Option<u16> {
    let target = "/v2/nemesis/opened/blobs/uploads/";
    let mut client = Client::with_patience(address, FAULT_MIN);
    let answer = client.try_send(&Request::new("POST", target)).ok()?;
    Some(answer.status)
}
