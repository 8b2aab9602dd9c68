//! One configuration file: TOML, with messages that point to the line.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde::Deserialize as _;
use serde::de::DeserializeOwned;
use toml::Table;
use toml::de::{DeTable, DeValue};
use toml::{Deserializer, Spanned};

use super::error::ConfigError;
use super::keys::Keys;
use super::place::Place;

/// Permissions of others. The group may read a secret, as mounted ones often are.
const OTHERS_BITS: u32 = 0o007;

/// Reads the file at `path` and checks it against the keys and types of `T`.
pub(super) fn read_layer<T: DeserializeOwned>(
    path: &Path,
    keys: &Keys,
) -> Result<Table, ConfigError> {
    let (text, metadata) = read(path)?;
    parse_layer::<T>(path, (&text, &metadata), keys)
}

/// Reads a secret: the content of a file without its last line break.
///
/// - Errors: also when others than the file's owner and group may read or change it.
pub fn read_secret(path: &Path) -> Result<String, ConfigError> {
    let (mut file, metadata) = open(path)?;
    check_permissions(path, &metadata)?;
    let mut secret = String::new();
    file.read_to_string(&mut secret).map_err(unread(path))?;
    let trimmed_bytes = secret.trim_end_matches(['\r', '\n']).len();
    secret.truncate(trimmed_bytes);
    Ok(secret)
}

fn check_permissions(path: &Path, metadata: &Metadata) -> Result<(), ConfigError> {
    let mode = metadata.mode() & 0o7777;
    if mode & OTHERS_BITS == 0 {
        return Ok(());
    }
    let path = path.to_owned();
    Err(ConfigError::Permissions { path, mode })
}

fn read(path: &Path) -> Result<(String, Metadata), ConfigError> {
    let (mut file, metadata) = open(path)?;
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(unread(path))?;
    Ok((text, metadata))
}

/// A file, and what it is: of another one that has its name by the time somebody asks,
/// permissions would say nothing.
fn open(path: &Path) -> Result<(File, Metadata), ConfigError> {
    let file = File::open(path).map_err(unread(path))?;
    let metadata = file.metadata().map_err(unread(path))?;
    Ok((file, metadata))
}

fn unread(path: &Path) -> impl Fn(io::Error) -> ConfigError {
    move |source| ConfigError::Read {
        path: path.to_owned(),
        source,
    }
}

fn parse_layer<T: DeserializeOwned>(
    path: &Path,
    (text, metadata): (&str, &Metadata),
    keys: &Keys,
) -> Result<Table, ConfigError> {
    let value_error = |error: toml::de::Error| ConfigError::Value {
        place: Place::in_file(path, text, error.span()),
        reason: one_line(error.message()),
    };
    let mut document = DeTable::parse(text).map_err(value_error)?;
    let source = Source {
        path,
        text,
        metadata,
        keys,
    };
    source.check_keys(document.get_mut(), &mut Vec::new())?;
    // Once for the types, whose errors know their line, and once for the merge.
    T::deserialize(Deserializer::from(document.clone())).map_err(value_error)?;
    Table::deserialize(Deserializer::from(document)).map_err(value_error)
}

/// The parser wraps some messages; a log line does not.
pub(super) fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn is_empty_list(value: &DeValue<'_>) -> bool {
    matches!(value, DeValue::Array(list) if list.is_empty())
}

struct Source<'a> {
    path: &'a Path,
    text: &'a str,
    /// Of the file that `text` was read from.
    metadata: &'a Metadata,
    keys: &'a Keys,
}

impl Source<'_> {
    /// Refuses unknown keys and replaces `<secret>_file` by the secret itself.
    fn check_keys(
        &self,
        table: &mut DeTable<'_>,
        path: &mut Vec<String>,
    ) -> Result<(), ConfigError> {
        let mut secrets = Vec::new();
        for (key, value) in table.iter_mut() {
            path.push(key.get_ref().to_string());
            if self.keys.secret_of_file(path).is_some() {
                secrets.push((key.clone(), self.secret(value)?));
            } else if self.keys.find(path).is_none() {
                return Err(ConfigError::UnknownKey {
                    place: self.place(key.span()),
                    key: path.join("."),
                    suggestion: self.keys.suggestion(path),
                });
            } else if self.keys.is_secret(path)
                || self.keys.holds_hashes(path) && !is_empty_list(value.get_ref())
            {
                // A file with a secret in it is as secret.
                check_permissions(self.path, self.metadata)?;
            } else if let DeValue::Table(section) = value.get_mut() {
                self.check_keys(section, path)?;
            }
            path.pop();
        }
        for (file_key, secret) in secrets {
            table.remove(&file_key);
            let name = file_key.get_ref();
            let name = name.strip_suffix("_file").unwrap_or(name).to_owned();
            let key = Spanned::new(file_key.span(), name.clone().into());
            if table.insert(key, secret).is_some() {
                path.push(name);
                return Err(ConfigError::SecretTwice {
                    place: self.place(file_key.span()),
                    key: path.join("."),
                });
            }
        }
        Ok(())
    }

    /// The content of the file that `value` names, standing where the name stood.
    fn secret<'i>(
        &self,
        value: &Spanned<DeValue<'i>>,
    ) -> Result<Spanned<DeValue<'i>>, ConfigError> {
        let Some(file) = value.get_ref().as_str() else {
            return Err(ConfigError::Value {
                place: self.place(value.span()),
                reason: format!(
                    "expected the path of a file, found {}",
                    value.get_ref().type_str()
                ),
            });
        };
        let secret = read_secret(Path::new(&self.keys.file(file)))?;
        Ok(Spanned::new(value.span(), DeValue::String(secret.into())))
    }

    fn place(&self, span: std::ops::Range<usize>) -> Place {
        Place::in_file(self.path, self.text, Some(span))
    }
}
