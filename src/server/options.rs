//! From the schema of the configuration to what each room wants to be told.

use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;

use crate::auth::CertificateName;
use crate::base::units::sector_floor;
use crate::config::{
    AckLevel, AllowanceSection, ByteSize, ClientIdentity, Config, KernelEncryption, ProxyWord,
};
use crate::net::KernelTls;
use crate::proxy::{Proxies, Word};
use crate::registry::DiskSpaceOptions;
use crate::telemetry::Metrics;
use crate::{api, exchange, quota, raft, registry, replication};

/// What the registry's and the operators' door are told.
pub(super) fn door_options(config: &Config) -> exchange::Options {
    let http = &config.http;
    exchange::Options {
        idle_timeout: http.idle_timeout.duration(),
        head_timeout: http.head_timeout.duration(),
        body_window: http.body_window.duration(),
        body_rate_bytes_min: http.body_rate_min.bytes(),
        write_stall_timeout: http.write_stall_timeout.duration(),
        ..exchange::Options::default()
    }
}

/// What the front door is told.
pub(super) fn api_options(config: &Config) -> api::Options {
    let public_url = config.public_url.as_ref();
    api::Options {
        public_url: public_url.map(|url| url.trim_end_matches('/').to_owned()),
    }
}

/// How much each client may ask.
pub(super) fn quota_options(config: &Config) -> quota::Options {
    let limits = &config.limits;
    quota::Options {
        address: allowance(&limits.address),
        subject: allowance(&limits.subject),
        exempt: limits.exempt_networks.clone(),
    }
}

fn allowance(section: &AllowanceSection) -> quota::Allowance {
    let rate = |per_second: NonZeroU32| quota::Rate {
        per_second: per_second.get(),
        burst: section.burst(per_second).get(),
    };
    quota::Allowance {
        rate: section.requests_per_second.map(rate),
        uploads_max: section.uploads_max.map(NonZeroU32::get),
    }
}

/// What the kernel is to encrypt. Asks it, the first time.
pub(super) fn kernel_tls(config: &Config) -> KernelTls {
    match config.tls.kernel {
        KernelEncryption::Auto => KernelTls::probed(),
        KernelEncryption::Off => KernelTls::off(),
    }
}

/// Which proxies are believed about their clients, if there are any.
pub(super) fn proxies(config: &Config) -> Option<Arc<Proxies>> {
    let word = match config.proxy.word {
        ProxyWord::XForwardedFor => Word::XForwardedFor,
        ProxyWord::Forwarded => Word::Forwarded,
        ProxyWord::ProxyProtocol => Word::ProxyProtocol,
    };
    let networks = &config.proxy.trusted;
    let proxies = || Arc::new(Proxies::new(networks, word));
    (!networks.is_empty()).then(proxies)
}

/// Which names in clients' certificates say who they are.
pub(super) fn identities(config: &Config) -> Arc<[CertificateName]> {
    let name = |kind: &ClientIdentity| match kind {
        ClientIdentity::Dns => CertificateName::Dns,
        ClientIdentity::Uri => CertificateName::Uri,
        ClientIdentity::Email => CertificateName::Email,
        ClientIdentity::CommonName => CertificateName::CommonName,
    };
    config.tls.client_identity.iter().map(name).collect()
}

/// What consensus and its journal are told.
pub(super) fn raft_options(config: &Config, metrics: Arc<Metrics>) -> raft::Options {
    let mut options = raft::Options::new(&config.data_dir, metrics);
    options.propose_timeout = config.journal.propose_timeout.duration();
    options.journal.log_cache_bytes = config.journal.log_cache.bytes();
    options.journal.state_cache_bytes = config.journal.state_cache.bytes();
    options.journal.memtable_bytes = config.journal.memtable.bytes();
    options
}

/// How node `node` copies blobs.
pub(super) fn replication_options(config: &Config, node: u64) -> replication::Options {
    let mut options = replication::Options::new(node);
    let cluster = &config.cluster;
    options.background_fetches_max = cluster.fetches_max;
    let rate = cluster.fetch_rate_max.map(ByteSize::bytes);
    options.background_bytes_per_second = rate.and_then(NonZeroU64::new);
    options.hold_timeout = cluster.ack_timeout.duration();
    options
}

/// On how many nodes a blob is durable before it is acknowledged.
pub(super) fn acknowledge(config: &Config) -> registry::AcknowledgeRules {
    let cluster = &config.cluster;
    let rules = cluster.ack_prefixes.iter();
    let rules = rules.map(|rule| (rule.prefix.clone(), level(rule.level)));
    registry::AcknowledgeRules {
        level: level(cluster.ack),
        prefixes: rules.collect(),
    }
}

const fn level(level: AckLevel) -> registry::Acknowledge {
    match level {
        AckLevel::One => registry::Acknowledge::One,
        AckLevel::Quorum => registry::Acknowledge::Quorum,
        AckLevel::All => registry::Acknowledge::All,
    }
}

/// When the disk counts as full.
pub(super) fn space_options(config: &Config) -> DiskSpaceOptions {
    DiskSpaceOptions {
        hard_mark_percent: config.storage.hard_percent,
        free_bytes_min: config.storage.hard_free.bytes(),
    }
}

/// Buffer memory of one shard, in whole sectors; `config` has checked that it fits.
pub(super) fn pool_bytes(config: &Config) -> u32 {
    let bytes = sector_floor(config.runtime.shard_pool.bytes());
    u32::try_from(bytes).expect("invariant: the configuration bounds a pool to 2 GiB")
}
