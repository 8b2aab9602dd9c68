//! What an operator decides about access.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

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
    /// By passwords, and by tokens that this registry makes for them.
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
    /// Its public keys, certificates or key sets.
    pub key_files: Vec<PathBuf>,
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
    /// Its public keys, certificates or key sets.
    pub key_files: Vec<PathBuf>,
}

/// The users of this registry, and their tokens.
#[derive(Debug, Clone)]
pub struct UsersOptions {
    /// Where clients get tokens; at this node's own address when absent.
    pub realm: Option<Box<str>>,
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
