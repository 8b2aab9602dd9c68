//! Several registry processes that form one cluster, made as an operator makes it.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use tempfile::NamedTempFile;

use super::client::{Client, Request};
use super::gathered;
use super::node::{Node, NodeOptions, wait_for};

/// A cluster that has not formed, healed or caught up by then fails the test.
pub(crate) const SETTLED_MAX: Duration = Duration::from_secs(60);

/// A cluster of real processes on loopback.
pub(crate) struct Cluster {
    /// The nodes; the first one began the cluster.
    pub(crate) nodes: Vec<Member>,
}

/// One node and where the others reach it.
pub(crate) struct Member {
    /// The process.
    pub(crate) node: Node,
    /// Its peer port.
    pub(crate) peer_address: SocketAddr,
}

impl Cluster {
    /// Forms a cluster of `count` voters and waits until all of them vote.
    #[track_caller]
    pub(crate) fn start(count: usize) -> Self {
        Self::start_with(count, &NodeOptions::default())
    }

    /// As [`Cluster::start`], each node as `options` say.
    #[track_caller]
    pub(crate) fn start_with(count: usize, options: &NodeOptions) -> Self {
        Self::of(vec![options.clone(); count])
    }

    /// Forms a cluster of voters, each as its options say.
    #[track_caller]
    pub(crate) fn of(options: Vec<NodeOptions>) -> Self {
        let count = options.len();
        let mut options = options.into_iter();
        let mut first = Member::prepare(options.next().expect("at least one node"));
        let begun = first.run(&["init"]);
        assert!(begun.status.success(), "init: {}", said(&begun));
        first.node.spawn();
        first.node.wait_ready();
        let mut cluster = Self { nodes: vec![first] };
        for options in options {
            cluster.add(options);
        }
        cluster.wait_voters(count);
        cluster
    }

    /// Lets one more node join, and starts it.
    #[track_caller]
    pub(crate) fn add(&mut self, options: NodeOptions) {
        let token = self.token();
        let mut member = Member::prepare(options);
        let joined = self.join(&member, &token);
        assert!(joined.status.success(), "join: {}", said(&joined));
        member.node.spawn();
        member.node.wait_ready();
        self.nodes.push(member);
    }

    /// Runs `windlass join` for a prepared node.
    pub(crate) fn join(&self, member: &Member, token: &str) -> Output {
        let contact = self.nodes[0].peer_address.to_string();
        // Not as an argument, which everybody on the machine may read.
        let mut file = NamedTempFile::new().expect("a file");
        file.write_all(token.as_bytes()).expect("a token in a file");
        let path = file.path().display().to_string();
        member.run(&["join", &contact, "--token-file", &path])
    }

    /// A token for one more node.
    #[track_caller]
    pub(crate) fn token(&self) -> String {
        let added = self.nodes[0].operate(&["add"]);
        assert!(added.status.success(), "add: {}", said(&added));
        let token = String::from_utf8(added.stdout).expect("text");
        let token = token.trim();
        gathered::secret("join token", token);
        token.to_owned()
    }

    /// What `GET /cluster` says at a node.
    pub(crate) fn status(&self, index: usize) -> Option<Value> {
        let mut client = Client::new(self.nodes[index].node.admin_address);
        let answer = client.try_send(&Request::new("GET", "/cluster")).ok()?;
        serde_json::from_slice(&answer.body).ok()
    }

    /// Waits until the first running node sees `count` voters, one of which leads, and
    /// no change of the membership is under way: while two nodes become three, the
    /// votes of both are needed.
    #[track_caller]
    pub(crate) fn wait_voters(&mut self, count: usize) {
        let mut seen = None;
        let is_so = wait_for(SETTLED_MAX, || {
            let running = (0..self.nodes.len()).find(|index| self.nodes[*index].node.is_running());
            seen = running.and_then(|index| self.status(index));
            seen.as_ref().is_some_and(|status| {
                status["is_changing"] == false && voters(status) == Some(count)
            })
        });
        assert!(is_so, "{count} voters in {SETTLED_MAX:?}: {seen:#?}");
    }

    /// Index of the node that leads, as the nodes themselves say: one that led, and has
    /// not heard of the next one yet, says so of an older term.
    #[track_caller]
    pub(crate) fn leader(&mut self) -> usize {
        let mut found = None;
        let is_so = wait_for(SETTLED_MAX, || {
            let running =
                (0..self.nodes.len()).filter(|index| self.nodes[*index].node.is_running());
            let running: Vec<usize> = running.collect();
            let leading = running.into_iter().filter_map(|index| {
                let status = self.status(index).filter(leads)?;
                Some((status["term"].as_u64(), index))
            });
            found = leading.max();
            found.is_some()
        });
        assert!(is_so, "no node leads in {SETTLED_MAX:?}");
        found.expect("just found").1
    }

    /// Makes a node the leader.
    #[track_caller]
    pub(crate) fn lead(&mut self, index: usize) {
        if self.leader() != index {
            let node = self.status(index).expect("a status")["node"].to_string();
            let sent = self.nodes[index].operate(&["transfer-leader", &node]);
            assert!(sent.status.success(), "{}", said(&sent));
            assert!(wait_for(SETTLED_MAX, || self.leader() == index));
        }
    }

    /// Waits until no running node lacks an entry or a blob.
    #[track_caller]
    pub(crate) fn wait_whole(&mut self) {
        let mut seen = None;
        let is_so = wait_for(SETTLED_MAX, || {
            let leader = self.leader();
            seen = self.status(leader);
            seen.as_ref().is_some_and(is_whole)
        });
        assert!(is_so, "not whole in {SETTLED_MAX:?}: {seen:#?}");
    }

    /// Where the nodes serve clients.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes
            .iter()
            .map(|member| member.node.address)
            .collect()
    }
}

impl Member {
    /// Chooses addresses and a directory, and starts nothing.
    pub(crate) fn prepare(mut options: NodeOptions) -> Self {
        let peer_address = if let Some(host) = options.host {
            SocketAddr::from((host, 5002))
        } else {
            let host = Node::prepare(NodeOptions::default()).address.ip();
            let listener = TcpListener::bind((host, 0)).expect("a loopback port");
            listener.local_addr().expect("a bound address")
        };
        let arguments = ["--cluster-listen".to_owned(), peer_address.to_string()];
        options.arguments.extend(arguments);
        Self {
            node: Node::prepare(options),
            peer_address,
        }
    }

    /// Runs `windlass cluster …` against this node.
    pub(crate) fn operate(&self, words: &[&str]) -> Output {
        let address = self.node.operator_address().to_string();
        let mut command = self.same_environment();
        command.arg("cluster").args(words);
        command.args(["--admin-listen", &address]);
        let output = command.output().expect("the binary runs");
        gathered::command(&output);
        output
    }

    /// Runs a command of the binary with this node's addresses and directory.
    pub(crate) fn run(&self, words: &[&str]) -> Output {
        let serve = self.node.command();
        let mut command = self.same_environment();
        let own = serve.get_args().skip_while(|word| *word != "serve").skip(1);
        command.args(words).args(own);
        let output = command.output().expect("the binary runs");
        gathered::command(&output);
        output
    }

    /// The binary, in the environment that the node has.
    fn same_environment(&self) -> Command {
        let serve = self.node.command();
        let mut command = Command::new(serve.get_program());
        command.args(serve.get_args().take_while(|word| *word != "serve"));
        for (name, value) in serve.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }
}

/// What a command wrote.
pub(crate) fn said(output: &Output) -> String {
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

fn members(status: &Value) -> &[Value] {
    status["nodes"].as_array().map_or(&[], Vec::as_slice)
}

fn voters(status: &Value) -> Option<usize> {
    let has_role = |role: &'static str| move |node: &&Value| node["role"] == role;
    let nodes = members(status);
    let leader = nodes.iter().find(has_role("leader"))?;
    assert!(leader["node"].is_u64());
    Some(1 + nodes.iter().filter(has_role("voter")).count())
}

fn leads(status: &Value) -> bool {
    let mut nodes = members(status).iter();
    nodes.any(|node| node["node"] == status["node"] && node["role"] == "leader")
}

fn is_whole(status: &Value) -> bool {
    members(status).iter().all(|node| {
        node["report"]["blobs_missing"] == 0 && node["lag"].as_u64().is_some_and(|lag| lag < 5)
    })
}
