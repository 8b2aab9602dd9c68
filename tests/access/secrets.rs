//! No secret of a node stands where others read: in its log, its audit file, its
//! metrics, its answers, the list of processes, or a file that a crash leaves.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::KeyPair;
use regex::bytes::RegexSet;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::material::{Material, NAME};
use super::server::bearing;
use super::tunnel::tunnel;
use super::users::basic;
use crate::support::{
    Client, Cluster, Node, NodeOptions, Registry, Request, Response, is_left_out, wait_for,
};

/// Hashes of `correct-horse-battery`, cheap ones.
const USER: &str = "bob:$2b$04$/A30yEJFPP44kizfGSyG..OFyoCm2ol/RNYNhOb8CIqy3wEEe6k/i";
const PASSWORD: &str = "sesame";
const WRONG: &str = "hunter2-hunter2";
const RULES: &str =
    "[[auth.rules]]\nsubject.username = 'bob'\nactions = ['pull', 'push', 'delete']\n";
/// A signal that ends a process has done so by then.
const ONCE_MAX: Duration = Duration::from_secs(2);
const END_MAX: Duration = Duration::from_secs(30);
/// Where a crash leaves its file, if that is beside the process.
const CORE_PATTERN: &str = "/proc/sys/kernel/core_pattern";

/// What nobody may see.
#[derive(Default)]
struct Secrets(Vec<(&'static str, Vec<u8>)>);

impl Secrets {
    fn add(&mut self, name: &'static str, secret: impl AsRef<[u8]>) {
        crate::support::secret(name, secret.as_ref());
        self.0.push((name, secret.as_ref().to_owned()));
    }

    /// A key: each line of its PEM, and its bytes.
    fn add_key(&mut self, name: &'static str, pem: &str) {
        let lines = pem.lines().filter(|line| !line.starts_with("---"));
        let body: Vec<&str> = lines.collect();
        for line in &body {
            self.add(name, line);
        }
        // The head of a key says only what kind it is.
        let bytes = STANDARD.decode(body.concat()).unwrap();
        self.add(name, &bytes[bytes.len() / 2..]);
    }

    /// The names of those that stand in `bytes`, which may be many: all are looked for at
    /// once.
    fn found_in(&self, bytes: &[u8]) -> Vec<&'static str> {
        let pattern = |(_, secret): &(_, Vec<u8>)| {
            let bytes = secret.iter().map(|byte| format!("\\x{byte:02x}"));
            format!("(?-u){}", bytes.collect::<String>())
        };
        let set = RegexSet::new(self.0.iter().map(pattern)).unwrap();
        let found = set.matches(bytes).into_iter();
        found.map(|index| self.0[index].0).collect()
    }

    #[track_caller]
    fn check(&self, place: &str, bytes: &[u8]) {
        let found = self.found_in(bytes);
        assert!(found.is_empty(), "{found:?} in {place}");
    }

    /// Looks wherever a running node shows something.
    #[track_caller]
    fn check_node(&self, node: &Node, answers: &[Response]) {
        self.check("the log", node.log_text().as_bytes());
        for page in ["/metrics", "/cluster", "/readyz", "/"] {
            let mut client = Client::new(node.admin_address);
            self.check(page, &client.send(&Request::new("GET", page)).body);
        }
        for answer in answers {
            let headers = format!("{:?}", answer.headers);
            self.check(&answer.about, &[headers.as_bytes(), &answer.body].concat());
        }
        for name in ["cmdline", "environ"] {
            let path = format!("/proc/{}/{name}", node.pid());
            // Who may not read it has found nothing in it.
            self.check(&path, &fs::read(&path).unwrap_or_default());
        }
    }
}

fn write_secret(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Has the node leave core files in a folder, as far as it is its limit that decides.
fn with_core_files(mut options: NodeOptions, folder: &Path) -> NodeOptions {
    let folder = folder.display().to_string();
    let words = [
        "prlimit",
        "--core=unlimited:unlimited",
        "env",
        "-C",
        &folder,
    ];
    options.wrapper = words.map(str::to_owned).to_vec();
    options
}

/// Ends a node as a bug would, and gives the core files that are left.
fn crash(node: &mut Node, signal: Signal, folder: &Path) -> Vec<PathBuf> {
    let pid = Pid::from_raw(i32::try_from(node.pid()).unwrap()).unwrap();
    // The first one of some is taken by what looks for stacks that are too small.
    for _ in 0..2 {
        kill_process(pid, signal).unwrap();
        if wait_for(ONCE_MAX, || !node.is_running()) {
            break;
        }
    }
    node.wait_end(END_MAX);
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| entry.path()).collect()
}

/// A node with users, TLS and an audit file; its secrets.
fn single(more: &str) -> (Material, TempDir, NodeOptions, Secrets) {
    let material = Material::new();
    let pair = material.pair(NAME, 2090);
    material.install(&pair);
    let signing = KeyPair::generate().unwrap().serialize_pem();
    write_secret(&material.path("token.key"), &signing);
    write_secret(&material.path("users"), USER);
    let text = format!(
        "[auth]\nmode = 'users'\nusers_file = '{}'\nsigning_key_file = '{}'\n{RULES}\
         [audit]\nlevel = 'all'\nfile = '{}'\n[log]\nfilter = 'debug'\n{more}",
        material.path("users").display(),
        material.path("token.key").display(),
        material.path("audit").display(),
    );
    let cores = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let options = with_core_files(material.options(&text), cores.path());
    let mut secrets = Secrets::default();
    secrets.add_key("the key of TLS", &pair.key);
    secrets.add_key("the key of tokens", &signing);
    secrets.add("the hash of a password", USER.split_once(':').unwrap().1);
    for (name, password) in [("a password", PASSWORD), ("a wrong password", WRONG)] {
        secrets.add(name, password);
        secrets.add(name, STANDARD.encode(format!("bob:{password}")));
    }
    (material, cores, options, secrets)
}

#[test]
fn a_node_shows_none_of_its_secrets_and_a_crash_leaves_none() {
    let (material, cores, options, mut secrets) = single("");
    let mut node = Node::start_with(options);
    let mut registry = Registry::new(tunnel(node.address, material.trusted.clone(), None));
    let mut answers = Vec::new();
    let login = |password: &str| format!("bob:{password}");
    let ask = "/token?offline_token=true&scope=repository:team/app:pull,push";
    let granted = registry.send(&basic(Request::new("GET", ask), &login(PASSWORD)));
    let granted = granted.expect(200).json();
    for (name, member) in [("a token", "token"), ("a refresh token", "refresh_token")] {
        secrets.add(name, granted[member].as_str().unwrap());
    }
    let token = granted["token"].as_str().unwrap();
    for (method, target) in [
        ("GET", "/v2/"),
        ("GET", "/v2/team/app/tags/list"),
        ("GET", "/v2/other/app/tags/list"),
        ("DELETE", "/v2/team/app/manifests/v1"),
        ("POST", "/v2/team/app/blobs/uploads/"),
    ] {
        let request = Request::new(method, target);
        answers.push(registry.send(&bearing(request.clone(), token)));
        answers.push(registry.send(&bearing(request.clone(), &format!("{token}x"))));
        answers.push(registry.send(&basic(request, &login(PASSWORD))));
    }
    // A wrong one, and one where a name belongs.
    for login in [login(WRONG), format!("{WRONG}:bob")] {
        let request = Request::new("GET", "/v2/");
        answers.push(registry.send(&basic(request, &login)));
    }
    for body in [
        format!("grant_type=password&username=bob&password={WRONG}"),
        format!("grant_type=refresh_token&refresh_token={token}"),
        format!("grant_type=other&password={PASSWORD}"),
    ] {
        let form = Request::new("POST", "/token");
        answers.push(registry.client.send(&form.body(body)));
    }
    let refused = answers.iter().filter(|answer| answer.status >= 400).count();
    assert!(refused > 10 && refused < answers.len(), "{refused}");
    secrets.check_node(&node, &answers);
    let audit = fs::read(material.path("audit")).unwrap();
    assert!(!audit.is_empty());
    secrets.check("the audit file", &audit);
    for core in crash(&mut node, Signal::ABORT, cores.path()) {
        secrets.check(&core.display().to_string(), &fs::read(&core).unwrap());
    }
}

/// The same node where core files are allowed: what was looked for above is found.
#[test]
fn a_crash_leaves_its_memory_only_where_that_is_allowed() {
    let pattern = fs::read_to_string(CORE_PATTERN).unwrap();
    if pattern.starts_with(['|', '/']) {
        eprintln!(
            "core files of this machine go elsewhere: {}",
            pattern.trim()
        );
        return;
    }
    let (_material, cores, options, _) = single("");
    let mut node = Node::start_with(options);
    for signal in [Signal::ABORT, Signal::SEGV, Signal::ILL] {
        assert!(crash(&mut node, signal, cores.path()).is_empty());
        node.spawn();
        node.wait_ready();
    }
    let (_material, cores, options, secrets) = single("[runtime]\ncore_dumps = true\n");
    let mut node = Node::start_with(options);
    let left = crash(&mut node, Signal::SEGV, cores.path());
    assert_eq!(left.len(), 1);
    let found = secrets.found_in(&fs::read(&left[0]).unwrap());
    assert!(found.contains(&"the hash of a password"), "{found:?}");
}

/// A command of somebody without rights, of whom another process could look, which was
/// told the first half of a line and waits for the rest.
#[track_caller]
fn waiting(program: &Path, words: &[&str], prompt: &str) -> (Child, ChildStdin) {
    let mut child = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(program)
        .args(words)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("setpriv of util-linux");
    let mut input = child.stdin.take().unwrap();
    // One that is gone is seen below.
    drop(input.write_all(prompt.as_bytes()));
    let status = format!("/proc/{}/status", child.id());
    let mut is_over = false;
    let is_reading_or_over = || {
        is_over = child.try_wait().unwrap().is_some();
        is_over || {
            let status = fs::read_to_string(&status).unwrap();
            status.contains("windlass") && status.contains("sleeping")
        }
    };
    assert!(wait_for(END_MAX, is_reading_or_over), "{words:?}");
    if is_over {
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        panic!("uid 65534 cannot run {}: {said}", program.display());
    }
    (child, input)
}

/// Others read the arguments of every process, and whoever runs a process as the same
/// user its environment and its memory.
#[test]
fn commands_that_are_told_secrets_show_them_to_nobody() {
    if is_left_out("run a command as somebody else") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // Where it was built, somebody without rights may not be able to go.
    let program = home.path().join("windlass");
    fs::copy(env!("CARGO_BIN_EXE_windlass"), &program).unwrap();
    let contact = "127.0.0.1:1";
    let data = home.path().join("data").display().to_string();
    let join = [
        "join",
        contact,
        "--token-file",
        "-",
        "--data-dir",
        &data,
        "--cluster-listen",
        contact,
    ];
    for (words, prompt) in [
        (&["hash-password", "bob"][..], PASSWORD),
        (&join[..], "wlj-1-of-a-cluster"),
    ] {
        let (mut child, _input) = waiting(&program, words, prompt);
        let process = PathBuf::from(format!("/proc/{}", child.id()));
        let is_private = || fs::metadata(process.join("mem")).unwrap().uid() == 0;
        assert!(
            wait_for(END_MAX, is_private),
            "{words:?}: its user may look into it"
        );
        for name in ["cmdline", "environ"] {
            let shown = match fs::read(process.join(name)) {
                // This root is not allowed to look into others.
                Err(error) if name == "environ" && error.kind() == ErrorKind::PermissionDenied => {
                    eprintln!("left out: environ of {words:?}: needs CAP_SYS_PTRACE");
                    continue;
                }
                shown => shown.unwrap(),
            };
            let shown = String::from_utf8_lossy(&shown).into_owned();
            assert!(!shown.contains(prompt), "{words:?}: {name}: {shown}");
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let none = ["token", "create", "ci", "--scope", "a:pull", "--token", "x"];
    for words in [
        &none[..],
        &["join", contact, "--token", "x"],
        &["hash-password", "bob", "sesame"],
    ] {
        let refused = Command::new(env!("CARGO_BIN_EXE_windlass"))
            .args(words)
            .output()
            .unwrap();
        assert_eq!(
            refused.status.code(),
            Some(2),
            "{words:?}: no argument takes a secret"
        );
    }
}

#[test]
fn nodes_of_a_cluster_show_nothing_of_what_makes_them_members() {
    for security in ["tls", "plain"] {
        let home = tempfile::tempdir().unwrap();
        let shared = "a-shared-secret-of-the-cluster";
        write_secret(&home.path().join("secret"), shared);
        let path = home.path().join("windlass.toml");
        let secret = match security {
            "plain" => format!("secret_file = '{}'\n", home.path().join("secret").display()),
            _ => String::new(),
        };
        let text = format!(
            "[log]\nfilter = 'debug'\n[auth]\nmode = 'users'\n{RULES}\
             [cluster]\nsecurity = '{security}'\n{secret}"
        );
        fs::write(&path, text).unwrap();
        let options = NodeOptions {
            arguments: vec!["--config".to_owned(), path.display().to_string()],
            ..NodeOptions::default()
        };
        let cluster = Cluster::start_with(2, &options);
        let mut secrets = Secrets::default();
        secrets.add("shared secret", shared);
        // One that was not used, and is good for as long.
        secrets.add("a join token", cluster.token());
        for member in &cluster.nodes {
            let directory = member.node.data_dir.join("cluster");
            for (name, file) in [
                ("a key of the cluster", "ca.key"),
                ("a node's key", "node.key"),
            ] {
                if let Ok(key) = fs::read_to_string(directory.join(file)) {
                    secrets.add_key(name, &key);
                }
            }
        }
        assert_eq!(secrets.0.len() > 2, security == "tls");
        for member in &cluster.nodes {
            let mut registry = Registry::new(member.node.address);
            let answers = ["/v2/", "/token", "/v2/a/b/tags/list"].map(|path| registry.get(path));
            secrets.check_node(&member.node, &answers);
        }
    }
}
