//! Configuration from the environment: `WINDLASS_RUNTIME__SHARDS=2`.

use std::path::Path;

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::error::ConfigError;
use super::file::{one_line, read_secret};
use super::keys::Keys;
use super::layer::{merge, nested};
use super::place::Place;

/// Every variable of ours starts with this.
const PREFIX: &str = "WINDLASS_";
/// Stands between the levels of a key.
const LEVEL: &str = "__";

/// Builds a layer from the variables of the environment.
///
/// - Errors: a variable starts with `WINDLASS_` and names no key, or its value
///   does not have the type of its key.
pub(super) fn environment_layer<T: DeserializeOwned>(
    variables: &[(String, String)],
    keys: &Keys,
) -> Result<Table, ConfigError> {
    let mut layer = Table::new();
    for (name, text) in variables {
        let Some(key) = name.strip_prefix(PREFIX) else {
            continue;
        };
        if is_service_link(key) {
            continue;
        }
        let path: Vec<String> = key.to_lowercase().split(LEVEL).map(str::to_owned).collect();
        let value = match keys.secret_of_file(&path) {
            Some(secret) => {
                let direct = variable_name(secret);
                if variables.iter().any(|(other, _)| *other == direct) {
                    return Err(ConfigError::SecretTwice {
                        place: Place::in_environment(name),
                        key: secret.to_owned(),
                    });
                }
                secret_layer(secret, &keys.file(text))?
            }
            None => single::<T>(name, &path, text, keys)?,
        };
        merge(&mut layer, value);
    }
    Ok(layer)
}

/// Whether a container scheduler set the variable because a service next to us
/// is called `windlass`; such variables are not meant for us.
fn is_service_link(key: &str) -> bool {
    let is_port = |rest: &str| rest.is_empty() || rest.starts_with('_');
    key.ends_with("SERVICE_HOST")
        || key.contains("SERVICE_PORT")
        || key.strip_prefix("PORT").is_some_and(is_port)
        || key.contains("_PORT_")
}

fn secret_layer(secret: &str, file: &str) -> Result<Table, ConfigError> {
    let content = read_secret(Path::new(file))?;
    let path: Vec<String> = secret.split('.').map(str::to_owned).collect();
    Ok(nested(&path, Value::String(content)))
}

fn single<T: DeserializeOwned>(
    name: &str,
    path: &[String],
    text: &str,
    keys: &Keys,
) -> Result<Table, ConfigError> {
    let place = || Place::in_environment(name);
    let Some(kind) = keys.find(path) else {
        let suggestion = keys.suggestion(path);
        return Err(ConfigError::UnknownKey {
            place: place(),
            key: path.join("."),
            suggestion: suggestion.map(|key| variable_name(&key)),
        });
    };
    let table = nested(path, value_like(kind, text));
    T::deserialize(table.clone()).map_err(|error| ConfigError::Value {
        place: place(),
        reason: one_line(error.message()),
    })?;
    Ok(table)
}

/// Reads `text` as TOML where the key wants more than text; what is no TOML stays
/// text, and the type check that follows finds the words for it.
fn value_like(kind: &Value, text: &str) -> Value {
    if kind.is_str() {
        return Value::String(text.to_owned());
    }
    text.parse()
        .unwrap_or_else(|_| Value::String(text.to_owned()))
}

fn variable_name(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', LEVEL).to_uppercase())
}
