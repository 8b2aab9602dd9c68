//! One fetch of an issuer's keys. Blocks.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::options::IssuerKeys;
use super::refetch::freshness;
use crate::auth::{DiscoveryError, KeyError, KeySet, discovered_keys_url, discovery_url};
use crate::base::limits::{KEY_SET_BYTES_MAX, KEYS_FETCH_TIMEOUT, TOKEN_BYTES_MAX};
use crate::base::units::MIB;
use crate::disk::{self, read_small_file_with_mode_blocking};
use crate::net::{FetchError, FetchLimits, Fetcher, TlsAuthorities, TlsMaterialError};

/// Longest file of authorities: what machines trust is a quarter of this.
const AUTHORITIES_BYTES_MAX: u32 = MIB;
/// Whoever may write the file says who this node is to the issuer.
const OTHERS_WRITE_BITS: u32 = 0o002;
/// Kubernetes makes the tokens of pods like this, in a folder that only the pod sees.
const OTHERS_READ_BITS: u32 = 0o004;

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
    /// Anybody on the machine may change the file with the token.
    #[error("{} has mode {mode:04o}: others than its owner and group may not write it", path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
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
        .transpose()?
        .map(|shown| shown.token);
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

/// Looks whether the files are in order that a fetch needs, and says what is unusual.
pub(super) fn check_files(keys: &IssuerKeys) -> Result<(), KeysError> {
    authorities(keys)?;
    if let Some(path) = &keys.fetch.token_file
        && read_token(path)?.is_open
    {
        let (issuer, path) = (&keys.issuer, path.display());
        tracing::warn!(%issuer, %path, "others than its owner and group may read a token of `jwks_token_file`: in a pod that is usual, anywhere else chmod o= it");
    }
    Ok(())
}

fn authorities(keys: &IssuerKeys) -> Result<Option<TlsAuthorities>, KeysError> {
    let Some(path) = &keys.fetch.ca_file else {
        return Ok(None);
    };
    let (text, _) = read(path, AUTHORITIES_BYTES_MAX)?;
    let unusable = |fault| KeysError::Authorities {
        path: path.clone(),
        fault,
    };
    TlsAuthorities::of_pem(&text).map(Some).map_err(unusable)
}

/// What an issuer is shown.
struct Shown {
    token: Box<str>,
    /// Whether everybody on the machine may read it.
    is_open: bool,
}

fn read_token(path: &Path) -> Result<Shown, KeysError> {
    let bytes_max = u32::try_from(TOKEN_BYTES_MAX).unwrap_or(u32::MAX);
    let (bytes, mode) = read(path, bytes_max)?;
    let text = String::from_utf8(bytes).map_err(|_| KeysError::Token(path.to_owned()))?;
    if mode & OTHERS_WRITE_BITS != 0 {
        let path = path.to_owned();
        return Err(KeysError::Permissions { path, mode });
    }
    Ok(Shown {
        token: text.trim().into(),
        is_open: mode & OTHERS_READ_BITS != 0,
    })
}

/// What is in the file, and the permissions of the file that it was read from.
fn read(path: &Path, bytes_max: u32) -> Result<(Vec<u8>, u32), KeysError> {
    let content = read_small_file_with_mode_blocking(path, bytes_max)?;
    content.ok_or_else(|| KeysError::Missing(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn a_token_that_others_may_write_is_shown_to_nobody() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("token");
        fs::write(&path, "sesame\n").unwrap();
        let read = |mode| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            read_token(&path).map(|shown| (shown.token, shown.is_open))
        };
        for (mode, is_open) in [
            (0o600, false),
            (0o640, false),
            (0o660, false),
            (0o644, true),
        ] {
            assert_eq!(read(mode).unwrap(), ("sesame".into(), is_open), "{mode:o}");
        }
        // Another file that has its name by then says nothing about it.
        let (pipe, better) = (home.path().join("pipe"), path.clone());
        mknodat(CWD, &pipe, FileType::Fifo, Mode::empty(), 0).unwrap();
        fs::set_permissions(&pipe, fs::Permissions::from_mode(0o666)).unwrap();
        let shown = std::thread::scope(|scope| {
            scope.spawn(|| {
                // Opens when the other side has.
                let mut open = fs::File::options().write(true).open(&pipe).unwrap();
                fs::copy(&better, home.path().join("new")).unwrap();
                let new = fs::Permissions::from_mode(0o600);
                fs::set_permissions(home.path().join("new"), new).unwrap();
                fs::rename(home.path().join("new"), &pipe).unwrap();
                open.write_all(b"stolen").unwrap();
            });
            read_token(&pipe).map(|shown| shown.token)
        });
        let error = shown.unwrap_err().to_string();
        assert!(error.contains("has mode 0666"), "{error}");
        for mode in [0o602, 0o646, 0o666] {
            let error = read(mode).unwrap_err().to_string();
            assert!(error.contains(&format!("has mode {mode:04o}")), "{error}");
        }
    }
}
