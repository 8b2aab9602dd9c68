//! Where issuers publish their keys, and `[auth.jwks]`: how these are kept.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::impossible;
use super::error::ConfigError;
use super::units::Period;

/// Whoever asks more often is a burden to the issuer.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// Where the keys of an issuer are. Without anything the issuer itself says so.
#[derive(Debug, Clone, Copy)]
pub struct KeysAt<'a> {
    /// `iss` of its tokens.
    pub issuer: &'a str,
    /// Files with its keys; nothing else counts then.
    pub files: &'a [PathBuf],
    /// Address of its JSON Web Key Set.
    pub url: Option<&'a str>,
    /// Authorities that vouch for the server there.
    pub ca_file: Option<&'a Path>,
    /// File with what that server is shown.
    pub token_file: Option<&'a Path>,
}

/// `[auth.jwks]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JwksSection {
    /// Keys are not fetched more often than this.
    pub fresh_min: Period,
    /// Nor less often.
    pub fresh_max: Period,
    /// Between two fetches for tokens with an unknown key.
    pub ask_pause: Period,
    /// How long keys count that should have been fetched anew.
    pub stale_max: Period,
    /// Whether an issuer on this machine may speak plain HTTP.
    pub allow_loopback_http: bool,
}

impl Default for JwksSection {
    fn default() -> Self {
        Self {
            fresh_min: Period::new(Duration::from_secs(5 * 60)),
            fresh_max: Period::new(Duration::from_secs(60 * 60)),
            ask_pause: Period::new(Duration::from_secs(10)),
            stale_max: Period::new(Duration::from_secs(24 * 60 * 60)),
            allow_loopback_http: false,
        }
    }
}

impl KeysAt<'_> {
    /// What is wrong with it, if anything is.
    pub(super) fn fault(&self, jwks: &JwksSection) -> Option<&'static str> {
        let is_fetched = self.url.is_some() || self.ca_file.is_some() || self.token_file.is_some();
        if !self.files.is_empty() {
            return is_fetched
                .then_some("keys come from `key_files` or from `jwks_…`, not from both");
        }
        let address = self.url.unwrap_or(self.issuer);
        let is_address = address.starts_with("https://")
            || (jwks.allow_loopback_http && address.starts_with("http://"));
        let authority = address
            .split("//")
            .nth(1)
            .and_then(|rest| rest.split('/').next());
        if authority.is_some_and(|authority| authority.contains('@')) {
            return Some("an address of keys holds no password; see `jwks_token_file`");
        }
        (!is_address).then_some(
            "it needs `key_files`, or an https:// address: as `jwks_url`, or as `issuer`, which then says itself where its keys are",
        )
    }
}

impl JwksSection {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let times = [
            ("auth.jwks.fresh_min", self.fresh_min),
            ("auth.jwks.ask_pause", self.ask_pause),
        ];
        if let Some((key, period)) = times
            .into_iter()
            .find(|(_, each)| each.duration() < PAUSE_MIN)
        {
            return Err(impossible(key, period, "it must be at least 1s"));
        }
        if self.fresh_max < self.fresh_min {
            let remedy = "it must not be shorter than `auth.jwks.fresh_min`";
            return Err(impossible("auth.jwks.fresh_max", self.fresh_max, remedy));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at<'a>(issuer: &'a str, url: Option<&'a str>, files: &'a [PathBuf]) -> KeysAt<'a> {
        KeysAt {
            issuer,
            files,
            url,
            ca_file: None,
            token_file: None,
        }
    }

    #[test]
    fn keys_come_from_files_or_by_https() {
        let files = [PathBuf::from("k")];
        let jwks = JwksSection::default();
        let is_good = |at: KeysAt<'_>| at.fault(&jwks).is_none();
        assert!(is_good(at("auth", None, &files)));
        assert!(is_good(at("https://auth", None, &[])));
        assert!(is_good(at("auth", Some("https://auth/keys"), &[])));
        assert!(!is_good(at("auth", None, &[])));
        assert!(!is_good(at("auth", Some("https://a:b@auth/keys"), &[])));
        assert!(!is_good(at(
            "https://auth",
            Some("http://127.0.0.1/keys"),
            &[]
        )));
        assert!(!is_good(at(
            "https://auth",
            Some("https://auth/keys"),
            &files
        )));
        let ca_file = Some(Path::new("ca"));
        let both = KeysAt {
            ca_file,
            ..at("https://auth", None, &files)
        };
        assert!(!is_good(both));
        let open = JwksSection {
            allow_loopback_http: true,
            ..JwksSection::default()
        };
        let plain = at("auth", Some("http://127.0.0.1/keys"), &[]);
        assert_eq!(plain.fault(&open), None);
    }

    #[test]
    fn a_pace_that_cannot_be_kept_is_named() {
        for (text, key) in [
            ("fresh_min = '0s'", "auth.jwks.fresh_min"),
            ("ask_pause = '999ms'", "auth.jwks.ask_pause"),
            ("fresh_max = '4m'", "auth.jwks.fresh_max"),
        ] {
            let section: JwksSection = toml::from_str(text).unwrap();
            let error = section.check().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{key}` is ")), "{error}");
        }
        assert!(JwksSection::default().check().is_ok());
    }
}
