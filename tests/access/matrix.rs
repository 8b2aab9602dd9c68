//! Every route and method with every kind of credentials: one table says what each
//! route needs and what each kind gives, and nothing else decides.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use super::material::Material;
use super::robots::{basic, create};
use super::server::{HASH, TokenMaker, claims, configured, signed, trusting};
use super::table::Right::{Catalog, Credentials, Delete, Pull, Push};
use super::table::{
    Caller, Place, Refusal, bearers, check_rows, prepare, walk, walk_at_once, walk_lacking,
    walk_other_methods,
};
use super::tunnel::tunnel;
use crate::support::{Cluster, Node, NodeOptions, Random, Registry, Request, sha256, wait_for};

const REPOSITORY: &str = "team/app";
/// What one node knows all know within this time.
const NEWS_MAX: Duration = Duration::from_secs(20);
/// Takes three minutes at 64 KiB a second; other blobs wait for it.
const BALLAST_BYTES: usize = 12_000_000;
/// More than stands in the journal itself.
const BLOB_BYTES: usize = 50_000;

/// Everybody with a token, and robots that are made through a node.
fn callers(admin: SocketAddr, maker: &TokenMaker) -> Vec<Caller> {
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
    bearers(REPOSITORY, maker)
        .into_iter()
        .chain(robots)
        .collect()
}

#[test]
fn every_endpoint_of_the_registry_has_its_rows() {
    check_rows();
}

#[test]
fn every_route_gives_what_the_credentials_say() {
    let (_home, options) = configured(&trusting(""));
    let node = Node::start_with(options);
    let maker = TokenMaker::elsewhere();
    let place = prepare(node.address, (REPOSITORY, &maker));
    let callers = callers(node.admin_address, &maker);
    let count = walk(&place, &callers);
    assert!(count > 800, "{count}");
    walk_other_methods(&place, &callers);
}

#[test]
fn every_route_gives_the_same_under_tls() {
    let material = Material::new();
    let node = material.node(&trusting(""));
    let address = tunnel(node.address, material.trusted, None);
    let maker = TokenMaker::elsewhere();
    let place = prepare(address, (REPOSITORY, &maker));
    let count = walk(&place, &callers(node.admin_address, &maker));
    assert!(count > 800, "{count}");
}

const RULES: &str = "
[limits]
exempt_networks = ['127.0.0.0/8']
[[auth.rules]]
subject.username = 'reader'
resource.repository = 'team/app'
actions = ['pull']
[[auth.rules]]
subject.username = 'writer'
resource.repository = 'team/app'
actions = ['push']
[[auth.rules]]
subject.username = 'tagger'
resource.repository = 'team/app'
actions = ['pull', 'tag-create']
[[auth.rules]]
subject.username = 'remover'
resource.repository = 'team/app'
actions = ['delete']
[[auth.rules]]
subject.username = 'owner'
actions = ['admin']
[[auth.rules]]
subject.username = 'stranger'
resource.repository = { starts = 'team/app/' }
actions = ['admin']
[[auth.rules]]
subject.username = 'ci'
subject.claims = { pointer = '/ref', match = 'main' }
actions = ['pull']
[[auth.rules]]
subject.anonymous = true
resource.repository = 'public/app'
actions = ['pull']
";

/// Users, and an issuer of identities, in `[auth]`; and what each may do.
fn users_and_rules() -> String {
    let names = [
        "reader", "writer", "tagger", "remover", "owner", "stranger", "nothing",
    ];
    let users = names.map(|name| format!("'{name}:{HASH}'")).join(", ");
    let public = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/auth/ec.pub");
    format!(
        "users = [{users}]\n\
         identities = [{{ name = 'ci', issuer = 'auth.example.org', \
         audiences = ['registry.example.org'], key_files = ['{public}'] }}]\n{RULES}"
    )
}

/// A node that makes tokens, by the key of the tests.
fn with_users() -> ([TempDir; 2], NodeOptions) {
    let home = tempfile::tempdir().unwrap();
    let key = home.path().join("token.key");
    fs::write(&key, include_bytes!("../fixtures/auth/ec.key")).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let text = format!(
        "[auth]\nmode = 'users'\nsigning_key_file = '{}'\n{}",
        key.display(),
        users_and_rules()
    );
    let (configuration, options) = configured(&text);
    ([home, configuration], options)
}

/// A token that the node makes for a login, or for nobody.
fn made(address: SocketAddr, login: Option<&str>, scope: &str) -> String {
    let request = Request::new("GET", format!("/token?scope={scope}"));
    let request = match login {
        Some(name) => basic(request, name, "sesame"),
        None => request,
    };
    let answer = Registry::new(address).send(&request).expect(200).json();
    answer["token"].as_str().unwrap().to_owned()
}

/// Everybody with a password, or with something that a password got.
fn users(address: SocketAddr) -> Vec<Caller> {
    let user = |name, rights| Caller::robot(name, "sesame", rights);
    let token = |name, login, scope: &str, rights| {
        let token = made(address, login, scope);
        Caller::bearer(name, &token, "insufficient_scope", rights)
    };
    let job = |branch: &str| {
        let mut claims = claims("");
        claims["ref"] = json!(branch);
        signed(&claims)
    };
    let ci = |token: &str, rights| Caller::robot("ci", token, rights);
    let all = "repository:team/app:*%20repository:other:pull";
    vec![
        user("reader", &[Credentials, Catalog, Pull]),
        user("writer", &[Credentials, Catalog, Push]),
        user("tagger", &[Credentials, Catalog, Pull, Push]),
        user("remover", &[Credentials, Catalog, Delete]),
        user("owner", &[Credentials, Catalog, Pull, Push, Delete]),
        user("stranger", &[Credentials, Catalog]),
        user("nothing", &[Credentials, Catalog]),
        ci(&job("main"), &[Credentials, Catalog, Pull]),
        ci(&job("feature"), &[Credentials, Catalog]),
        token("token of reader", Some("reader"), all, &[Credentials, Pull]),
        token("token of writer", Some("writer"), all, &[Credentials, Push]),
        token(
            "token of tagger",
            Some("tagger"),
            all,
            &[Credentials, Pull, Push],
        ),
        token(
            "token of remover",
            Some("remover"),
            all,
            &[Credentials, Delete],
        ),
        token(
            "token of owner",
            Some("owner"),
            all,
            &[Credentials, Pull, Push, Delete],
        ),
        token(
            "pull for owner",
            Some("owner"),
            "repository:team/app:pull",
            &[Credentials, Pull],
        ),
        token("token of stranger", Some("stranger"), all, &[Credentials]),
        token("token for nobody", None, all, &[Credentials]),
        token(
            "the list for a user",
            Some("nothing"),
            "registry:catalog:*",
            &[Credentials, Catalog],
        ),
    ]
}

#[test]
fn every_route_gives_what_users_and_the_tokens_made_for_them_say() {
    let (_homes, options) = with_users();
    let node = Node::start_with(options);
    let maker = TokenMaker {
        realm: format!("http://{}/token", node.address),
        service: "windlass",
        issuer: "windlass",
        is_here: true,
    };
    let place = prepare(node.address, (REPOSITORY, &maker));
    let mut everybody = callers(node.admin_address, &maker);
    everybody.extend(users(node.address));
    let count = walk(&place, &everybody);
    assert!(count > 1400, "{count}");
    walk_other_methods(&place, &everybody);
    // Each of these is kept waiting.
    let mut over = claims("");
    over["exp"] = json!(1);
    for (name, secret) in [
        ("owner", "wrong"),
        ("mallory", "sesame"),
        ("ci", &*signed(&over)),
    ] {
        let refusal = Refusal::Challenge(Some("invalid_token"));
        let caller = Caller {
            refusal,
            ..Caller::robot(name, secret, &[])
        };
        walk_at_once(&place, &caller);
    }
    // What everybody may pull needs no credentials, and nothing beyond that.
    let public = prepare(node.address, ("public/app", &maker));
    walk(&public, &[Caller::silent("nobody", &[Pull])]);
}

/// Where a node keeps a blob, if it does.
fn holds(node: &Node, digest: &str) -> bool {
    let hex = digest.strip_prefix("sha256:").unwrap();
    let is_it = |name: &str| name.starts_with(hex);
    let mut files = node.files("blobs").into_iter();
    files.any(|path| path.file_name().unwrap().to_str().is_some_and(is_it))
}

fn push(address: SocketAddr, content: &[u8], maker: &TokenMaker) -> String {
    let digest = sha256(content);
    let target = format!("/v2/{REPOSITORY}/blobs/uploads/?digest={digest}");
    let request = Request::new("POST", target).body(content);
    let token = signed(&maker.claims(&format!("repository:{REPOSITORY}:pull,push")));
    let request = super::server::bearing(request, &token);
    Registry::new(address).send(&request).expect(201);
    digest
}

#[test]
fn every_node_of_a_cluster_decides_alike_and_so_does_one_without_the_blob() {
    let copies = "[cluster]\nack = 'one'\nfetches_max = 1\nfetch_rate_max = '64KiB'\n";
    // Tokens of another server, and users and tokens of its own.
    let both = trusting(&users_and_rules()).replace("mode = 'token'", "mode = 'users'");
    let (_home, options) = configured(&(both + copies));
    let mut cluster = Cluster::start_with(3, &options);
    let maker = TokenMaker {
        is_here: true,
        ..TokenMaker::elsewhere()
    };
    let leader = cluster.leader();
    let [holder, lacking] = [(leader + 1) % 3, (leader + 2) % 3];
    let addresses = cluster.addresses();
    let place = prepare(addresses[holder], (REPOSITORY, &maker));
    let admin = cluster.nodes[0].node.admin_address;
    let mut callers = callers(admin, &maker);
    callers.extend(users(addresses[holder]));
    let last = create(admin, "last", &["catalog"], &[]);
    for address in &addresses {
        let mut registry = Registry::new(*address);
        let ping = basic(Request::new("GET", "/v2/"), "last", &last);
        assert!(wait_for(NEWS_MAX, || registry.send(&ping).status == 200));
    }
    for address in [addresses[leader], addresses[holder]] {
        let place = Place {
            address,
            ..place.clone()
        };
        walk(&place, &callers);
    }
    // From here on a node gets no blob that nobody waits for.
    let mut random = Random::new(7);
    push(addresses[holder], &random.bytes(BALLAST_BYTES), &maker);
    let node = &cluster.nodes[lacking].node;
    let mut fresh = || {
        let digest = push(addresses[holder], &random.bytes(BLOB_BYTES), &maker);
        assert!(holds(&cluster.nodes[holder].node, &digest) && !holds(node, &digest));
        digest
    };
    let place = Place {
        address: node.address,
        blob: fresh(),
        ..place
    };
    walk_lacking(&place, &callers, fresh);
    assert!(
        !holds(node, &place.blob),
        "fetched for somebody who may not"
    );
}
