//! One fetch of an issuer's keys. Blocks.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::options::IssuerKeys;
use super::refetch::freshness;
use crate::auth::{DiscoveryError, KeyError, KeySet, discovered_keys_url, discovery_url};
use crate::base::limits::{KEY_SET_BYTES_MAX, KEYS_FETCH_TIMEOUT, TOKEN_BYTES_MAX};
use crate::base::units::MIB;
use crate::disk::{self, read_small_file_blocking};
use crate::net::{FetchError, FetchLimits, Fetcher, TlsAuthorities, TlsMaterialError};

/// Longest file of authorities: what machines trust is a quarter of this.
const AUTHORITIES_BYTES_MAX: u32 = MIB;

/// What was fetched.
#[derive(Debug)]
pub(super) struct FetchedKeys {
    /// At least one key that is of use.
    pub(super) set: KeySet,
    /// How long the issuer lets it be kept; `None` where it does not say.
    pub(super) fresh: Option<Duration>,
}

/// Why there are no keys. For the operator.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// A file cannot be read.
    #[error("{0}")]
    Disk(#[from] disk::Error),
    /// A file is not there.
    #[error("{} is missing", .0.display())]
    Missing(PathBuf),
    /// The file of authorities holds none.
    #[error("{}: {fault}", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: TlsMaterialError,
    },
    /// The file with the token is no text.
    #[error("{} is no text", .0.display())]
    Token(PathBuf),
    /// There is no list of authorities.
    #[error(transparent)]
    Roots(FetchError),
    /// There is no answer, or no good one.
    #[error("{address}: {fault}")]
    Fetch {
        /// What was fetched.
        address: Box<str>,
        /// What went wrong.
        fault: FetchError,
    },
    /// The discovery document does not lead to keys.
    #[error("{address}: {fault}")]
    Discovery {
        /// Where it is.
        address: Box<str>,
        /// What is wrong with it.
        fault: DiscoveryError,
    },
    /// The keys cannot be used.
    #[error("{address}: {fault}")]
    Keys {
        /// Where they are.
        address: Box<str>,
        /// What is wrong with them.
        fault: KeyError,
    },
}

/// Fetches the keys; where no address is given, from where the issuer says that they
/// are. All files are read anew: whoever rotates them does not tell.
pub(super) fn fetch_keys(keys: &IssuerKeys) -> Result<FetchedKeys, KeysError> {
    let authorities = authorities(keys)?;
    let limits = FetchLimits {
        time: KEYS_FETCH_TIMEOUT,
        bytes_max: KEY_SET_BYTES_MAX,
        is_loopback_http_allowed: keys.fetch.is_loopback_http_allowed,
    };
    let fetcher = Fetcher::new(authorities.as_ref(), limits).map_err(KeysError::Roots)?;
    let token = keys
        .fetch
        .token_file
        .as_deref()
        .map(read_token)
        .transpose()?;
    let fetch = |address: &str| {
        let failed = |fault| KeysError::Fetch {
            address: address.into(),
            fault,
        };
        fetcher.fetch(address, token.as_deref()).map_err(failed)
    };
    let address = if let Some(address) = &keys.fetch.url {
        address.clone()
    } else {
        let address = discovery_url(&keys.issuer);
        let document = fetch(&address)?;
        let found = discovered_keys_url(&keys.issuer, &document.body);
        found.map_err(|fault| KeysError::Discovery {
            address: address.into(),
            fault,
        })?
    };
    let answer = fetch(&address)?;
    let unusable = |fault| KeysError::Keys {
        address: address.clone(),
        fault,
    };
    let set = KeySet::read(&answer.body).map_err(unusable)?;
    if set.keys.is_empty() {
        return Err(unusable(KeyError::Empty));
    }
    let said = answer.cache_control.as_deref();
    let fresh = said.and_then(|said| freshness(said, answer.age_seconds));
    Ok(FetchedKeys { set, fresh })
}

/// Looks whether the files are in order that a fetch needs.
pub(super) fn check_files(keys: &IssuerKeys) -> Result<(), KeysError> {
    authorities(keys)?;
    keys.fetch
        .token_file
        .as_deref()
        .map(read_token)
        .transpose()?;
    Ok(())
}

fn authorities(keys: &IssuerKeys) -> Result<Option<TlsAuthorities>, KeysError> {
    let Some(path) = &keys.fetch.ca_file else {
        return Ok(None);
    };
    let text = read(path, AUTHORITIES_BYTES_MAX)?;
    let unusable = |fault| KeysError::Authorities {
        path: path.clone(),
        fault,
    };
    TlsAuthorities::of_pem(&text).map(Some).map_err(unusable)
}

fn read_token(path: &Path) -> Result<Box<str>, KeysError> {
    let bytes_max = u32::try_from(TOKEN_BYTES_MAX).unwrap_or(u32::MAX);
    let text = String::from_utf8(read(path, bytes_max)?);
    let text = text.map_err(|_| KeysError::Token(path.to_owned()))?;
    Ok(text.trim().into())
}

fn read(path: &Path, bytes_max: u32) -> Result<Vec<u8>, KeysError> {
    let content = read_small_file_blocking(path, bytes_max)?;
    content.ok_or_else(|| KeysError::Missing(path.to_owned()))
}
