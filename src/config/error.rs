//! Why there is no configuration. Every message names the place and the remedy;
//! the process ends with code 78 after it.

use std::io;
use std::path::PathBuf;

use super::place::Place;

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file with a secret that anybody on the machine may read or change.
    #[error("{} has mode {mode:04o}: others than its owner and group may not read a secret; chmod o= it", path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A file is not TOML, or a value does not have the type of its key.
    #[error("{place}: {reason}")]
    Value {
        /// Where it stands.
        place: Place,
        /// What is wrong, in the parser's words.
        reason: String,
    },
    /// A key that does not exist.
    #[error("{place}: unknown key `{key}`{}", suggestion.as_ref().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default())]
    UnknownKey {
        /// Where it stands.
        place: Place,
        /// The key, from the top.
        key: String,
        /// The existing key that looks most like it.
        suggestion: Option<String>,
    },
    /// A secret is given twice in one place.
    #[error("{place}: `{key}` and `{key}_file` are both given; keep one")]
    SecretTwice {
        /// Where they stand.
        place: Place,
        /// The key of the secret.
        key: String,
    },
    /// A value is well formed but cannot work.
    #[error("`{key}` is {value}: {remedy}")]
    Impossible {
        /// The key, from the top.
        key: &'static str,
        /// Its value.
        value: String,
        /// What to change.
        remedy: String,
    },
}
