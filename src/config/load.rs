//! From files, environment and command line to one configuration.

use std::path::PathBuf;

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::check::check;
use super::environment::environment_layer;
use super::error::ConfigError;
use super::file::{one_line, read_layer};
use super::keys::Keys;
use super::layer::merge;
use super::place::Place;
use super::schema::Config;

/// Names the folder of the credentials of a service. Source: systemd.exec(5).
const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";

/// Where configuration comes from, weakest first.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Files; later ones override earlier ones, lists append.
    pub files: Vec<PathBuf>,
    /// Variables of the environment; those that start with `WINDLASS_` count.
    pub environment: Vec<(String, String)>,
    /// Keys given on the command line, already of the right type.
    pub command_line: Table,
}

/// Builds the configuration: defaults, files, environment, command line, each
/// over the one before.
///
/// - Errors: the first thing found that is unknown, unreadable or impossible.
pub fn load(sources: Sources) -> Result<Config, ConfigError> {
    let table =
        Table::try_from(Config::with_every_key()).expect("invariant: every key is a TOML value");
    let keys = Keys {
        table,
        secrets: &["cluster.secret", "cluster.join_secret"],
        hashes: &["auth.users"],
        credentials: credentials(&sources.environment),
    };
    let config: Config = load_as(sources, &keys)?;
    check(&config)?;
    Ok(config)
}

/// Where the service manager puts secrets for this process.
fn credentials(environment: &[(String, String)]) -> Option<String> {
    let mut variables = environment.iter();
    let found = variables.find(|(name, _)| name == CREDENTIALS_VARIABLE)?;
    Some(found.1.clone())
}

fn load_as<T: DeserializeOwned>(sources: Sources, keys: &Keys) -> Result<T, ConfigError> {
    let mut merged = Table::new();
    for path in &sources.files {
        merge(&mut merged, read_layer::<T>(path, keys)?);
    }
    merge(
        &mut merged,
        environment_layer::<T>(&sources.environment, keys)?,
    );
    merge(&mut merged, sources.command_line);
    let mut merged = Value::Table(merged);
    keys.find_files(&mut merged);
    T::deserialize(merged).map_err(|error| ConfigError::Value {
        place: Place::merged(),
        reason: one_line(error.message()),
    })
}

#[cfg(test)]
#[path = "load_test.rs"]
mod tests;
