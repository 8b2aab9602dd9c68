//! Signed tokens: what is refused, in which order, and what a good one says.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::key::Key;
use super::scope::Scope;
use super::strict_json;
use crate::base::limits::{TOKEN_BYTES_MAX, TOKEN_LEEWAY_SECONDS};

/// Keys that are tried for one token; more are nobody's set of keys without names.
const TRIED_KEYS_MAX: usize = 8;
/// Header members that bring a key, or change what must be understood.
///
/// - Source: RFC 8725, sections 3.9 and 3.10.
const FORBIDDEN_MEMBERS: [&str; 8] = ["jwk", "jku", "x5u", "x5c", "crit", "b64", "zip", "enc"];

/// What a token is for; one is never taken for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// To be shown to the registry.
    Access,
    /// To be exchanged for access tokens.
    Refresh,
}

impl TokenKind {
    /// `typ` in the header of tokens made here.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Access => "JWT",
            Self::Refresh => "windlass-refresh+jwt",
        }
    }

    /// Whether a header says so; access tokens of other servers may say nothing.
    fn is_named(self, name: Option<&Value>) -> bool {
        match (self, name) {
            (Self::Access, None) => true,
            (_, Some(Value::String(name))) => name.eq_ignore_ascii_case(self.name()),
            _ => false,
        }
    }
}

/// Whose tokens are taken, and for whom they must be made.
#[derive(Debug, Clone)]
pub struct Issuer {
    /// `iss`.
    pub name: Box<str>,
    /// `aud`: one of these.
    pub audiences: Vec<Box<str>>,
    /// What the tokens are signed with.
    pub keys: Vec<Key>,
}

/// What a good token says.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified {
    /// Whom it was made for; nobody for an anonymous caller.
    pub subject: Option<Box<str>>,
    /// What it gives.
    pub access: Vec<Scope>,
    /// When it ends, in seconds since the Unix epoch.
    pub expires_seconds: u64,
    /// Everything it says.
    pub claims: Map<String, Value>,
}

/// Why a token is not taken. For logs; callers are told only that it is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Too long to be looked at.
    #[error("longer than {TOKEN_BYTES_MAX} bytes")]
    TooLong,
    /// Not three parts of base64url, or not JSON objects in them.
    #[error("not a signed token")]
    Malformed,
    /// A header member that no token here may have.
    #[error("its header has `{0}`")]
    Forbidden(&'static str),
    /// A header member of the wrong type.
    #[error("header `{0}` is not as it must be")]
    Header(&'static str),
    /// No key of the issuer has its name and algorithm.
    #[error("no trusted key has its name and algorithm")]
    UnknownKey,
    /// No key verifies it.
    #[error("its signature is not that of a trusted key")]
    Signature,
    /// A claim that is missing or of the wrong type.
    #[error("claim `{0}` is missing or of the wrong type")]
    Claim(&'static str),
    /// Another issuer.
    #[error("it is of another issuer")]
    Issuer,
    /// For somebody else.
    #[error("it is for another audience")]
    Audience,
    /// Over.
    #[error("it has expired")]
    Expired,
    /// Not begun.
    #[error("it does not hold yet")]
    TooEarly,
}

impl Issuer {
    /// Checks a token, at `now_seconds` since the Unix epoch.
    ///
    /// - Shape: the signature before any claim; the claims before what they give.
    /// - Source: RFC 7515, RFC 7519, RFC 8725; distribution, "Token Authentication
    ///   Implementation".
    pub fn verify(
        &self,
        token: &str,
        kind: TokenKind,
        now_seconds: u64,
    ) -> Result<Verified, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(TokenError::Malformed)?;
        let header = part(header)?;
        match self.check_signature(&header, kind, message, signature) {
            // Keys are looked for on behalf of tokens that are otherwise good only.
            Err(error) if self.may_lack_its_key(error) => {
                self.check_claims(&part(payload)?, now_seconds)?;
                return Err(error);
            }
            checked => checked?,
        }
        let claims = part(payload)?;
        let expires_seconds = self.check_claims(&claims, now_seconds)?;
        let subject = match claims.get("sub") {
            None | Some(Value::Null) => None,
            Some(Value::String(subject)) if subject.is_empty() => None,
            Some(Value::String(subject)) => Some(subject.as_str().into()),
            Some(_) => return Err(TokenError::Claim("sub")),
        };
        let access = Scope::of_claim(claims.get("access"));
        Ok(Verified {
            subject,
            access: access.map_err(|_| TokenError::Claim("access"))?,
            expires_seconds,
            claims,
        })
    }

    /// Whether a token that was refused so may be good with a key that is not here.
    #[must_use]
    pub fn may_lack_its_key(&self, error: TokenError) -> bool {
        match error {
            TokenError::UnknownKey => true,
            // Without a name a new key looks like an old one.
            TokenError::Signature => self.keys.iter().any(|key| key.id().is_none()),
            _ => false,
        }
    }

    fn check_signature(
        &self,
        header: &Map<String, Value>,
        kind: TokenKind,
        message: &str,
        signature: &str,
    ) -> Result<(), TokenError> {
        if let Some(name) = FORBIDDEN_MEMBERS
            .into_iter()
            .find(|name| header.contains_key(*name))
        {
            return Err(TokenError::Forbidden(name));
        }
        if !kind.is_named(header.get("typ")) {
            return Err(TokenError::Header("typ"));
        }
        let algorithm = header.get("alg").and_then(Value::as_str);
        let algorithm = algorithm.ok_or(TokenError::Header("alg"))?;
        let id = match header.get("kid") {
            None => None,
            Some(Value::String(id)) => Some(id.as_str()),
            Some(_) => return Err(TokenError::Header("kid")),
        };
        let mut candidates = self.candidates(id, algorithm).peekable();
        if candidates.peek().is_none() {
            return Err(TokenError::UnknownKey);
        }
        let signature = URL_SAFE_NO_PAD.decode(signature);
        let signature = signature.map_err(|_| TokenError::Signature)?;
        if candidates.any(|key| key.verifies(message.as_bytes(), &signature)) {
            Ok(())
        } else {
            Err(TokenError::Signature)
        }
    }

    /// Keys of that name, else those without any; never one of another algorithm.
    fn candidates<'a>(
        &'a self,
        id: Option<&'a str>,
        algorithm: &'a str,
    ) -> impl Iterator<Item = &'a Key> {
        let is_known = id.is_some() && self.keys.iter().any(|key| key.id() == id);
        let is_meant = move |key: &&Key| match id {
            Some(_) if is_known => key.id() == id,
            Some(_) => key.id().is_none(),
            None => true,
        };
        let keys = self.keys.iter().filter(is_meant);
        keys.filter(move |key| key.algorithm_name() == algorithm)
            .take(TRIED_KEYS_MAX)
    }

    /// Checks what every token must say; gives its end.
    fn check_claims(
        &self,
        claims: &Map<String, Value>,
        now_seconds: u64,
    ) -> Result<u64, TokenError> {
        let issuer = claims.get("iss").and_then(Value::as_str);
        if issuer.ok_or(TokenError::Claim("iss"))? != &*self.name {
            return Err(TokenError::Issuer);
        }
        let is_ours = |name: &str| self.audiences.iter().any(|own| **own == *name);
        let is_for_us = match claims.get("aud") {
            Some(Value::String(name)) => is_ours(name),
            Some(Value::Array(names)) if names.iter().all(Value::is_string) => {
                names.iter().filter_map(Value::as_str).any(is_ours)
            }
            _ => return Err(TokenError::Claim("aud")),
        };
        if !is_for_us {
            return Err(TokenError::Audience);
        }
        let expires_seconds = seconds(claims, "exp")?.ok_or(TokenError::Claim("exp"))?;
        if now_seconds >= expires_seconds.saturating_add(TOKEN_LEEWAY_SECONDS) {
            return Err(TokenError::Expired);
        }
        seconds(claims, "iat")?;
        match seconds(claims, "nbf")? {
            Some(begin) if begin > now_seconds.saturating_add(TOKEN_LEEWAY_SECONDS) => {
                Err(TokenError::TooEarly)
            }
            _ => Ok(expires_seconds),
        }
    }
}

/// A JSON object in base64url without padding.
fn part(text: &str) -> Result<Map<String, Value>, TokenError> {
    let bytes = URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| TokenError::Malformed)?;
    match strict_json::read(&bytes) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err(TokenError::Malformed),
    }
}

/// A time; whole seconds, or the whole part of them.
///
/// - Source: RFC 7519, "NumericDate".
fn seconds(claims: &Map<String, Value>, name: &'static str) -> Result<Option<u64>, TokenError> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let fraction = || {
        let seconds = value.as_f64().filter(|seconds| *seconds >= 0.0)?;
        std::time::Duration::try_from_secs_f64(seconds).ok()
    };
    let whole = value
        .as_u64()
        .or_else(|| fraction().map(|time| time.as_secs()));
    whole.map(Some).ok_or(TokenError::Claim(name))
}

#[cfg(test)]
#[path = "token_test.rs"]
mod tests;
