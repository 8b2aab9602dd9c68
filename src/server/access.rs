//! What guards the registry's door: from the configuration to rules, users and keys.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use super::consensus::Consensus;
use super::error::ServerError;
use super::membership::Membership;
use super::options::{identities, quota_options};
use crate::auth::{Certified, Rules, SigningKey};
use crate::base::units::KIB;
use crate::config::{AuthMode, Config, IdentitySection, KeysAt, PeerSecurity, Secret};
use crate::disk::{
    create_directories_synced, read_small_file_blocking, write_file_synced_blocking,
};
use crate::exchange::identify;
use crate::guard::{
    BookError, IdentityIssuer, Keeper, KeyFetch, KeyPace, KeysFrom, Mode, Options, Robots, Shared,
    TokenServer, UsersOptions, read_rules,
};
use crate::metadata;
use crate::net::PeerCertificate;
use crate::peer::read_key_file;
use crate::quota::Quotas;
use crate::runtime::Background;
use crate::telemetry::{AuditLog, Metrics};

/// Longest file with a key.
const KEY_BYTES_MAX: u32 = 64 * KIB;
/// Where clients get tokens, below the registry's own URL.
const TOKEN_PATH: &str = "/token";

/// What every shard needs to let clients in. Cheap to clone; crosses threads.
#[derive(Clone)]
pub(super) struct Access {
    /// Who may do what.
    pub(super) guard: Shared,
    /// How much of it.
    pub(super) quotas: Quotas,
    /// Where it is written down.
    pub(super) audit: AuditLog,
}

/// Reads rules, users and keys, and begins to watch their files.
pub(super) fn start_keeper(
    (config, audit): (&Config, &AuditLog),
    consensus: &Consensus,
    metrics: &Arc<Metrics>,
    background: &Background,
) -> Result<(Keeper, Access), ServerError> {
    let auth = &config.auth;
    if auth.mode == AuthMode::None && !config.listen.ip().is_loopback() {
        tracing::warn!(listen = %config.listen, "`auth.insecure` is set: whoever reaches this address may push, pull and delete");
    }
    if let Some(realm) = realm_of_others(config) {
        tracing::warn!(
            realm,
            "clients are sent to `auth.realm`: users of this registry who log in show their passwords there, unless it is {TOKEN_PATH} of this registry"
        );
    }
    let signer = match auth.mode {
        AuthMode::Users => Some(signer(config, consensus.membership.as_ref())?),
        AuthMode::None | AuthMode::Token => None,
    };
    let journal = consensus.journal.clone();
    let robots = Robots::new(move |id| metadata::robot(&journal.view(), id));
    let (keeper, guard) = Keeper::start(options(config, signer), robots, metrics, background)?;
    let quotas = Quotas::new(&quota_options(config));
    let access = Access {
        guard,
        quotas,
        audit: audit.clone(),
    };
    Ok((keeper, access))
}

/// What the guard is told; without a signing key no tokens are made.
fn options(config: &Config, signer: Option<SigningKey>) -> Options {
    let auth = &config.auth;
    let service: Box<str> = auth.service.as_str().into();
    let mode = match (auth.mode, signer) {
        (AuthMode::None, _) | (AuthMode::Users, None) => Mode::None,
        (AuthMode::Token, _) => Mode::Token(token_server(config)),
        (AuthMode::Users, Some(signer)) => Mode::Users(UsersOptions {
            realm: realm(config).map(Into::into),
            other: auth
                .has_token_server()
                .then(|| Box::new(token_server(config))),
            users: auth.users.iter().map(|line| line.reveal().into()).collect(),
            users_file: auth.users_file.clone(),
            identities: auth
                .identities
                .iter()
                .map(|one| identity(config, one))
                .collect(),
            signer,
            token_life: auth.token_life.duration(),
            refresh_life: auth.refresh_life.duration(),
        }),
    };
    Options {
        mode,
        service,
        rules: auth.rules(),
        rules_file: auth.rules_file.clone(),
    }
}

/// The other server whose tokens are taken.
fn token_server(config: &Config) -> TokenServer {
    let auth = &config.auth;
    let named = auth.audiences.iter().map(|text| text.as_str().into());
    TokenServer {
        realm: auth.realm.as_deref().unwrap_or_default().into(),
        issuer: auth.issuer.as_deref().unwrap_or_default().into(),
        audiences: if auth.audiences.is_empty() {
            vec![auth.service.as_str().into()]
        } else {
            named.collect()
        },
        keys: keys(config, auth.keys_at()),
    }
}

/// An issuer of identities; they are for this registry's own URL unless it says otherwise.
fn identity(config: &Config, section: &IdentitySection) -> IdentityIssuer {
    let own = config
        .public_url
        .iter()
        .map(|url| url.trim_end_matches('/').into());
    let named = section.audiences.iter().map(|text| text.as_str().into());
    IdentityIssuer {
        name: section.name.as_str().into(),
        issuer: section.issuer.as_str().into(),
        audiences: if section.audiences.is_empty() {
            own.collect()
        } else {
            named.collect()
        },
        keys: keys(config, section.keys_at()),
    }
}

/// Where the keys of an issuer come from: its files, or the issuer itself.
fn keys(config: &Config, at: KeysAt<'_>) -> KeysFrom {
    if !at.files.is_empty() {
        return KeysFrom::Files(at.files.to_vec());
    }
    let jwks = &config.auth.jwks;
    KeysFrom::Issuer(KeyFetch {
        url: at.url.map(Into::into),
        ca_file: at.ca_file.map(Into::into),
        token_file: at.token_file.map(Into::into),
        is_loopback_http_allowed: jwks.allow_loopback_http,
        pace: KeyPace {
            fresh_min: jwks.fresh_min.duration(),
            fresh_max: jwks.fresh_max.duration(),
            ask_pause: jwks.ask_pause.duration(),
            stale_max: jwks.stale_max.duration(),
        },
    })
}

/// The rules that the configuration and its file hold, for a command that asks.
pub fn rules(config: &Config) -> Result<Rules, BookError> {
    read_rules(&options(config, None))
}

/// Who the owner of a certificate is, as the configuration says; for a command that asks.
#[must_use]
pub fn certified(certificate: PeerCertificate, config: &Config) -> Option<Certified> {
    identify(certificate, &identities(config))
}

/// Where clients get tokens, as far as the configuration says.
fn realm(config: &Config) -> Option<String> {
    let own = |url: &String| format!("{}{TOKEN_PATH}", url.trim_end_matches('/'));
    let named = config.auth.realm.clone();
    named.or_else(|| config.public_url.as_ref().map(own))
}

/// Where clients of a registry with users are sent, when that is not here.
fn realm_of_others(config: &Config) -> Option<&str> {
    let auth = &config.auth;
    let has_users =
        !auth.users.is_empty() || auth.users_file.is_some() || !auth.identities.is_empty();
    let realm = auth.realm.as_deref()?;
    let is_here = |own: &String| realm == format!("{}{TOKEN_PATH}", own.trim_end_matches('/'));
    let is_other = auth.mode == AuthMode::Users
        && auth.has_token_server()
        && !config.public_url.as_ref().is_some_and(is_here)
        && realm != realm_at(config.listen, config.tls.certificate_file.is_some());
    (has_users && is_other).then_some(realm)
}

/// Where clients get tokens when nothing says so: at the address of the registry.
pub(super) fn realm_at(address: SocketAddr, is_tls: bool) -> String {
    let scheme = if is_tls { "https" } else { "http" };
    format!("{scheme}://{address}{TOKEN_PATH}")
}

/// The key that signs tokens. All members of a cluster have the same one, so that each
/// takes the tokens of every other: they derive it from the secret that makes them
/// members.
fn signer(config: &Config, membership: Option<&Membership>) -> Result<SigningKey, ServerError> {
    if let Some(path) = &config.auth.signing_key_file {
        let key = read_key_file(path)?;
        return SigningKey::of_pem(&key).map_err(|source| ServerError::SigningKey {
            path: path.clone(),
            source,
        });
    }
    let Some(membership) = membership else {
        return own_signer(&config.data_dir.join("auth"));
    };
    let secret = match (&membership.authority, config.cluster.security) {
        (Some(authority), _) => authority.key().as_bytes(),
        (None, PeerSecurity::Plain) => {
            let secret = config.cluster.secret.as_ref();
            secret.map_or("", Secret::reveal).as_bytes()
        }
        (None, PeerSecurity::Tls) => return Err(ServerError::NoSigningKey),
    };
    Ok(SigningKey::derived(secret.trim_ascii())?)
}

/// The key of a node that runs alone; made at the first start.
fn own_signer(directory: &Path) -> Result<SigningKey, ServerError> {
    let path = directory.join("token.key");
    if read_small_file_blocking(&path, KEY_BYTES_MAX)?.is_none() {
        create_directories_synced(directory)?;
        write_file_synced_blocking(&path, SigningKey::generate_pem()?.as_bytes())?;
    }
    let key = read_key_file(&path)?;
    SigningKey::of_pem(&key).map_err(|source| ServerError::SigningKey { path, source })
}
