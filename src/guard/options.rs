//! What an operator decides about access.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::refetch::KeyPace;
use crate::auth::SigningKey;

/// Who is asked for what.
#[derive(Debug, Clone)]
pub struct Options {
    /// How callers prove themselves.
    pub mode: Mode,
    /// Name of this registry where tokens are made.
    pub service: Box<str>,
    /// Rules of the configuration, in front of those of the file.
    pub rules: Vec<Value>,
    /// File with more rules, read again when it changes.
    pub rules_file: Option<PathBuf>,
}

/// How callers prove themselves.
#[derive(Debug, Clone)]
pub enum Mode {
    /// Nobody is asked; everybody may everything.
    None,
    /// By tokens of another server.
    Token(TokenServer),
    /// By passwords, and by tokens that this registry makes for them; where another
    /// server is trusted beside it, by that one's as well.
    Users(UsersOptions),
}

/// A token server that is trusted.
#[derive(Debug, Clone)]
pub struct TokenServer {
    /// Where clients get tokens.
    pub realm: Box<str>,
    /// `iss` of its tokens.
    pub issuer: Box<str>,
    /// `aud` of its tokens for this registry.
    pub audiences: Vec<Box<str>>,
    /// Its public keys.
    pub keys: KeysFrom,
}

/// Where public keys come from.
#[derive(Debug, Clone)]
pub enum KeysFrom {
    /// Files with keys, certificates or key sets, read again when they change.
    Files(Vec<PathBuf>),
    /// The issuer itself.
    Issuer(KeyFetch),
}

/// How keys are fetched.
#[derive(Debug, Clone)]
pub struct KeyFetch {
    /// Where they are; where the issuer's discovery document says, when absent.
    pub url: Option<Box<str>>,
    /// Authorities that vouch for the issuer; those of the machine when absent.
    pub ca_file: Option<PathBuf>,
    /// What the issuer is shown, read again for every fetch.
    pub token_file: Option<PathBuf>,
    /// Whether an issuer on this machine may speak plain HTTP.
    pub is_loopback_http_allowed: bool,
    /// How often, and for how long.
    pub pace: KeyPace,
}

/// Keys of an issuer that are fetched from it.
#[derive(Debug, Clone)]
pub(super) struct IssuerKeys {
    /// `iss` of its tokens.
    pub(super) issuer: Box<str>,
    /// `aud` of its tokens for this registry.
    pub(super) audiences: Vec<Box<str>>,
    /// How they are fetched.
    pub(super) fetch: KeyFetch,
}

/// Who signs identities, of jobs of a pipeline or of machines, and what they are called.
#[derive(Debug, Clone)]
pub struct IdentityIssuer {
    /// User name that goes with its identities: nobody's password, so that no identity
    /// can take the name of a user.
    pub name: Box<str>,
    /// `iss` of its tokens.
    pub issuer: Box<str>,
    /// `aud` of its tokens for this registry.
    pub audiences: Vec<Box<str>>,
    /// Its public keys.
    pub keys: KeysFrom,
}

/// The users of this registry, and their tokens.
#[derive(Debug, Clone)]
pub struct UsersOptions {
    /// Where clients get tokens; at this node's own address when absent.
    pub realm: Option<Box<str>>,
    /// Whose tokens are taken beside those that are made here.
    pub other: Option<Box<TokenServer>>,
    /// Lines of `name:hash`, in front of those of the file.
    pub users: Vec<Box<str>>,
    /// File with such lines, read again when it changes.
    pub users_file: Option<PathBuf>,
    /// Issuers of signed identities that are taken as passwords.
    pub identities: Vec<IdentityIssuer>,
    /// What tokens are signed with.
    pub signer: SigningKey,
    /// How long a token holds.
    pub token_life: Duration,
    /// How long a refresh token holds.
    pub refresh_life: Duration,
}

impl Options {
    /// The issuers whose keys are fetched, in the order in which [`Book`] counts them.
    ///
    /// [`Book`]: super::Book
    pub(super) fn fetched(&self) -> Vec<IssuerKeys> {
        let fetched = |issuer: &str, audiences: &[Box<str>], keys: &KeysFrom| match keys {
            KeysFrom::Files(_) => None,
            KeysFrom::Issuer(fetch) => Some(IssuerKeys {
                issuer: issuer.into(),
                audiences: audiences.to_vec(),
                fetch: fetch.clone(),
            }),
        };
        match &self.mode {
            Mode::None => Vec::new(),
            Mode::Token(one) => fetched(&one.issuer, &one.audiences, &one.keys)
                .into_iter()
                .collect(),
            Mode::Users(own) => {
                let other = own.other.iter();
                let other = other.map(|one| (&one.issuer, &one.audiences, &one.keys));
                let identities = own.identities.iter();
                let identities = identities.map(|one| (&one.issuer, &one.audiences, &one.keys));
                let all = other.chain(identities);
                all.filter_map(|(issuer, audiences, keys)| fetched(issuer, audiences, keys))
                    .collect()
            }
        }
    }
}

impl KeysFrom {
    /// The files, where keys come from files.
    pub(super) fn files(&self) -> &[PathBuf] {
        match self {
            Self::Files(files) => files,
            Self::Issuer(_) => &[],
        }
    }
}
