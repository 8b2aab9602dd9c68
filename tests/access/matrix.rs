//! Every route and method with every kind of credentials: one table says what each
//! route needs and what each kind gives, and nothing else decides.

use std::net::SocketAddr;
use std::time::Duration;

use super::material::Material;
use super::robots::{basic, create};
use super::server::{configured, trusting};
use super::table::Right::{Catalog, Credentials, Delete, Pull, Push};
use super::table::{Caller, bearers, prepare, walk};
use super::tunnel::tunnel;
use crate::support::{Cluster, Node, Registry, Request, wait_for};

const REPOSITORY: &str = "team/app";
/// What one node knows all know within this time.
const NEWS_MAX: Duration = Duration::from_secs(20);

/// Everybody with a token, and robots that are made through a node.
fn callers(admin: SocketAddr) -> Vec<Caller> {
    let robot = |name, scopes: &[&str], rights| {
        Caller::robot(name, &create(admin, name, scopes, &[]), rights)
    };
    let robots = vec![
        robot(
            "robot-other",
            &["team/app/*:admin", "other/app:admin"],
            &[Credentials],
        ),
        robot("robot-pull", &["team/*:pull"], &[Credentials, Pull]),
        robot("robot-push", &["team/app:push"], &[Credentials, Push]),
        robot(
            "robot-tags",
            &["team/app:pull,tag-create"],
            &[Credentials, Pull, Push],
        ),
        robot("robot-delete", &["**:delete"], &[Credentials, Delete]),
        robot("robot-catalog", &["catalog"], &[Credentials, Catalog]),
        robot(
            "robot-admin",
            &["**:admin", "catalog"],
            &[Credentials, Catalog, Pull, Push, Delete],
        ),
    ];
    bearers(REPOSITORY).into_iter().chain(robots).collect()
}

#[test]
fn every_route_gives_what_the_credentials_say() {
    let (_home, options) = configured(&trusting(""));
    let node = Node::start_with(options);
    let (session, manifest) = prepare(node.address, REPOSITORY);
    let callers = callers(node.admin_address);
    let count = walk(node.address, REPOSITORY, (&session, &manifest), &callers);
    assert!(count > 600, "{count}");
}

#[test]
fn every_route_gives_the_same_under_tls() {
    let material = Material::new();
    let node = material.node(&trusting(""));
    let address = tunnel(node.address, material.trusted, None);
    let (session, manifest) = prepare(address, REPOSITORY);
    let callers = callers(node.admin_address);
    let count = walk(address, REPOSITORY, (&session, &manifest), &callers);
    assert!(count > 600, "{count}");
}

#[test]
fn every_node_of_a_cluster_decides_alike() {
    let (_home, options) = configured(&trusting(""));
    let mut cluster = Cluster::start_with(3, &options);
    let leader = cluster.leader();
    let pushed_at = cluster.addresses()[(leader + 1) % 3];
    let (session, manifest) = prepare(pushed_at, REPOSITORY);
    let admin = cluster.nodes[0].node.admin_address;
    let callers = callers(admin);
    let last = create(admin, "last", &["catalog"], &[]);
    for address in cluster.addresses() {
        let mut registry = Registry::new(address);
        let ping = basic(Request::new("GET", "/v2/"), "last", &last);
        assert!(wait_for(NEWS_MAX, || registry.send(&ping).status == 200));
        walk(address, REPOSITORY, (&session, &manifest), &callers);
    }
}
