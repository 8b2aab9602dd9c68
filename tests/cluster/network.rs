//! A network of namespaces, one for each node, that a test can cut.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU8, Ordering};

use super::undo::{Undo, output, run};

/// Speed of a slow link, and how long a packet may wait for its turn.
const SLOW_LINK: &str = "tbf rate 2mbit burst 16kb latency 250ms";
/// A connection breaks after so many bytes: in mid-blob.
const BREAK_BYTES: u32 = 150_000;
/// Takes a network down; processes in it are the test's own.
const REMOVE: &str = "bridge=$1; shift
    for name in \"$@\"; do
        ip netns pids \"$name\" | xargs -r kill -9
        ip netns del \"$name\"
        ip link del \"${name}v\"
    done
    ip link del \"$bridge\"";

/// Namespaces on one bridge; taken down when dropped, and when the test process ends
/// in another way. Needs root.
pub(crate) struct Network {
    prefix: String,
    subnet: u8,
    count: u8,
    _undo: Undo,
}

impl Network {
    /// Makes a bridge and `count` namespaces on it. Names and addresses come from the
    /// process id and a number, so that neither runs nor tests of one run meet.
    #[track_caller]
    pub(crate) fn new(count: u8) -> Self {
        static NETWORKS: AtomicU8 = AtomicU8::new(0);
        let id = std::process::id();
        let number = NETWORKS.fetch_add(1, Ordering::Relaxed) % 26;
        let letter = char::from(b'a' + number);
        let prefix = format!("wl{id}{letter}");
        let mut names = vec![format!("{prefix}br")];
        names.extend((1..=count).map(|index| format!("{prefix}n{index}")));
        let network = Self {
            prefix,
            subnet: u8::try_from((id + u32::from(number)) % 200).expect("below 200") + 20,
            count,
            _undo: Undo::new(REMOVE, &names),
        };
        let bridge = network.bridge();
        run(&format!("ip link add {bridge} type bridge"));
        run(&format!(
            "ip addr add {}/24 dev {bridge}",
            network.address(0)
        ));
        run(&format!("ip link set {bridge} up"));
        for index in 1..=count {
            let (name, inside, outside) = (network.name(index), "eth0", network.port(index));
            run(&format!("ip netns add {name}"));
            run(&format!(
                "ip link add {outside} type veth peer name {inside} netns {name}"
            ));
            run(&format!("ip link set {outside} master {bridge} up"));
            let own = network.address(index);
            network.within(index, &format!("ip addr add {own}/24 dev {inside}"));
            network.within(index, &format!("ip link set {inside} up"));
            network.within(index, "ip link set lo up");
            // Bytes of a connection are counted from its begin only while a rule asks.
            let counted = "connbytes --connbytes 1: --connbytes-dir both --connbytes-mode bytes";
            network.within(index, &format!("iptables -w -A FORWARD -m {counted}"));
        }
        network
    }

    /// Address of a node, from 1; 0 is the clients'.
    pub(crate) fn address(&self, index: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 213, self.subnet, index + 1)
    }

    /// Words before a command that is to run as node `index`.
    pub(crate) fn wrapper(&self, index: u8) -> Vec<String> {
        let name = self.name(index);
        ["ip", "netns", "exec", &name].map(str::to_owned).to_vec()
    }

    /// Drops what node `from` sends to node `to`.
    #[track_caller]
    pub(crate) fn cut_one_way(&self, from: u8, to: u8) {
        let source = self.address(from);
        self.rule(to, "INPUT", &format!("-s {source} -j DROP"));
    }

    /// Cuts node `index` off from every other node; clients still reach it.
    #[track_caller]
    pub(crate) fn cut_off(&self, index: u8) {
        for other in (1..=self.count).filter(|other| *other != index) {
            self.cut_one_way(index, other);
            self.cut_one_way(other, index);
        }
    }

    /// Drops what comes to a port of node `index`, and what comes to it from that port
    /// of another node. Every other port lives.
    #[track_caller]
    pub(crate) fn cut_port(&self, index: u8, port: u16) {
        for end in ["dport", "sport"] {
            let rule = format!("-p tcp --{end} {port} -j DROP");
            self.rule(index, "INPUT", &rule);
        }
    }

    /// Resets each connection of node `index` that has carried more than a small
    /// message, so that blobs break off in their middle.
    #[track_caller]
    pub(crate) fn break_off(&self, index: u8) {
        let carried = format!("--connbytes {BREAK_BYTES}: --connbytes-dir both");
        let rule = format!("-p tcp -m connbytes {carried} --connbytes-mode bytes");
        for chain in ["INPUT", "OUTPUT"] {
            let rule = format!("{rule} -j REJECT --reject-with tcp-reset");
            self.rule(index, chain, &rule);
        }
    }

    /// Makes the link of node `index` slow, both ways.
    #[track_caller]
    pub(crate) fn slow_down(&self, index: u8) {
        let port = self.port(index);
        self.within(index, &format!("tc qdisc add dev eth0 root {SLOW_LINK}"));
        run(&format!("tc qdisc add dev {port} root {SLOW_LINK}"));
    }

    /// Lets node `index` send no more than `rate`.
    #[track_caller]
    pub(crate) fn limit(&self, index: u8, rate: &str) {
        let queue = format!("tbf rate {rate} burst 64kb latency 100ms");
        self.within(index, &format!("tc qdisc add dev eth0 root {queue}"));
    }

    /// Packets that the faults since the last [`Network::heal`] have hit: whoever asks
    /// for none has not tested anything.
    #[track_caller]
    pub(crate) fn hits(&self) -> u64 {
        let of_node = |index| {
            let rules = self.within(index, "iptables -w -L -v -x -n");
            let struck = |line: &&str| line.contains(" DROP ") || line.contains(" REJECT ");
            let counts = rules.lines().filter(struck).filter_map(first_number);
            let out = self.within(index, "tc -s qdisc show dev eth0");
            let into = run(&format!("tc -s qdisc show dev {}", self.port(index)));
            let late = [out, into].map(|queue| {
                let late = queue.split("overlimits ").nth(1).and_then(first_number);
                late.unwrap_or(0)
            });
            counts.chain(late).sum::<u64>()
        };
        (1..=self.count).map(of_node).sum()
    }

    /// Lets everything through again.
    #[track_caller]
    pub(crate) fn heal(&self) {
        for index in 1..=self.count {
            self.within(index, "iptables -w -F INPUT");
            self.within(index, "iptables -w -F OUTPUT");
            let (name, port) = (self.name(index), self.port(index));
            // Only where one was set.
            output(&format!("ip netns exec {name} tc qdisc del dev eth0 root"));
            output(&format!("tc qdisc del dev {port} root"));
        }
    }

    #[track_caller]
    fn rule(&self, index: u8, chain: &str, rule: &str) {
        self.within(index, &format!("iptables -w -A {chain} {rule}"));
    }

    #[track_caller]
    fn within(&self, index: u8, line: &str) -> String {
        run(&format!("ip netns exec {} {line}", self.name(index)))
    }

    fn name(&self, index: u8) -> String {
        format!("{}n{index}", self.prefix)
    }

    fn port(&self, index: u8) -> String {
        format!("{}v", self.name(index))
    }

    fn bridge(&self) -> String {
        format!("{}br", self.prefix)
    }
}

fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}
