//! One registry process with its own address and its own data directory.
//!
//! Ends only the process it started, by its own handle.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::client::{Client, Request};
use super::gathered;

/// A node that is not ready by then fails the test.
const READY_MAX: Duration = Duration::from_secs(60);
/// Pause between two looks at a condition.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// What a node does not say by then, it does not say before its end.
const LAST_WORD_MAX: Duration = Duration::from_millis(500);

/// How a node is started, beyond its addresses and its directory.
#[derive(Clone, Default)]
pub(crate) struct NodeOptions {
    /// Command and arguments put before the binary, which they must `exec`.
    pub(crate) wrapper: Vec<String>,
    /// Arguments after the node's own.
    pub(crate) arguments: Vec<String>,
    /// Environment of the process, on top of the test's.
    pub(crate) environment: Vec<(String, String)>,
    /// Data directory; a fresh one when absent.
    pub(crate) data_dir: Option<PathBuf>,
    /// Address of the node, when it has one of its own; its ports are then the default ones.
    pub(crate) host: Option<Ipv4Addr>,
    /// Binary, when it is not the one under test in its place.
    pub(crate) binary: Option<PathBuf>,
}

/// A running (or killed, or ended) registry.
pub(crate) struct Node {
    child: Option<Child>,
    options: NodeOptions,
    /// Where the registry listens.
    pub(crate) address: SocketAddr,
    /// Where its operators' listener is.
    pub(crate) admin_address: SocketAddr,
    /// Where it keeps its data.
    pub(crate) data_dir: PathBuf,
    log: PathBuf,
    _directory: TempDir,
}

impl Node {
    /// Where it listens for operators. A node with a network of its own listens on all
    /// addresses: only who comes over loopback there may change the cluster.
    fn admin_listen(&self) -> SocketAddr {
        if self.admin_address.ip().is_loopback() {
            self.admin_address
        } else {
            SocketAddr::from((Ipv4Addr::UNSPECIFIED, self.admin_address.port()))
        }
    }

    /// Where commands to it go that run where it runs.
    pub(crate) fn operator_address(&self) -> SocketAddr {
        if self.admin_address.ip().is_loopback() {
            self.admin_address
        } else {
            SocketAddr::from((Ipv4Addr::LOCALHOST, self.admin_address.port()))
        }
    }

    /// Starts a node in a fresh directory and waits until it is ready.
    pub(crate) fn start() -> Self {
        Self::start_with(NodeOptions::default())
    }

    /// Starts a node as `options` say and waits until it is ready.
    pub(crate) fn start_with(options: NodeOptions) -> Self {
        let mut node = Self::prepare(options);
        node.spawn();
        node.wait_ready();
        node
    }

    /// Chooses addresses and directories, and starts nothing.
    pub(crate) fn prepare(options: NodeOptions) -> Self {
        let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let own = options.host.map(|host| {
            let at = |port| SocketAddr::from((host, port));
            (at(5000), at(5001))
        });
        let (address, admin_address) = own.unwrap_or_else(free_addresses);
        let data_dir = options.data_dir.clone();
        Self {
            child: None,
            options,
            address,
            admin_address,
            data_dir: data_dir.unwrap_or_else(|| directory.path().join("data")),
            log: directory.path().join("log"),
            _directory: directory,
        }
    }

    /// Starts the process without waiting for it.
    pub(crate) fn spawn(&mut self) {
        assert!(self.child.is_none(), "the node runs already");
        gathered::allow_core_files();
        self.gather_configuration();
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .expect("a log");
        let mut command = self.command();
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log);
        self.child = Some(command.spawn().expect("the binary starts"));
    }

    /// The command line that starts this node.
    pub(crate) fn command(&self) -> Command {
        let default = PathBuf::from(env!("CARGO_BIN_EXE_windlass"));
        let binary = self.options.binary.clone().unwrap_or(default);
        let mut words = self.options.wrapper.iter();
        let mut command = match words.next() {
            None => Command::new(binary),
            Some(first) => {
                let mut command = Command::new(first);
                command.args(words).arg(binary);
                command
            }
        };
        // The tests' own variables would be unknown keys to the node.
        let ours = std::env::vars_os().map(|(name, _)| name);
        for name in ours.filter(|name| name.as_encoded_bytes().starts_with(b"WINDLASS_")) {
            command.env_remove(name);
        }
        command
            .arg("serve")
            .args(["--listen", &self.address.to_string()])
            .args(["--admin-listen", &self.admin_listen().to_string()])
            .arg("--data-dir")
            .arg(&self.data_dir)
            .args(&self.options.arguments)
            .envs(insecure(self.address))
            .envs(
                self.options
                    .environment
                    .iter()
                    .map(|(name, value)| (name, value)),
            );
        command
    }

    /// Has the node run otherwise from its next start on: another program, say.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut NodeOptions)) {
        change(&mut self.options);
    }

    /// Waits until `/readyz` says 200; a process that ends first fails the test.
    #[track_caller]
    pub(crate) fn wait_ready(&mut self) {
        let is_ready = wait_for(READY_MAX, || {
            if let Some(status) = self.exit_status() {
                panic!("the node ended with {status}:\n{}", self.log_tail());
            }
            let mut client = Client::new(self.admin_address);
            let answer = client.try_send(&Request::new("GET", "/readyz"));
            answer.is_ok_and(|response| response.status == 200)
        });
        assert!(is_ready, "not ready in {READY_MAX:?}:\n{}", self.log_tail());
    }

    /// Process id, while the process runs.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("the node runs").id()
    }

    /// Ends the process at once, as a power button does, and reaps it.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// Asks the process to end.
    pub(crate) fn signal_end(&self) {
        let child = self.child.as_ref().expect("the node runs");
        kill_process(Pid::from_child(child), Signal::TERM).expect("the process takes a signal");
    }

    /// Asks the process to end and waits at most `patience` for it.
    #[track_caller]
    pub(crate) fn terminate(&mut self, patience: Duration) -> ExitStatus {
        self.signal_end();
        self.wait_end(patience)
    }

    /// Waits at most `patience` for the process to end by itself.
    #[track_caller]
    pub(crate) fn wait_end(&mut self, patience: Duration) -> ExitStatus {
        let mut status = None;
        wait_for(patience, || {
            status = self.exit_status();
            status.is_some()
        });
        let Some(status) = status else {
            panic!(
                "the node still runs after {patience:?}:\n{}",
                self.log_tail()
            );
        };
        self.child = None;
        status
    }

    /// Starts the process again on the same directory and addresses.
    #[track_caller]
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.spawn();
        self.wait_ready();
    }

    /// Whether the process runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.is_some() && self.exit_status().is_none()
    }

    /// Everything the process has written to its outputs.
    pub(crate) fn log_text(&self) -> String {
        let bytes = fs::read_to_string(&self.log);
        bytes.unwrap_or_default()
    }

    /// The largest resident size so far, in bytes.
    pub(crate) fn resident_bytes_peak(&self) -> u64 {
        self.status_bytes("VmHWM:")
    }

    /// The resident size now, in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.status_bytes("VmRSS:")
    }

    /// The files below `folder` of the data directory, for looking at leftovers.
    pub(crate) fn files(&self, folder: &str) -> Vec<PathBuf> {
        let mut files = Vec::new();
        collect_files(&self.data_dir.join(folder), &mut files);
        files.sort();
        files
    }

    /// The files of upload sessions; the key that signs their ids is none.
    pub(crate) fn upload_files(&self) -> Vec<PathBuf> {
        let mut files = self.files("uploads");
        files.retain(|path| path.extension().is_some());
        files
    }

    /// Keeps the secrets that the node was given; says where its audit file is.
    fn gather_configuration(&self) -> Option<PathBuf> {
        let mut audit = None;
        for (name, value) in &self.options.environment {
            gathered::variable(name, value);
            if name == "WINDLASS_AUDIT__FILE" {
                audit = Some(PathBuf::from(value));
            }
        }
        let words = self.options.arguments.windows(2);
        for file in words.filter(|pair| pair[0] == "--config") {
            let said = gathered::configuration(Path::new(&file[1]));
            audit = audit.or(said);
        }
        audit
    }

    /// Keeps what the node showed, and its own secrets.
    fn gather(&mut self) {
        let Some(folder) = gathered::folder() else {
            return;
        };
        let name = gathered::name();
        gathered::keys(&self.data_dir);
        gathered::shown(&self.log, &format!("{name}.log"));
        if let Some(audit) = self.gather_configuration() {
            gathered::shown(&audit, &format!("{name}.audit"));
        }
        if self.is_running() {
            let mut client = Client::with_patience(self.admin_address, LAST_WORD_MAX);
            if let Ok(page) = client.try_send(&Request::new("GET", "/metrics")) {
                drop(fs::write(folder.join(format!("{name}.metrics")), page.body));
            }
        }
    }

    fn status_bytes(&self, key: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.expect("the process has a status");
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let kibibytes = line.and_then(|rest| rest.trim().strip_suffix(" kB"));
        kibibytes
            .expect("a size in kB")
            .parse::<u64>()
            .expect("a number")
            * 1024
    }

    fn exit_status(&mut self) -> Option<ExitStatus> {
        let child = self.child.as_mut()?;
        child.try_wait().expect("a child can be waited for")
    }

    fn log_tail(&self) -> String {
        let text = self.log_text();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of the node ---\n{}", self.log_tail());
        }
        self.gather();
        self.kill();
    }
}

/// Lets a node of a test serve everybody on an address that others could reach.
fn insecure(address: SocketAddr) -> Option<(&'static str, &'static str)> {
    (!address.ip().is_loopback()).then_some(("WINDLASS_AUTH__INSECURE", "true"))
}

/// Looks at `condition` until it holds or `patience` ends; says whether it held.
pub(crate) fn wait_for(patience: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if start.elapsed() > patience {
            return false;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// The address of the registry that every test of this process talks to:
/// `WINDLASS_TEST_TARGET`, or a node started with the first test.
///
/// The node cannot be dropped with the last test, so a small watcher ends it and
/// removes its directory when this process goes, however it goes.
pub(crate) fn shared_address() -> SocketAddr {
    static SHARED: OnceLock<SocketAddr> = OnceLock::new();
    *SHARED.get_or_init(|| {
        if let Ok(target) = std::env::var("WINDLASS_TEST_TARGET") {
            return target.parse().expect("WINDLASS_TEST_TARGET is host:port");
        }
        if let Ok(count) = std::env::var("WINDLASS_TEST_NODES") {
            let count = count.parse().expect("WINDLASS_TEST_NODES is a number");
            return shared_cluster(count);
        }
        let node = Node::start();
        let address = node.address;
        gathered::keys(&node.data_dir);
        let directory = node.data_dir.parent().expect("data has a parent");
        let script = "read -r line; kill -9 \"$1\"; cp \"$3\" \"$4\"; rm -rf \"$2\"";
        let watcher = Command::new("sh")
            .args(["-c", script, "watcher"])
            .arg(node.pid().to_string())
            .arg(directory)
            .arg(&node.log)
            .arg(kept_log())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        // Both live until the process ends; the end of the pipe is the signal.
        Box::leak(Box::new((watcher.expect("a shell"), node)));
        address
    })
}

/// The address of a proxy before a cluster of so many nodes; a watcher ends them
/// with this process.
fn shared_cluster(count: usize) -> SocketAddr {
    let cluster = super::cluster::Cluster::start(count);
    let mut words = Vec::new();
    for member in &cluster.nodes {
        gathered::keys(&member.node.data_dir);
        let log = member.node.log.display().to_string();
        words.extend([
            member.node.pid().to_string(),
            log,
            kept_log().display().to_string(),
        ]);
    }
    let script =
        "read -r line; while [ $# -gt 0 ]; do kill -9 \"$1\"; cp \"$2\" \"$3\"; shift 3; done";
    let watcher = Command::new("sh")
        .args(["-c", script, "watcher"])
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let address = super::proxy::round_robin(cluster.addresses());
    Box::leak(Box::new((watcher.expect("a shell"), cluster)));
    address
}

/// Where a watcher keeps the log of a node: nowhere, where nothing is gathered.
fn kept_log() -> PathBuf {
    let name = || format!("{}.log", gathered::name());
    gathered::folder().map_or_else(|| PathBuf::from("/dev/null"), |folder| folder.join(name()))
}

/// Two free ports on an address of this test process's own: many processes on
/// one machine test at the same time, and a listener that shares its port
/// (`SO_REUSEPORT`) would not notice another one.
fn free_addresses() -> (SocketAddr, SocketAddr) {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let host = Ipv4Addr::new(127, 77, high, low.clamp(1, 254));
    let probes = [(); 2].map(|()| TcpListener::bind((host, 0)).expect("a loopback port"));
    let [first, second] = probes.map(|probe| probe.local_addr().expect("a bound address"));
    (first, second)
}

fn collect_files(directory: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect_files(&path, files);
        } else {
            files.push(path);
        }
    }
}
