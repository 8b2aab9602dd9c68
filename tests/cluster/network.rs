//! A network of namespaces, one for each node, that a test can cut.

use std::net::Ipv4Addr;
use std::process::Command;

/// Namespaces on one bridge; taken down when dropped. Needs root.
pub(crate) struct Network {
    prefix: String,
    subnet: u8,
    count: u8,
}

impl Network {
    /// Makes a bridge and `count` namespaces on it. Names and addresses come from the
    /// process id, so that runs do not meet.
    #[track_caller]
    pub(crate) fn new(count: u8) -> Self {
        let id = std::process::id();
        let network = Self {
            prefix: format!("wl{id}"),
            subnet: u8::try_from(id % 200).expect("below 200") + 20,
            count,
        };
        network.remove();
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
            let within = |command: &str| run(&format!("ip netns exec {name} {command}"));
            within(&format!(
                "ip addr add {}/24 dev {inside}",
                network.address(index)
            ));
            within(&format!("ip link set {inside} up"));
            within("ip link set lo up");
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
        let (name, source) = (self.name(to), self.address(from));
        run(&format!(
            "ip netns exec {name} iptables -w -A INPUT -s {source} -j DROP"
        ));
    }

    /// Cuts node `index` off from every other node; clients still reach it.
    #[track_caller]
    pub(crate) fn cut_off(&self, index: u8) {
        for other in (1..=self.count).filter(|other| *other != index) {
            self.cut_one_way(index, other);
            self.cut_one_way(other, index);
        }
    }

    /// Lets everything through again.
    #[track_caller]
    pub(crate) fn heal(&self) {
        for index in 1..=self.count {
            let name = self.name(index);
            run(&format!("ip netns exec {name} iptables -w -F INPUT"));
        }
    }

    fn name(&self, index: u8) -> String {
        format!("{}n{index}", self.prefix)
    }

    fn port(&self, index: u8) -> String {
        format!("{}v{index}", self.prefix)
    }

    fn bridge(&self) -> String {
        format!("{}br", self.prefix)
    }

    fn remove(&self) {
        for index in 1..=self.count {
            try_run(&format!("ip netns del {}", self.name(index)));
            try_run(&format!("ip link del {}", self.port(index)));
        }
        try_run(&format!("ip link del {}", self.bridge()));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.remove();
    }
}

#[track_caller]
fn run(line: &str) {
    assert!(try_run(line), "{line} failed; namespaces need root");
}

fn try_run(line: &str) -> bool {
    let mut words = line.split(' ');
    let program = words.next().expect("a command");
    let output = Command::new(program).args(words).output();
    output.is_ok_and(|output| output.status.success())
}
