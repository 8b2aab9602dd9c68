//! Values that are well formed but cannot work, alone or together. Pure.

use std::fmt::Display;
use std::time::Duration;

use super::auth::AuthMode;
use super::check_cluster::check_cluster;
use super::error::ConfigError;
use super::schema::Config;
use super::tls::TlsSection;
use super::units::{ByteSize, Period};
use crate::base::limits::MOVE_BYTES_MAX;
use crate::base::units::GIB_BYTES;

/// Smallest pool that lets one upload and one download move at full speed.
const SHARD_POOL_BYTES_MIN: u64 = 8 * MOVE_BYTES_MAX as u64;
/// Largest pool of one shard; sizes of memory regions are 32 bits.
const SHARD_POOL_BYTES_MAX: u64 = 2 * GIB_BYTES;
/// Below this a healthy executor on a busy machine would be taken for dead.
const STALL_MIN: Duration = Duration::from_secs(1);

/// Finds the first value that cannot work.
pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    check_addresses(config)?;
    check_tls(&config.tls)?;
    check_identity(config)?;
    check_runtime(config)?;
    check_http(config)?;
    check_storage(config)?;
    check_cluster(&config.cluster)?;
    super::auth::check(config)?;
    super::limits::check(&config.limits)?;
    config.log.options().check().map_err(|error| {
        let value = format!("\"{}\"", config.log.filter);
        impossible("log.filter", value, error.to_string())
    })
}

fn check_addresses(config: &Config) -> Result<(), ConfigError> {
    let is_fixed = config.listen.port() != 0;
    if is_fixed && config.listen == config.admin_listen {
        let remedy = "it is the address of `listen` too; give it a port of its own";
        return Err(impossible("admin_listen", config.admin_listen, remedy));
    }
    if let Some(url) = &config.public_url
        && !is_base_url(url)
    {
        let remedy = "write http:// or https://, a host, and no slash at the end";
        return Err(impossible("public_url", format!("\"{url}\""), remedy));
    }
    if config.data_dir.as_os_str().is_empty() {
        return Err(impossible("data_dir", "\"\"", "name a folder"));
    }
    Ok(())
}

/// Whether `url` can be put before a path and stays one header value.
pub(super) fn is_base_url(url: &str) -> bool {
    let rest = ["http://", "https://"]
        .iter()
        .find_map(|scheme| url.strip_prefix(scheme));
    rest.is_some_and(|rest| {
        !rest.is_empty()
            && !rest.starts_with(['/', ':'])
            && !rest.ends_with('/')
            && rest.bytes().all(|byte| byte.is_ascii_graphic())
            && !rest.contains(['?', '#', '"', '<', '>', '@', '\\'])
    })
}

fn check_tls(tls: &TlsSection) -> Result<(), ConfigError> {
    let has_certificate = tls.certificate_file.is_some();
    if has_certificate != tls.key_file.is_some() {
        let remedy = "name `certificate_file` and `key_file`, or neither for plain HTTP";
        return Err(impossible("tls.certificate_file", "not alone", remedy));
    }
    let remedy = "without `tls.certificate_file` there is no TLS to do that in";
    if tls.client_ca_file.is_some() && !has_certificate {
        return Err(impossible("tls.client_ca_file", "not alone", remedy));
    }
    if tls.admin && !has_certificate {
        return Err(impossible("tls.admin", tls.admin, remedy));
    }
    Ok(())
}

/// Whoever says by what certificates name their owners believes that it counts.
fn check_identity(config: &Config) -> Result<(), ConfigError> {
    if config.tls.client_identity.is_empty() {
        return Ok(());
    }
    let key = "tls.client_identity";
    if config.tls.client_ca_file.is_none() {
        let remedy = "without `tls.client_ca_file` nobody vouches for certificates of clients";
        return Err(impossible(key, "given", remedy));
    }
    if config.auth.mode == AuthMode::None {
        let remedy = "with `auth.mode = \"none\"` nobody is asked who they are: set `auth.mode` to \"users\" or \"token\", or remove the key";
        return Err(impossible(key, "given", remedy));
    }
    Ok(())
}

fn check_runtime(config: &Config) -> Result<(), ConfigError> {
    let runtime = &config.runtime;
    if runtime.shards == Some(0) {
        let remedy = "ask for at least 1, or leave the key out";
        return Err(impossible("runtime.shards", 0, remedy));
    }
    let pool_bytes = runtime.shard_pool.bytes();
    if !(SHARD_POOL_BYTES_MIN..=SHARD_POOL_BYTES_MAX).contains(&pool_bytes) {
        let low = ByteSize::new(SHARD_POOL_BYTES_MIN);
        let high = ByteSize::new(SHARD_POOL_BYTES_MAX);
        let remedy = format!("it must lie between {low} and {high}");
        return Err(impossible("runtime.shard_pool", runtime.shard_pool, remedy));
    }
    if runtime.stall_max.duration() < STALL_MIN {
        let remedy = "a busy machine needs at least 1s";
        return Err(impossible("runtime.stall_max", runtime.stall_max, remedy));
    }
    Ok(())
}

fn check_http(config: &Config) -> Result<(), ConfigError> {
    let http = &config.http;
    let times: [(&'static str, Period); 5] = [
        ("http.head_timeout", http.head_timeout),
        ("http.body_window", http.body_window),
        ("http.write_stall_timeout", http.write_stall_timeout),
        ("http.idle_timeout", http.idle_timeout),
        ("journal.propose_timeout", config.journal.propose_timeout),
    ];
    for (key, period) in times {
        if period.duration().is_zero() {
            return Err(impossible(key, period, "no request would ever be answered"));
        }
    }
    if http.shard_connections_max == 0 {
        let remedy = "no client could ever connect; ask for at least 1";
        return Err(impossible("http.shard_connections_max", 0, remedy));
    }
    Ok(())
}

fn check_storage(config: &Config) -> Result<(), ConfigError> {
    let storage = &config.storage;
    if !(1..=100).contains(&storage.hard_percent) {
        let remedy = "a fill level lies between 1 and 100";
        return Err(impossible(
            "storage.hard_percent",
            storage.hard_percent,
            remedy,
        ));
    }
    Ok(())
}

pub(super) fn impossible(
    key: &'static str,
    value: impl Display,
    remedy: impl Into<String>,
) -> ConfigError {
    ConfigError::Impossible {
        key,
        value: value.to_string(),
        remedy: remedy.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AuthMode;

    #[test]
    fn the_defaults_work() {
        assert!(check(&Config::default()).is_ok());
        let mut every_key = Config::with_every_key();
        // Shown as hidden, which is shorter than any that works.
        every_key.cluster.join_secret = None;
        every_key.auth.mode = AuthMode::Users;
        check(&every_key).unwrap();
    }

    #[test]
    fn values_that_cannot_work_are_named_with_their_remedy() {
        let rows = [
            ("admin_listen = '127.0.0.1:5000'", "admin_listen"),
            ("public_url = 'registry.example.org'", "public_url"),
            ("public_url = 'https://a/'", "public_url"),
            ("public_url = \"https://a\\r\\nX: y\"", "public_url"),
            ("data_dir = ''", "data_dir"),
            ("tls.key_file = '/k'", "tls.certificate_file"),
            ("tls.client_ca_file = '/c'", "tls.client_ca_file"),
            ("tls.admin = true", "tls.admin"),
            ("tls.client_identity = ['dns']", "tls.client_identity"),
            (
                "[tls]\ncertificate_file = '/c'\nkey_file = '/k'\nclient_ca_file = '/a'\nclient_identity = ['uri']",
                "tls.client_identity",
            ),
            ("runtime.shards = 0", "runtime.shards"),
            ("runtime.shard_pool = '64KiB'", "runtime.shard_pool"),
            ("runtime.shard_pool = '1TiB'", "runtime.shard_pool"),
            ("runtime.stall_max = '10ms'", "runtime.stall_max"),
            ("http.idle_timeout = '0s'", "http.idle_timeout"),
            (
                "http.shard_connections_max = 0",
                "http.shard_connections_max",
            ),
            ("storage.hard_percent = 101", "storage.hard_percent"),
            ("log.filter = 'loud'", "log.filter"),
            ("listen = '0.0.0.0:5000'", "listen"),
        ];
        for (text, key) in rows {
            let config: Config = toml::from_str(text).unwrap();
            let message = check(&config).expect_err(text).to_string();
            assert!(message.starts_with(&format!("`{key}` is ")), "{message}");
        }
    }
}
