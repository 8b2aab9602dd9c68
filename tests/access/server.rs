//! A token server of the tests' own, as far as it is a key and claims; and nodes that
//! trust it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{NodeOptions, Request};

pub(crate) const REALM: &str = "https://auth.example.org/token";
pub(crate) const SERVICE: &str = "registry.example.org";
/// A cheap hash (bcrypt of cost 4) of `sesame`.
pub(crate) const HASH: &str = "$2b$04$/A30yEJFPP44kizfGSyG..OFyoCm2ol/RNYNhOb8CIqy3wEEe6k/i";
const ISSUER: &str = "auth.example.org";
const KEY: &[u8] = include_bytes!("../fixtures/auth/ec.key");
const OTHER_KEY: &[u8] = include_bytes!("../fixtures/auth/other.key");

pub(crate) fn now_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// Options of a node with a configuration file, which lives as long as the folder.
pub(crate) fn configured(text: &str) -> (TempDir, NodeOptions) {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("windlass.toml");
    fs::write(&path, text).unwrap();
    // Users may stand in it.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let arguments = vec!["--config".to_owned(), path.display().to_string()];
    let options = NodeOptions {
        arguments,
        ..NodeOptions::default()
    };
    (home, options)
}

/// Configuration of a node that trusts the server; `more` follows in `[auth]`.
pub(crate) fn trusting(more: &str) -> String {
    let key = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/auth/ec.crt");
    format!(
        "[auth]\nmode = 'token'\nrealm = '{REALM}'\nservice = '{SERVICE}'\nissuer = '{ISSUER}'\n\
         key_files = ['{key}']\n{more}"
    )
}

/// Who makes tokens, and where clients are sent for them.
#[derive(Clone)]
pub(crate) struct TokenMaker {
    pub(crate) realm: String,
    pub(crate) service: &'static str,
    pub(crate) issuer: &'static str,
    /// Whether that is the registry itself.
    pub(crate) is_here: bool,
}

impl TokenMaker {
    /// The other server.
    pub(crate) fn elsewhere() -> Self {
        Self {
            realm: REALM.to_owned(),
            service: SERVICE,
            issuer: ISSUER,
            is_here: false,
        }
    }

    /// The claims of a token for scopes such as `repository:a/b:pull`.
    pub(crate) fn claims(&self, scopes: &str) -> Value {
        let mut claims = claims(scopes);
        claims["iss"] = self.issuer.into();
        claims["aud"] = self.service.into();
        claims
    }
}

/// The claims of a token of the other server.
pub(crate) fn claims(scopes: &str) -> Value {
    let access = scopes.split_whitespace().map(|scope| {
        let (kind, rest) = scope.split_once(':').unwrap();
        let (name, actions) = rest.rsplit_once(':').unwrap();
        let actions: Vec<_> = actions.split(',').collect();
        json!({ "type": kind, "name": name, "actions": actions })
    });
    json!({ "iss": ISSUER, "aud": SERVICE, "sub": "bob", "exp": now_seconds() + 300,
        "access": access.collect::<Vec<_>>() })
}

/// Signs claims as the server does.
pub(crate) fn signed(claims: &Value) -> String {
    signed_by(KEY, claims)
}

/// Signs claims as a refresh token of a registry with that key.
pub(crate) fn refreshing(claims: &Value) -> String {
    let header = Header {
        typ: Some("windlass-refresh+jwt".to_owned()),
        ..Header::new(Algorithm::ES256)
    };
    encode(&header, claims, &EncodingKey::from_ec_pem(KEY).unwrap()).unwrap()
}

/// Signs claims as somebody does who is not trusted.
pub(crate) fn forged(claims: &Value) -> String {
    signed_by(OTHER_KEY, claims)
}

/// Puts a file in the place of another, whole.
pub(crate) fn put(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(beside, path).unwrap();
}

fn signed_by(key: &[u8], claims: &Value) -> String {
    let key = EncodingKey::from_ec_pem(key).unwrap();
    encode(&Header::new(Algorithm::ES256), claims, &key).unwrap()
}

/// A token of the server for scopes.
pub(crate) fn token(scopes: &str) -> String {
    signed(&claims(scopes))
}

/// A request that shows a token.
pub(crate) fn bearing(request: Request, token: &str) -> Request {
    request.header("Authorization", format!("Bearer {token}"))
}
