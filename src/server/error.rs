//! Why a node does not start, or did not end in order; and what the process
//! then exits with.

use super::tls_files::TlsFilesError;
use crate::{auth, blob, cluster, disk, guard, net, peer, raft, runtime, telemetry};

/// Exit code after a failure that a restart may cure.
pub(super) const EXIT_FAILURE_CODES: u8 = 1;

/// Exit code when the operator has to change something first. Source: `EX_CONFIG`
/// of sysexits.h.
pub(super) const EXIT_CONFIGURATION_CODES: u8 = 78;

/// Why the node does not serve.
#[derive(Debug, thiserror::Error)]
pub(super) enum ServerError {
    #[error("the log cannot be set up")]
    Log(#[from] telemetry::LogError),
    #[error("`audit.file` cannot be used")]
    Audit(#[from] telemetry::AuditError),
    #[error("this machine cannot run a node")]
    Preflight(#[from] runtime::PreflightError),
    #[error("the processors of this machine cannot be told")]
    Topology(#[from] runtime::TopologyError),
    #[error("the executors cannot be placed")]
    Plan(#[from] runtime::PlanError),
    #[error("signals cannot be caught")]
    Signals(#[from] runtime::SignalsError),
    #[error(
        "another process uses the data directory; stop it, or give this one its own `data_dir`"
    )]
    Locked(#[source] disk::Error),
    #[error("the data directory cannot be used")]
    Disk(#[from] disk::Error),
    #[error("the journal cannot be opened")]
    Journal(#[from] raft::OpenError),
    #[error("the journal cannot be started")]
    Raft(#[from] raft::StartError),
    #[error("the blob store cannot be opened")]
    Blobs(#[from] blob::OpenError),
    #[error("a thread cannot be started")]
    Background(#[from] runtime::BackgroundError),
    #[error("the watchdog cannot be started")]
    Watchdog(#[from] std::io::Error),
    #[error("the node cannot listen for other nodes; see `cluster.listen`")]
    ListenPeers(#[source] net::Error),
    #[error(
        "other nodes could not reach `{address}`; set `cluster.advertise` to a host and a port"
    )]
    NotReachable { address: String },
    #[error(
        "{} belongs to a cluster already: `windlass serve` starts this node of it",
        data_dir.display()
    )]
    MemberAlready { data_dir: std::path::PathBuf },
    #[error("node.json names no cluster")]
    ClusterId(#[from] peer::ClusterIdError),
    #[error("`cluster.secret` cannot be used")]
    Secret(#[from] peer::WeakSecret),
    #[error("`cluster.join_secret` cannot be used")]
    JoinSecret(#[source] peer::WeakSecret),
    #[error(
        "`cluster.listen` or another key of `cluster` says that this node is of a cluster, and {} \
         belongs to none: `windlass init` begins a cluster with this directory, `windlass join \
         ADDR --token-file FILE` makes an empty one a member; a member that lost its directory \
         is first taken out by `windlass cluster remove N` on another node; without such keys \
         the node runs alone",
        data_dir.display()
    )]
    NoMember { data_dir: std::path::PathBuf },
    #[error(
        "this is node {node} of a cluster, and its certificates are not in {}: put them back, \
         or set `cluster.security` and `cluster.ca_file` as they were; else take the node out by \
         `windlass cluster remove {node}` on another node, and join again with an empty directory",
        directory.display()
    )]
    NoCertificates {
        node: u64,
        directory: std::path::PathBuf,
    },
    #[error("the node was told to stop before there was a cluster")]
    Stopped,
    #[error("the TLS certificate cannot be used")]
    Tls(#[from] TlsFilesError),
    #[error("no certificate can be made for these names")]
    SelfSigned(#[from] net::SelfSignedError),
    #[error("{} is there already; remove it first, or choose another folder", path.display())]
    FileThere { path: std::path::PathBuf },
    #[error("the certificates of this node cannot be used")]
    Certificates(#[from] peer::FilesError),
    #[error("the certificates of this node cannot be used")]
    Material(#[from] peer::MaterialError),
    #[error("the authority of the cluster cannot be used")]
    Authorities(#[from] net::TlsMaterialError),
    #[error("the authority of the cluster cannot be used")]
    Authority(#[from] peer::AuthorityError),
    #[error("the join token cannot be used")]
    Token(#[from] peer::JoinTokenError),
    #[error("the cluster did not let this node in")]
    Join(#[from] cluster::JoinError),
    #[error("rules, users or keys of `auth` cannot be used")]
    Access(#[from] guard::KeeperError),
    #[error("the key in {} cannot sign tokens", path.display())]
    SigningKey {
        path: std::path::PathBuf,
        source: auth::SigningError,
    },
    #[error("the key that signs tokens cannot be made")]
    MakeSigningKey(#[from] auth::SigningError),
    #[error(
        "members with certificates of the operator need the same `auth.signing_key_file` on every node"
    )]
    NoSigningKey,
    #[error("this node's identity")]
    Identity(#[from] raft::IdentityError),
    #[error("an executor failed")]
    Executor(#[from] runtime::ExecutorError),
    #[error(
        "the node cannot listen; another process may have the address, see `listen` and `admin_listen`"
    )]
    Listen(#[from] net::Error),
    #[error("the applied state cannot be read")]
    State(#[from] crate::metadata::StateError),
    #[error("a part of the node ended without a word")]
    Vanished,
}

impl ServerError {
    /// The data directory could not be locked.
    pub(super) fn locked(error: disk::Error) -> Self {
        if error.is_locked() {
            Self::Locked(error)
        } else {
            Self::Disk(error)
        }
    }

    /// 78 when the operator has to change something first, else 1.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            // The reason says what to do.
            Self::Join(error) if error.is_final() => EXIT_CONFIGURATION_CODES,
            Self::Stopped => 0,
            Self::Log(_)
            | Self::Audit(_)
            | Self::Preflight(_)
            | Self::Plan(_)
            | Self::Locked(_)
            | Self::NotReachable { .. }
            | Self::MemberAlready { .. }
            | Self::ClusterId(_)
            | Self::Secret(_)
            | Self::JoinSecret(_)
            | Self::NoMember { .. }
            | Self::NoCertificates { .. }
            | Self::Tls(_)
            | Self::SelfSigned(_)
            | Self::FileThere { .. }
            | Self::Certificates(_)
            | Self::Material(_)
            | Self::Authorities(_)
            | Self::Authority(_)
            | Self::Token(_)
            | Self::Access(_)
            | Self::SigningKey { .. }
            | Self::MakeSigningKey(_)
            | Self::NoSigningKey
            | Self::Identity(_)
            | Self::Journal(_) => EXIT_CONFIGURATION_CODES,
            Self::Topology(_)
            | Self::Signals(_)
            | Self::Disk(_)
            | Self::Raft(_)
            | Self::Blobs(_)
            | Self::Background(_)
            | Self::Watchdog(_)
            | Self::Executor(_)
            | Self::Listen(_)
            | Self::ListenPeers(_)
            | Self::Join(_)
            | Self::State(_)
            | Self::Vanished => EXIT_FAILURE_CODES,
        }
    }
}
