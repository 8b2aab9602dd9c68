//! Nodes that know each other by a list form one cluster by themselves, and never two.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use crate::serving::push_image;
use crate::support::{Cluster, Member, Node, NodeOptions, Registry, said, wait_for};

/// A node that is refused, or hears of a new one, has said so by then.
const SAID_MAX: Duration = Duration::from_secs(30);
/// What a refused node exits with: somebody has to do something first.
const EXIT_CONFIG: Option<i32> = Some(78);
const SECRET: &str = "a secret that all nodes know";

/// Loopback addresses of this test process and of one test in it.
fn hosts(test: u8) -> [Ipv4Addr; 3] {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    [0, 1, 2].map(|node| Ipv4Addr::new(127, 80 + 10 * test + node, high, low.clamp(1, 254)))
}

fn list(hosts: &[Ipv4Addr]) -> String {
    let peers: Vec<String> = hosts
        .iter()
        .map(|host| format!("\"{host}:5002\""))
        .collect();
    format!("[{}]", peers.join(", "))
}

fn variable(name: &str, value: impl Into<String>) -> (String, String) {
    (format!("WINDLASS_CLUSTER__{name}"), value.into())
}

fn options(host: Ipv4Addr, peers: &str, secret: &str) -> NodeOptions {
    NodeOptions {
        host: Some(host),
        environment: vec![
            variable("NAME", "registry"),
            variable("PEERS", peers),
            variable("JOIN_SECRET", secret),
        ],
        ..NodeOptions::default()
    }
}

/// A node that runs and has no cluster yet.
fn waiting(options: NodeOptions) -> Member {
    let mut member = Member::prepare(options);
    member.node.spawn();
    member
}

#[track_caller]
fn wait_said(member: &Member, text: &str) {
    let is_said = wait_for(SAID_MAX, || member.node.log_text().contains(text));
    assert!(is_said, "`{text}` in:\n{}", member.node.log_text());
}

fn is_no_member(member: &Member) -> bool {
    !member.node.data_dir.join("node.json").exists()
}

/// The ids of the clusters that the nodes belong to.
fn clusters(nodes: &[Member]) -> Vec<String> {
    let mut names: Vec<String> = nodes
        .iter()
        .map(|member| {
            let text = fs::read_to_string(member.node.data_dir.join("node.json")).unwrap();
            let identity: serde_json::Value = serde_json::from_str(&text).unwrap();
            identity["cluster"].as_str().unwrap().to_owned()
        })
        .collect();
    names.dedup();
    names
}

#[test]
fn a_list_of_nodes_makes_one_cluster_and_an_emptied_founder_no_second_one() {
    let hosts = hosts(0);
    let peers = list(&hosts);
    let [first, second, third] = hosts.map(|host| options(host, &peers, SECRET));
    // The founder begins nothing before everybody is there.
    let (first, second) = (waiting(first), waiting(second));
    wait_said(&first, "waiting for the other nodes");
    let mut stranger = waiting(options(hosts[2], &peers, "a secret of somebody else"));
    wait_said(&stranger, "waiting for the other nodes");
    wait_said(&first, "cluster.join_secret");
    assert!([&first, &second, &stranger].into_iter().all(is_no_member));
    // Waiting is no failure, and ends when it is told to.
    assert!(stranger.node.terminate(SAID_MAX).success());
    drop(stranger);

    let mut cluster = Cluster {
        nodes: vec![first, second, waiting(third)],
    };
    for member in &mut cluster.nodes {
        member.node.wait_ready();
    }
    cluster.wait_voters(3);
    let founded = clusters(&cluster.nodes);
    assert_eq!(founded.len(), 1, "{founded:?}");
    let mut registry = Registry::new(cluster.nodes[1].node.address);
    push_image(&mut registry, "gathered/app", "t", &vec![7; 50_000]);
    cluster.wait_whole();

    // The founder loses everything: it finds the others, who say what to do.
    let number = cluster.status(0).unwrap()["node"].to_string();
    cluster.nodes[0].node.kill();
    fs::remove_dir_all(&cluster.nodes[0].node.data_dir).unwrap();
    cluster.nodes[0].node.spawn();
    let ended = cluster.nodes[0].node.wait_end(SAID_MAX);
    assert_eq!(ended.code(), EXIT_CONFIG);
    wait_said(
        &cluster.nodes[0],
        &format!("windlass cluster remove {number}"),
    );
    let removed = cluster.nodes[1].operate(&["remove", &number]);
    assert!(removed.status.success(), "{}", said(&removed));
    cluster.nodes[0].node.spawn();
    cluster.nodes[0].node.wait_ready();
    cluster.wait_voters(3);
    assert_eq!(clusters(&cluster.nodes), founded);
    assert_ne!(cluster.status(0).unwrap()["node"].to_string(), number);
    cluster.wait_whole();
    let mut registry = Registry::new(cluster.nodes[0].node.address);
    registry.get("/v2/gathered/app/manifests/t").expect(200);
}

/// Runs a node with a hostname and a hosts file of its own.
fn named(host: Ipv4Addr, index: usize, hosts_file: &Path) -> NodeOptions {
    let script = format!(
        "mount --bind '{}' /etc/hosts && hostname w-{index} && exec \"$@\"",
        hosts_file.display()
    );
    let words = ["unshare", "-m", "-u", "sh", "-c", &script, "sh"];
    let mut options = options(host, "[\"all.windlass:5002\"]", SECRET);
    options.wrapper = words.map(str::to_owned).to_vec();
    options.environment.extend([
        variable("EXPECT", "3"),
        variable("ADVERTISE", "{hostname}.windlass:5002"),
        variable("SECURITY", "plain"),
        variable("SECRET", "another secret of all nodes"),
    ]);
    options
}

#[test]
fn one_name_for_all_nodes_and_hostnames_with_ordinals_make_one_cluster() {
    let hosts = hosts(1);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hosts");
    let lines = hosts.iter().enumerate();
    let lines = lines.map(|(index, host)| format!("{host} w-{index}.windlass all.windlass\n"));
    fs::write(
        &file,
        format!("127.0.0.1 localhost\n{}", lines.collect::<String>()),
    )
    .unwrap();
    let nodes = hosts.into_iter().enumerate();
    let nodes = nodes.map(|(index, host)| waiting(named(host, index, &file)));
    let mut cluster = Cluster {
        nodes: nodes.collect(),
    };
    for member in &mut cluster.nodes {
        member.node.wait_ready();
    }
    cluster.wait_voters(3);
    assert_eq!(clusters(&cluster.nodes).len(), 1);
    let status = cluster.status(2).unwrap();
    let first = &status["nodes"].as_array().unwrap()[0];
    assert_eq!(
        (&first["node"], &first["address"]),
        (&1.into(), &"w-0.windlass:5002".into())
    );
}

#[test]
fn a_node_with_images_of_its_own_does_not_vanish_into_a_list() {
    let hosts = hosts(2);
    let alone = NodeOptions {
        host: Some(hosts[0]),
        ..NodeOptions::default()
    };
    let mut alone = Node::start_with(alone);
    Registry::new(alone.address).push_blob("own/app", b"kept");
    assert!(alone.terminate(SAID_MAX).success());
    let listed = NodeOptions {
        data_dir: Some(alone.data_dir.clone()),
        ..options(hosts[0], &list(&hosts), SECRET)
    };
    let mut listed = waiting(listed);
    assert_eq!(listed.node.wait_end(SAID_MAX).code(), EXIT_CONFIG);
    wait_said(&listed, "windlass init");
    // As the first of a cluster it keeps them, and the list does not matter.
    let begun = listed.run(&["init"]);
    assert!(begun.status.success(), "{}", said(&begun));
    listed.node.spawn();
    listed.node.wait_ready();
}
