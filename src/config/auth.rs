//! `[auth]`: who may do what.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::{impossible, is_base_url};
use super::cluster::Secret;
use super::error::ConfigError;
use super::jwks::{JwksSection, KeysAt};
use super::schema::Config;
use super::units::Period;
use crate::auth::Rules;

/// Shortest life of a token: clients take less for a mistake, and one that pushes a
/// large image would ask all the time. Source: distribution, "Token Authentication
/// Specification", `expires_in`.
const TOKEN_LIFE_MIN: Duration = Duration::from_secs(60);
/// A token cannot be called back; whoever wants a long life wants a refresh token.
const TOKEN_LIFE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// How callers prove themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// Nobody is asked; everybody may everything.
    None,
    /// By tokens of another server.
    Token,
    /// By passwords of users, and by tokens that this registry makes for them.
    Users,
}

/// An entry of `identities`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentitySection {
    /// User name that goes with its identities.
    pub name: String,
    /// `iss` of its tokens.
    pub issuer: String,
    /// Audiences that its tokens may be for; `public_url` when empty.
    #[serde(default)]
    pub audiences: Vec<String>,
    /// Its public keys.
    #[serde(default)]
    pub key_files: Vec<PathBuf>,
    /// Address of its JSON Web Key Set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_url: Option<String>,
    /// Authorities that vouch for the server there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_ca_file: Option<PathBuf>,
    /// What that server is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_token_file: Option<PathBuf>,
}

/// `[auth]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthSection {
    /// How callers prove themselves.
    pub mode: AuthMode,
    /// Whether to serve everybody on an address that others can reach.
    pub insecure: bool,
    /// Name of this registry for token servers and in tokens.
    pub service: String,
    /// URL where clients get tokens.
    pub realm: Option<String>,
    /// Issuer of the tokens of the other server.
    pub issuer: Option<String>,
    /// Audiences that its tokens may be for; `service` when empty.
    pub audiences: Vec<String>,
    /// Its public keys.
    pub key_files: Vec<PathBuf>,
    /// Address of its JSON Web Key Set.
    pub jwks_url: Option<String>,
    /// Authorities that vouch for the server there.
    pub jwks_ca_file: Option<PathBuf>,
    /// What that server is shown.
    pub jwks_token_file: Option<PathBuf>,
    /// How fetched keys are kept.
    pub jwks: JwksSection,
    /// Users, as `name:hash`.
    pub users: Vec<Secret>,
    /// A file with more of them.
    pub users_file: Option<PathBuf>,
    /// Issuers of signed identities that are taken as passwords.
    pub identities: Vec<IdentitySection>,
    /// Key that signs tokens made here.
    pub signing_key_file: Option<PathBuf>,
    /// How long a token made here holds.
    pub token_life: Period,
    /// How long a refresh token made here holds.
    pub refresh_life: Period,
    /// Who may do what.
    pub rules: Vec<toml::Value>,
    /// A file with more rules.
    pub rules_file: Option<PathBuf>,
}

impl Default for AuthSection {
    fn default() -> Self {
        Self {
            mode: AuthMode::None,
            insecure: false,
            service: "windlass".to_owned(),
            realm: None,
            issuer: None,
            audiences: Vec::new(),
            key_files: Vec::new(),
            jwks_url: None,
            jwks_ca_file: None,
            jwks_token_file: None,
            jwks: JwksSection::default(),
            users: Vec::new(),
            users_file: None,
            identities: Vec::new(),
            signing_key_file: None,
            token_life: Period::new(Duration::from_secs(5 * 60)),
            refresh_life: Period::new(Duration::from_secs(30 * 24 * 60 * 60)),
            rules: Vec::new(),
            rules_file: None,
        }
    }
}

impl IdentitySection {
    /// Where its keys are.
    #[must_use]
    pub fn keys_at(&self) -> KeysAt<'_> {
        KeysAt {
            issuer: &self.issuer,
            files: &self.key_files,
            url: self.jwks_url.as_deref(),
            ca_file: self.jwks_ca_file.as_deref(),
            token_file: self.jwks_token_file.as_deref(),
        }
    }
}

impl AuthSection {
    /// Where the keys of the other server are.
    #[must_use]
    pub fn keys_at(&self) -> KeysAt<'_> {
        KeysAt {
            issuer: self.issuer.as_deref().unwrap_or_default(),
            files: &self.key_files,
            url: self.jwks_url.as_deref(),
            ca_file: self.jwks_ca_file.as_deref(),
            token_file: self.jwks_token_file.as_deref(),
        }
    }

    /// Whether anything describes the other server.
    #[must_use]
    pub fn has_token_server(&self) -> bool {
        let of_keys = [&self.jwks_ca_file, &self.jwks_token_file];
        self.issuer.is_some()
            || self.jwks_url.is_some()
            || !self.audiences.is_empty()
            || !self.key_files.is_empty()
            || of_keys.iter().any(|file| file.is_some())
    }

    /// The rules, as the room that compiles them reads them.
    #[must_use]
    pub fn rules(&self) -> Vec<serde_json::Value> {
        let json = |rule| serde_json::to_value(rule).unwrap_or_default();
        self.rules.iter().map(json).collect()
    }

    /// Every key with a value.
    pub(super) fn with_every_key() -> Self {
        let file = |name: &str| Some(PathBuf::from(format!("/etc/windlass/{name}")));
        Self {
            realm: Some("https://auth.example.org/token".to_owned()),
            issuer: Some("auth.example.org".to_owned()),
            jwks_url: Some("https://auth.example.org/jwks".to_owned()),
            jwks_ca_file: file("issuer-ca.pem"),
            jwks_token_file: file("issuer-token"),
            users_file: file("users"),
            signing_key_file: file("token.key"),
            rules_file: file("rules.toml"),
            ..Self::default()
        }
    }
}

/// Finds the first value that cannot work.
pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    let auth = &config.auth;
    if auth.mode == AuthMode::None && !auth.insecure && !config.listen.ip().is_loopback() {
        let remedy = "others can reach it and nobody is asked who they are: set `auth.mode`, or `auth.insecure = true` behind a proxy that asks";
        return Err(impossible("listen", config.listen, remedy));
    }
    if auth.service.is_empty() || !auth.service.bytes().all(|byte| byte.is_ascii_graphic()) {
        let value = format!("\"{}\"", auth.service);
        return Err(impossible(
            "auth.service",
            value,
            "write a name without spaces",
        ));
    }
    if let Some(realm) = &auth.realm
        && !is_base_url(realm)
    {
        let remedy = "write the whole URL of the token endpoint";
        return Err(impossible("auth.realm", format!("\"{realm}\""), remedy));
    }
    match auth.mode {
        AuthMode::None => check_none(auth)?,
        AuthMode::Token => check_token(auth)?,
        AuthMode::Users => check_users(config)?,
    }
    match Rules::read(&auth.rules()) {
        Ok(_) => Ok(()),
        Err(error) => Err(impossible("auth.rules", "not in order", error.to_string())),
    }
}

/// Whoever writes down users or rules believes that they count.
fn check_none(auth: &AuthSection) -> Result<(), ConfigError> {
    let given = [
        ("auth.rules", !auth.rules.is_empty()),
        ("auth.rules_file", auth.rules_file.is_some()),
        ("auth.users", !auth.users.is_empty()),
        ("auth.users_file", auth.users_file.is_some()),
        ("auth.identities", !auth.identities.is_empty()),
        ("auth.key_files", !auth.key_files.is_empty()),
        ("auth.jwks_url", auth.jwks_url.is_some()),
    ];
    match given.into_iter().find(|(_, is_given)| *is_given) {
        None => Ok(()),
        Some((key, _)) => {
            let remedy = "with `auth.mode = \"none\"` nobody is asked and everybody may everything: set `auth.mode` to \"users\" or \"token\", or remove the key";
            Err(impossible(key, "given", remedy))
        }
    }
}

/// Tokens of the other server alone: nobody would be asked for a password.
fn check_token(auth: &AuthSection) -> Result<(), ConfigError> {
    let given = [
        ("auth.users", !auth.users.is_empty()),
        ("auth.users_file", auth.users_file.is_some()),
        ("auth.identities", !auth.identities.is_empty()),
        ("auth.signing_key_file", auth.signing_key_file.is_some()),
    ];
    match given.into_iter().find(|(_, is_given)| *is_given) {
        None => check_token_server(auth),
        Some((key, _)) => {
            let remedy = "with `auth.mode = \"token\"` only tokens of the other server count: set `auth.mode` to \"users\", which takes them as well, or remove the key";
            Err(impossible(key, "given", remedy))
        }
    }
}

fn check_token_server(auth: &AuthSection) -> Result<(), ConfigError> {
    let needs = |key| {
        let remedy = "whoever takes tokens of another server needs it";
        Err(impossible(key, "absent", remedy))
    };
    if auth.realm.is_none() {
        return needs("auth.realm");
    }
    if auth.issuer.as_ref().is_none_or(String::is_empty) {
        return needs("auth.issuer");
    }
    match auth.keys_at().fault(&auth.jwks) {
        Some(remedy) => Err(impossible("auth.key_files", auth.key_files.len(), remedy)),
        None => auth.jwks.check(),
    }
}

fn check_users(config: &Config) -> Result<(), ConfigError> {
    let auth = &config.auth;
    if auth.has_token_server() {
        check_token_server(auth)?;
        if auth.issuer.as_deref() == Some(auth.service.as_str()) {
            let remedy = "the other server must be called otherwise than `auth.service`, by which tokens that are made here are known";
            let value = format!("\"{}\"", auth.service.escape_debug());
            return Err(impossible("auth.issuer", value, remedy));
        }
    }
    let is_named = auth.realm.is_some() || config.public_url.is_some();
    if !is_named && config.listen.ip().is_unspecified() {
        let remedy = "clients must be told where to get tokens: set it to the URL by which they reach the registry";
        return Err(impossible("public_url", "absent", remedy));
    }
    let cannot_work = |one: &&IdentitySection| {
        let has_audience = config.public_url.is_some() || !one.audiences.is_empty();
        !is_identity_name(&one.name) || !has_audience
    };
    if let Some(issuer) = auth.identities.iter().find(cannot_work) {
        let remedy = "each needs a name without colons, spaces and control characters, and `audiences` unless `public_url` is set";
        let value = format!("\"{}\"", issuer.name.escape_debug());
        return Err(impossible("auth.identities", value, remedy));
    }
    let faulty = |one: &IdentitySection| {
        let remedy = one.keys_at().fault(&auth.jwks)?;
        let value = format!("\"{}\"", one.name.escape_debug());
        Some(impossible("auth.identities", value, remedy))
    };
    if let Some(fault) = auth.identities.iter().find_map(faulty) {
        return Err(fault);
    }
    auth.jwks.check()?;
    let life = auth.token_life.duration();
    if !(TOKEN_LIFE_MIN..=TOKEN_LIFE_MAX).contains(&life) {
        let remedy = "it must lie between 1m and 24h";
        return Err(impossible("auth.token_life", auth.token_life, remedy));
    }
    if auth.refresh_life.duration() < life {
        let remedy = "it must not be shorter than `auth.token_life`";
        return Err(impossible("auth.refresh_life", auth.refresh_life, remedy));
    }
    Ok(())
}

/// Whether a login can show this name, and a log line.
fn is_identity_name(name: &str) -> bool {
    let is_unfit = |letter: char| letter == ':' || letter.is_whitespace() || letter.is_control();
    !name.is_empty() && !name.contains(is_unfit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_text(text: &str) -> Result<(), String> {
        let config: Config = toml::from_str(text).unwrap();
        check(&config).map_err(|error| error.to_string())
    }

    #[test]
    fn everybody_is_served_only_where_nobody_comes_from_outside() {
        assert_eq!(check_text("listen = '127.0.0.2:5000'"), Ok(()));
        assert_eq!(check_text("listen = '[::1]:5000'"), Ok(()));
        let error = check_text("listen = '10.0.0.1:5000'").unwrap_err();
        assert!(error.contains("auth.insecure"), "{error}");
        let insecure = "listen = '10.0.0.1:5000'\n[auth]\ninsecure = true";
        assert_eq!(check_text(insecure), Ok(()));
        assert_eq!(
            check_text("listen = '10.0.0.1:5000'\nauth.mode = 'users'"),
            Ok(())
        );
    }

    #[test]
    fn what_cannot_work_is_named() {
        let rows = [
            ("auth.mode = 'token'", "auth.realm"),
            (
                "[auth]\nmode = 'token'\nrealm = 'https://a/token'",
                "auth.issuer",
            ),
            (
                "[auth]\nmode = 'token'\nrealm = 'https://a/token'\nissuer = 'a'",
                "auth.key_files",
            ),
            (
                "[auth]\nmode = 'token'\nrealm = 'https://a/token'\nissuer = 'http://a'",
                "auth.key_files",
            ),
            ("auth.realm = 'auth.example.org'", "auth.realm"),
            ("auth.service = ''", "auth.service"),
            (
                "[auth]\nmode = 'users'\nidentities = [{ name = 'ci', issuer = 'i', key_files = ['k'] }]",
                "auth.identities",
            ),
            ("listen = '0.0.0.0:1'\nauth.mode = 'users'", "public_url"),
            ("[auth]\nmode = 'users'\naudiences = ['a']", "auth.realm"),
            (
                "[auth]\nmode = 'users'\nrealm = 'https://a/token'\njwks_url = 'https://a/k'",
                "auth.issuer",
            ),
            (
                "[auth]\nmode = 'users'\nrealm = 'https://a/token'\nissuer = 'a'",
                "auth.key_files",
            ),
            (
                "[auth]\nmode = 'users'\nrealm = 'https://a/token'\nissuer = 'windlass'\nkey_files = ['k']",
                "auth.issuer",
            ),
            (
                "[auth]\nmode = 'users'\ntoken_life = '59s'",
                "auth.token_life",
            ),
            (
                "[auth]\nmode = 'users'\nrefresh_life = '2m'",
                "auth.refresh_life",
            ),
            (
                "[auth]\nmode = 'users'\n[[auth.rules]]\nactions = ['pul']",
                "auth.rules",
            ),
        ];
        for (text, key) in rows {
            let error = check_text(text).expect_err(text);
            assert!(error.starts_with(&format!("`{key}` is ")), "{error}");
        }
    }

    #[test]
    fn what_nobody_would_be_asked_about_is_refused() {
        for (text, key) in [
            ("rules = [{ actions = ['pull'] }]", "auth.rules"),
            ("rules_file = 'rules.toml'", "auth.rules_file"),
            ("users = ['bob:hash']", "auth.users"),
            ("users_file = 'users'", "auth.users_file"),
            (
                "identities = [{ name = 'ci', issuer = 'i', key_files = ['k'] }]",
                "auth.identities",
            ),
            ("key_files = ['key.pem']", "auth.key_files"),
        ] {
            for mode in ["", "mode = 'none'\n", "insecure = true\n"] {
                let error = check_text(&format!("[auth]\n{mode}{text}")).expect_err(text);
                let is_named = error.starts_with(&format!("`{key}` is given: "));
                assert!(is_named && error.contains("set `auth.mode`"), "{error}");
            }
        }
    }

    /// A key that counts for nothing looks as if it counted.
    #[test]
    fn passwords_are_refused_where_only_tokens_count() {
        let server = "realm = 'https://a/token'\nissuer = 'a'\nkey_files = ['k']\n";
        let text = |mode: &str, more: &str| format!("[auth]\nmode = '{mode}'\n{server}{more}");
        assert_eq!(check_text(&text("token", "")), Ok(()));
        for (more, key) in [
            ("users = ['bob:hash']", "auth.users"),
            ("users_file = 'users'", "auth.users_file"),
            (
                "identities = [{ name = 'ci', issuer = 'i', audiences = ['a'], key_files = ['k'] }]",
                "auth.identities",
            ),
            ("signing_key_file = 'key'", "auth.signing_key_file"),
        ] {
            let error = check_text(&text("token", more)).expect_err(more);
            assert!(error.starts_with(&format!("`{key}` is given: ")), "{error}");
            assert_eq!(check_text(&text("users", more)), Ok(()), "{more}");
        }
    }

    #[test]
    fn names_of_identities_are_single_words() {
        let named = |name: &str| {
            let identity = format!(
                "identities = [{{ name = \"{name}\", issuer = 'i', audiences = ['a'], key_files = ['k'] }}]"
            );
            check_text(&format!("[auth]\nmode = 'users'\n{identity}"))
        };
        assert_eq!(named("gitlab-ci"), Ok(()));
        for name in [
            "",
            "a:b",
            "a b",
            " a",
            "a\\t",
            "a\\u0000",
            "a\\u007f",
            "a\\u00a0b",
        ] {
            let error = named(name).expect_err(name);
            assert!(error.starts_with("`auth.identities` is "), "{error}");
        }
    }

    #[test]
    fn hashes_are_printed_nowhere() {
        let section: AuthSection = toml::from_str("users = ['bob:$6$secret']").unwrap();
        assert!(!format!("{section:?}").contains("secret"));
        assert!(!toml::to_string(&section).unwrap().contains("secret"));
    }

    #[test]
    fn rules_are_read_as_written() {
        let text = "[[rules]]\nsubject.username = 'bob'\nactions = ['pull']";
        let section: AuthSection = toml::from_str(text).unwrap();
        let rule = serde_json::json!({ "subject": { "username": "bob" }, "actions": ["pull"] });
        assert_eq!(section.rules(), [rule]);
    }
}
