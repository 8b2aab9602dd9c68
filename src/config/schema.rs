//! Every key with its default. `deploy/windlass.toml` documents them for people;
//! `tests/config.rs` holds the two together.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::audit::AuditSection;
use super::auth::AuthSection;
use super::cluster::ClusterSection;
use super::limits::LimitsSection;
use super::tls::{ProxySection, TlsSection};
use super::units::{ByteSize, Period};
use crate::base::limits as bounds;
use crate::base::units::{GIB_BYTES, MIB};
use crate::telemetry::{LogFormat, LogOptions};

/// The whole configuration of a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address of the registry, for clients.
    pub listen: SocketAddr,
    /// Address of metrics and probes, for operators.
    pub admin_listen: SocketAddr,
    /// Folder that holds everything this node stores.
    pub data_dir: PathBuf,
    /// URL under which clients reach the registry; prefix of every `Location`.
    /// Without it a `Location` is a path.
    pub public_url: Option<String>,
    /// TLS for clients.
    pub tls: TlsSection,
    /// Proxies before this node.
    pub proxy: ProxySection,
    /// The log.
    pub log: LogSection,
    /// Executors and memory.
    pub runtime: RuntimeSection,
    /// Deadlines of connections.
    pub http: HttpSection,
    /// The journal and the state.
    pub journal: JournalSection,
    /// Room on the disk.
    pub storage: StorageSection,
    /// What may be deleted.
    pub delete: DeleteSection,
    /// Who may do what.
    pub auth: AuthSection,
    /// What is written down of who did what.
    pub audit: AuditSection,
    /// How much each client may ask.
    pub limits: LimitsSection,
    /// Other nodes.
    pub cluster: ClusterSection,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 5000)),
            admin_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 5001)),
            data_dir: PathBuf::from("./windlass-data"),
            public_url: None,
            tls: TlsSection::default(),
            proxy: ProxySection::default(),
            log: LogSection::default(),
            runtime: RuntimeSection::default(),
            http: HttpSection::default(),
            journal: JournalSection::default(),
            storage: StorageSection::default(),
            delete: DeleteSection::default(),
            auth: AuthSection::default(),
            audit: AuditSection::default(),
            limits: LimitsSection::default(),
            cluster: ClusterSection::default(),
        }
    }
}

impl Config {
    /// The defaults, and an example of every key that has none: the list of all
    /// keys there are.
    #[must_use]
    pub fn with_every_key() -> Self {
        Self {
            public_url: Some("https://registry.example.org".to_owned()),
            runtime: RuntimeSection {
                shards: Some(2),
                raft_cpu: Some(0),
                ..RuntimeSection::default()
            },
            auth: AuthSection::with_every_key(),
            audit: AuditSection::with_every_key(),
            limits: LimitsSection::with_every_key(),
            tls: TlsSection::with_every_key(),
            cluster: ClusterSection::with_every_key(),
            ..Self::default()
        }
    }

    /// As TOML; what `check-config` prints.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("invariant: every key is a TOML value")
    }
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSection {
    /// A level, or a level and directives per module.
    pub filter: String,
    /// How a line looks.
    #[serde(with = "LogFormatName")]
    pub format: LogFormat,
}

impl LogSection {
    /// What the log asks for.
    #[must_use]
    pub fn options(&self) -> LogOptions {
        LogOptions {
            filter: self.filter.clone(),
            format: self.format,
        }
    }
}

impl Default for LogSection {
    fn default() -> Self {
        Self {
            filter: "info".to_owned(),
            format: LogFormat::Auto,
        }
    }
}

/// The names of [`LogFormat`] in the configuration.
#[derive(Serialize, Deserialize)]
#[serde(remote = "LogFormat", rename_all = "lowercase")]
enum LogFormatName {
    Auto,
    Text,
    Json,
}

/// `[runtime]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RuntimeSection {
    /// Executors that accept connections; by default chosen from the CPUs.
    pub shards: Option<usize>,
    /// CPU of the raft core; by default chosen from the CPUs.
    pub raft_cpu: Option<usize>,
    /// Pooled buffer memory of each shard.
    pub shard_pool: ByteSize,
    /// An executor that stands still for this long ends the process.
    pub stall_max: Period,
    /// Requests in flight may take this long after the signal to stop.
    pub shutdown_grace: Period,
    /// Whether a crash may leave a core file, with all secrets in it.
    pub core_dumps: bool,
}

impl Default for RuntimeSection {
    fn default() -> Self {
        Self {
            shards: None,
            raft_cpu: None,
            shard_pool: ByteSize::new(u64::from(bounds::POOL_BYTES_DEFAULT)),
            stall_max: Period::new(bounds::WATCHDOG_STALL_MAX),
            shutdown_grace: Period::new(bounds::SHUTDOWN_GRACE),
            core_dumps: false,
        }
    }
}

/// `[http]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSection {
    /// A request head must be complete within this time.
    pub head_timeout: Period,
    /// Window over which the rate of a request body is averaged.
    pub body_window: Period,
    /// Slowest request body, per second.
    pub body_rate_min: ByteSize,
    /// A client that takes nothing of its answer for this long is cut.
    pub write_stall_timeout: Period,
    /// An idle connection is closed after this time.
    pub idle_timeout: Period,
    /// Connections one shard holds.
    pub shard_connections_max: usize,
}

impl Default for HttpSection {
    fn default() -> Self {
        Self {
            head_timeout: Period::new(bounds::HEAD_TIMEOUT),
            body_window: Period::new(bounds::BODY_WINDOW),
            body_rate_min: ByteSize::new(bounds::BODY_RATE_BYTES_MIN),
            write_stall_timeout: Period::new(bounds::WRITE_STALL_TIMEOUT),
            idle_timeout: Period::new(bounds::IDLE_TIMEOUT),
            shard_connections_max: bounds::SHARD_CONNECTIONS_MAX,
        }
    }
}

/// `[journal]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JournalSection {
    /// A write waits this long for a leader, and for its outcome.
    pub propose_timeout: Period,
    /// Memory for blocks of the log.
    pub log_cache: ByteSize,
    /// Memory for blocks of the state, which every request reads.
    pub state_cache: ByteSize,
    /// Memory table of each database before it goes to disk.
    pub memtable: ByteSize,
}

impl Default for JournalSection {
    fn default() -> Self {
        Self {
            propose_timeout: Period::new(bounds::PROPOSE_TIMEOUT),
            log_cache: ByteSize::new(u64::from(2 * MIB)),
            state_cache: ByteSize::new(u64::from(16 * MIB)),
            memtable: ByteSize::new(u64::from(16 * MIB)),
        }
    }
}

/// `[storage]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StorageSection {
    /// From this fill level on, uploads are answered 507.
    pub hard_percent: u8,
    /// With less free room than this, uploads are answered 507.
    pub hard_free: ByteSize,
}

impl Default for StorageSection {
    fn default() -> Self {
        Self {
            hard_percent: 95,
            hard_free: ByteSize::new(2 * GIB_BYTES),
        }
    }
}

/// `[delete]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeleteSection {
    /// Whether clients may delete manifests, tags and blobs.
    pub enabled: bool,
}

impl Default for DeleteSection {
    fn default() -> Self {
        Self { enabled: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_read_back_from_their_own_toml() {
        for config in [Config::default(), Config::with_every_key()] {
            assert_eq!(toml::from_str::<Config>(&config.to_toml()), Ok(config));
        }
    }

    #[test]
    fn the_defaults_are_reachable_from_this_machine_only() {
        let config = Config::default();
        assert!(config.listen.ip().is_loopback());
        assert!(config.admin_listen.ip().is_loopback());
    }
}
