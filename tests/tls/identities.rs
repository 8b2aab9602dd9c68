//! Clients that are whom their certificates name.

use std::net::SocketAddr;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, DistinguishedName, DnType, SanType};

use super::material::{Material, Pair};
use super::server::{TokenMaker, token, trusting};
use super::session::{Session, Wishes, get};
use super::support::{Node, Registry, Request, sha256};
use super::table::Right::{Catalog, Credentials, Pull, Push};
use super::table::{Caller, prepare, walk};
use super::tunnel::tunnel;

/// A cheap hash (bcrypt of cost 4) of `sesame`.
const BOB: &str = "bob:$2b$04$/A30yEJFPP44kizfGSyG..OFyoCm2ol/RNYNhOb8CIqy3wEEe6k/i";
const RULES: &str = "
[[auth.rules]]
comment = 'by name'
subject.username = 'robot.example'
resource.repository.starts = 'team/'
actions = ['pull', 'push']
[[auth.rules]]
comment = 'by another name of the certificate'
subject.claims = { path = '$.certificate.san.uri[*]', any = { starts = 'spiffe://ci/' } }
resource.repository = 'ci/app'
actions = ['push']
[[auth.rules]]
comment = 'what comes of a login'
subject.username = 'bob'
resource.repository = 'bob/app'
actions = ['push']
";

fn requesting(material: &Material, names: &str) -> String {
    format!(
        "client_ca_file = '{}'\nclient_certificates = 'requested'\nclient_identity = {names}\n",
        material.path("ca.pem").display()
    )
}

fn node(material: &Material, names: &str) -> Node {
    let users = format!("[auth]\nmode = 'users'\nusers = ['{BOB}']\n{RULES}");
    material.node(&(requesting(material, names) + &users))
}

/// A certificate with names of every kind.
fn rich(material: &Material) -> Pair {
    let mut params = CertificateParams::new(vec!["robot.example".to_owned()]).unwrap();
    let uri = "spiffe://ci/runner".try_into().unwrap();
    params.subject_alt_names.push(SanType::URI(uri));
    params.distinguished_name.push(DnType::CommonName, "bob");
    material.signed(params, 2090)
}

fn push(repository: &str) -> Request {
    let target = format!("/v2/{repository}/blobs/uploads/?digest={}", sha256(b"{}"));
    Request::new("POST", target).body("{}")
}

fn ping() -> Request {
    Request::new("GET", "/v2/")
}

fn login(request: Request, login: &str) -> Request {
    request.header("Authorization", format!("Basic {}", STANDARD.encode(login)))
}

/// A client whose connections show a certificate, or none.
fn client(node: &Node, material: &Material, own: Option<Pair>) -> (Registry, SocketAddr) {
    let address = tunnel(node.address, material.trusted.clone(), own);
    (Registry::new(address), address)
}

#[test]
fn a_certificate_is_a_user_until_something_better_is_shown() {
    let material = Material::new();
    let node = node(&material, "['dns', 'uri']");
    let (mut certified, _) = client(&node, &material, Some(rich(&material)));
    let (mut silent, _) = client(&node, &material, None);
    certified.send(&ping()).expect(200);
    certified.send(&push("team/app")).expect(201);
    certified.send(&push("ci/app")).expect(201);
    // What it may not is challenged: a login may do it.
    let refused = certified.send(&push("bob/app")).expect(401);
    assert!(
        refused
            .only("WWW-Authenticate")
            .starts_with("Bearer realm=")
    );
    certified
        .send(&login(push("bob/app"), "bob:sesame"))
        .expect(201);
    certified
        .send(&login(push("team/app"), "bob:sesame"))
        .expect(403);
    certified
        .send(&login(push("team/app"), "bob:wrong"))
        .expect(401);
    // A browser shows it for any page, wanted or not.
    for (name, value) in [
        ("Origin", "https://elsewhere.example"),
        ("Sec-Fetch-Site", "cross-site"),
    ] {
        certified
            .send(&push("team/app").header(name, value))
            .expect(401);
    }
    silent.send(&ping()).expect(401);
    silent.send(&push("team/app")).expect(401);

    // Its token is good without it, ends as any does, and is never renewed: `bob` of
    // a certificate has no password.
    let target = "/token?service=windlass&offline_token=true&scope=repository:team/app:pull,delete";
    let answer = certified
        .send(&Request::new("GET", target).header("Origin", "https://elsewhere.example"))
        .expect(200)
        .json();
    assert_eq!(answer["scope"], "", "no token for a page either");
    let answer = certified
        .send(&Request::new("GET", target))
        .expect(200)
        .json();
    assert_eq!(answer["scope"], "repository:team/app:pull");
    assert!(answer.get("refresh_token").is_none());
    let bearer = format!("Bearer {}", answer["token"].as_str().unwrap());
    let pull = Request::new("GET", format!("/v2/team/app/blobs/{}", sha256(b"{}")));
    silent
        .send(&pull.header("Authorization", bearer))
        .expect(200);
    let answer = silent.send(&Request::new("GET", target)).expect(200).json();
    assert_eq!(answer["scope"], "");
}

#[test]
fn the_configuration_says_which_name_counts() {
    let material = Material::new();
    let by_common_name = node(&material, "['common-name']");
    let (mut certified, _) = client(&by_common_name, &material, Some(rich(&material)));
    certified.send(&push("bob/app")).expect(201);
    certified.send(&push("team/app")).expect(401);
    let target = "/token?offline_token=true&scope=repository:bob/app:push";
    let answer = certified
        .send(&Request::new("GET", target))
        .expect(200)
        .json();
    assert!(answer.get("refresh_token").is_none());
    // Without a name of that kind it is nobody, as without a certificate.
    let mut params = CertificateParams::new(vec!["robot.example".to_owned()]).unwrap();
    params.distinguished_name = DistinguishedName::new();
    let bare = material.signed(params, 2090);
    let (mut nobody, _) = client(&by_common_name, &material, Some(bare));
    nobody.send(&ping()).expect(401);
    let explain = |repository: &str| {
        std::fs::write(material.path("client.pem"), rich(&material).certificate).unwrap();
        let asked = Command::new(env!("CARGO_BIN_EXE_windlass"))
            .args(["acl", "explain", "-", repository, "push", "--certificate"])
            .arg(material.path("client.pem"))
            .arg("--config")
            .arg(material.path("windlass.toml"))
            .output()
            .unwrap();
        String::from_utf8(asked.stdout).unwrap()
    };
    assert!(
        explain("bob/app").starts_with("allowed by rule 3"),
        "{}",
        explain("bob/app")
    );
    assert!(
        explain("ci/app").starts_with("allowed by rule 2"),
        "{}",
        explain("ci/app")
    );
    assert!(
        explain("team/app").starts_with("not allowed"),
        "{}",
        explain("team/app")
    );
}

#[test]
fn a_mail_address_is_a_name_where_that_is_said() {
    let material = Material::new();
    let rule = "
[[auth.rules]]
subject.username = 'ci@example.org'
resource.repository = 'mail/app'
actions = ['push']
";
    let text = requesting(&material, "['email']") + "[auth]\nmode = 'users'\n" + RULES + rule;
    let node = material.node(&text);
    let mut params = CertificateParams::new(vec!["robot.example".to_owned()]).unwrap();
    for address in ["ci@example.org", "other@example.org"] {
        let address = SanType::Rfc822Name(address.try_into().unwrap());
        params.subject_alt_names.push(address);
    }
    let (mut named, _) = client(&node, &material, Some(material.signed(params, 2090)));
    named.send(&push("mail/app")).expect(201);
    // Its other names do not count there.
    named.send(&push("team/app")).expect(401);
    let (mut unnamed, _) = client(&node, &material, Some(rich(&material)));
    unnamed.send(&ping()).expect(401);
}

#[test]
fn a_certificate_proves_nothing_where_that_is_not_asked_for() {
    let material = Material::new();
    let node = node(&material, "[]");
    let (mut certified, _) = client(&node, &material, Some(rich(&material)));
    certified.send(&ping()).expect(401);
    let own = rich(&material);
    let open = Session::open(
        node.address,
        &material.trusted,
        &Wishes::default(),
        Some(&own),
    );
    let answer = open.unwrap().ask(&get("/v2/")).unwrap();
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
}

#[test]
fn every_route_decides_alike_under_tls_and_for_certificates() {
    let material = Material::new();
    let rule = "
[[auth.rules]]
subject.username = 'robot.example'
resource.repository = 'team/app'
actions = ['pull']
";
    let node = material.node(&(requesting(&material, "['dns']") + &trusting(rule)));
    let (_, silent) = client(&node, &material, None);
    let (_, certified) = client(&node, &material, Some(rich(&material)));
    let maker = TokenMaker::elsewhere();
    let mut place = prepare(silent, ("team/app", &maker));
    let walked = walk(&place, &super::table::bearers("team/app", &maker));
    assert!(walked > 400, "{walked}");
    let good = token("repository:team/app:push");
    let callers = [
        Caller::silent("certificate", &[Credentials, Catalog, Pull]),
        Caller::bearer(
            "certificate and a token",
            &good,
            "insufficient_scope",
            &[Credentials, Push],
        ),
        Caller::bearer("certificate and a bad token", "a.b.c", "invalid_token", &[]),
    ];
    place.address = certified;
    walk(&place, &callers);
}
