//! Certificates from an authority of the operator's: whoever has none, or that of
//! another node, stays out; new ones are taken while the nodes run.

use std::fs;
use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_rustls::pki_types::pem::PemObject as _;
use futures_rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use futures_rustls::rustls::crypto::aws_lc_rs;
use futures_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};

use crate::serving::push_image;
use crate::support::{Cluster, Member, NodeOptions, Registry, said, wait_for};

/// New files are looked at every few seconds.
const TAKEN_MAX: Duration = Duration::from_secs(30);
/// What a node exits with that has the wrong certificate.
const EXIT_CONFIG: Option<i32> = Some(78);
/// Begins a connection for calls.
const PREAMBLE: &[u8; 8] = b"WLPEER\x01\x01";
/// The byte that says that a connection is let in.
const WELCOME: u8 = 1;

/// An authority of the operator's.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
struct Issued {
    chain: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { pem, issuer }
    }

    fn issue(&self, name: &str) -> Issued {
        self.issue_with(&CertificateParams::new(vec![name.to_owned()]).unwrap())
    }

    fn expired(&self, name: &str) -> Issued {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
        self.issue_with(&params)
    }

    fn issue_with(&self, params: &CertificateParams) -> Issued {
        let key = KeyPair::generate().unwrap();
        let chain = params.signed_by(&key, &self.issuer).unwrap().pem();
        let key = key.serialize_pem();
        Issued { chain, key }
    }
}

/// Where a node looks for its certificates.
struct Files(PathBuf);

impl Files {
    fn new(folder: &Path, node: usize) -> Self {
        let folder = folder.join(node.to_string());
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn options(&self) -> NodeOptions {
        let variable = |name: &str, file: &str| {
            let path = self.0.join(file).display().to_string();
            (format!("WINDLASS_CLUSTER__{name}_FILE"), path)
        };
        NodeOptions {
            environment: vec![
                variable("CA", "ca.pem"),
                variable("CERTIFICATE", "node.pem"),
                variable("KEY", "node.key"),
            ],
            ..NodeOptions::default()
        }
    }

    fn trust(&self, authorities: &[&Authority]) {
        let text: String = authorities.iter().map(|each| each.pem.as_str()).collect();
        self.replace("ca.pem", &text);
    }

    fn show(&self, issued: &Issued) {
        self.replace("node.key", &issued.key);
        self.replace("node.pem", &issued.chain);
    }

    /// As tools do that renew certificates: whole or not at all.
    fn replace(&self, name: &str, text: &str) {
        let staged = self.0.join("staged");
        fs::write(&staged, text).unwrap();
        fs::set_permissions(&staged, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(&staged, self.0.join(name)).unwrap();
    }
}

/// Three nodes with certificates of an operator's authority, as an operator makes them.
struct Scene {
    cluster: Cluster,
    files: Vec<Files>,
    names: Vec<String>,
    folder: tempfile::TempDir,
}

/// The name that a command asks for in the end, on standard output.
fn wanted_name(output: &str) -> String {
    let name = output.split_whitespace().last().unwrap().to_owned();
    assert!(name.ends_with(".windlass"), "{output}");
    name
}

impl Scene {
    fn new(authority: &Authority) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut scene = Self {
            cluster: Cluster { nodes: Vec::new() },
            files: Vec::new(),
            names: Vec::new(),
            folder,
        };
        for node in 0..3 {
            let files = Files::new(scene.folder.path(), node);
            files.trust(&[authority]);
            let mut member = Member::prepare(files.options());
            let made = if node == 0 {
                member.run(&["init"])
            } else {
                let token = scene.cluster.token();
                scene.cluster.join(&member, &token)
            };
            assert!(made.status.success(), "{}", said(&made));
            let name = wanted_name(&String::from_utf8_lossy(&made.stdout));
            files.show(&authority.issue(&name));
            member.node.spawn();
            member.node.wait_ready();
            scene.cluster.nodes.push(member);
            scene.files.push(files);
            scene.names.push(name);
        }
        scene.cluster.wait_voters(3);
        scene
    }

    fn peer(&self, node: usize) -> SocketAddr {
        self.cluster.nodes[node].peer_address
    }

    /// Whether a node lets whoever shows `issued` in, and shows itself to those who
    /// trust `trusted`.
    fn lets_in(&self, node: usize, trusted: &Authority, issued: Option<&Issued>) -> bool {
        is_welcome(self.peer(node), &self.names[node], trusted, issued)
    }
}

/// Whether a connection for calls is let in. Every failure is a no.
fn is_welcome(peer: SocketAddr, name: &str, trusted: &Authority, issued: Option<&Issued>) -> bool {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(trusted.pem.as_bytes()).unwrap())
        .unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match issued {
        None => builder.with_no_client_auth(),
        Some(issued) => {
            let chain = CertificateDer::from_pem_slice(issued.chain.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![chain], key).unwrap()
        }
    };
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let session = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut socket = TcpStream::connect(peer).unwrap();
    socket.set_read_timeout(Some(TAKEN_MAX)).unwrap();
    std::io::Write::write_all(&mut socket, PREAMBLE).unwrap();
    let mut verdict = [0];
    let read = StreamOwned::new(session, socket).read_exact(&mut verdict);
    read.is_ok() && verdict == [WELCOME]
}

#[test]
fn certificates_of_an_operator_let_in_the_nodes_they_name_and_nobody_else() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let mut scene = Scene::new(&ours);
    let mut registry = Registry::new(scene.cluster.nodes[1].node.address);
    push_image(&mut registry, "certified/app", "t", &vec![5; 40_000]);
    scene.cluster.wait_whole();

    let name = scene.names[1].clone();
    assert!(scene.lets_in(0, &ours, Some(&ours.issue(&name))));
    let (_, cluster) = name.split_once('.').unwrap();
    let elsewhere = format!("node-2.{}.windlass", "0".repeat(32));
    for (refused, what) in [
        (None, "no certificate"),
        (Some(theirs.issue(&name)), "another authority"),
        (Some(ours.expired(&name)), "expired"),
        (Some(ours.issue(&elsewhere)), "another cluster"),
        (Some(ours.issue("registry.example.org")), "no node"),
        (Some(ours.issue(&format!("node-0.{cluster}"))), "no number"),
    ] {
        assert!(!scene.lets_in(0, &ours, refused.as_ref()), "{what}");
    }

    // A node does not start with what the others would refuse.
    scene.cluster.nodes[2].node.kill();
    // It has joined: no cluster begins with it.
    let begun = scene.cluster.nodes[2].run(&["init"]);
    assert_eq!(begun.status.code(), EXIT_CONFIG, "{}", said(&begun));
    let own = scene.names[2].clone();
    for (refused, said) in [
        (ours.issue(&name), "must have the name"),
        (ours.expired(&own), "does not hold"),
        (theirs.issue(&own), "does not hold"),
        (ours.issue(&elsewhere), "must have the name"),
    ] {
        scene.files[2].show(&refused);
        scene.cluster.nodes[2].node.spawn();
        let ended = scene.cluster.nodes[2].node.wait_end(TAKEN_MAX);
        assert_eq!(ended.code(), EXIT_CONFIG);
        let log = scene.cluster.nodes[2].node.log_text();
        assert!(log.lines().last().unwrap().contains(said), "{said}: {log}");
    }
    scene.files[2].show(&ours.issue(&own));
    scene.cluster.nodes[2].node.spawn();
    scene.cluster.nodes[2].node.wait_ready();
    scene.cluster.wait_whole();
}

#[test]
fn another_authority_replaces_the_first_while_the_nodes_run() {
    let (old, new) = (Authority::new(), Authority::new());
    let mut scene = Scene::new(&old);
    // Damaged files change nothing.
    scene.files[0].replace("node.pem", "no certificate");
    for files in &scene.files {
        files.trust(&[&old, &new]);
    }
    for node in 0..3 {
        scene.files[node].show(&new.issue(&scene.names[node]));
    }
    let stranger = old.issue(&scene.names[1]);
    let is_taken = |scene: &Scene, issued: &Issued, expected: bool| {
        (0..3).all(|node| {
            wait_for(TAKEN_MAX, || {
                scene.lets_in(node, &new, Some(issued)) == expected
            })
        })
    };
    assert!(is_taken(&scene, &new.issue(&scene.names[1]), true));
    assert!(is_taken(&scene, &stranger, true));
    for files in &scene.files {
        files.trust(&[&new]);
    }
    assert!(is_taken(&scene, &stranger, false));

    // Connections that are made now work with what is in force now.
    let leader = scene.cluster.leader();
    scene.cluster.nodes[leader].node.restart();
    scene.cluster.wait_voters(3);
    let mut registry = Registry::new(scene.cluster.nodes[leader].node.address);
    push_image(&mut registry, "renewed/app", "t", &vec![6; 40_000]);
    scene.cluster.wait_whole();
}
