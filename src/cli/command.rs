//! Runs what the command line asks for.

use std::env;
use std::ffi::OsString;
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;

use super::access;
use super::arguments::{Arguments, Join, Options, Task, TlsCommand};
use super::joining::Steps;
use super::{cluster, token};
use crate::config::{Config, ConfigError, Sources, load, read_secret};
use crate::runtime::allow_core_dumps;
use crate::server::{self, Invitation};

/// Exit code when the configuration, or the machine, has to be changed before
/// the node can run. Source: `EX_CONFIG` of sysexits.h; service managers can be
/// told not to restart on it.
pub const EXIT_CONFIG_CODES: u8 = 78;

/// Stands for standard input where a file is named.
const STANDARD_INPUT: &str = "-";

/// Longest token to join that is read; they have a few hundred characters.
const TOKEN_BYTES_MAX: u64 = 64 * 1024;

/// Names configuration files when `--config` does not.
const FILES_VARIABLE: &str = "WINDLASS_CONFIG";

/// Reads the command line, loads the configuration and does what was asked.
///
/// Ends the process itself, with code 0 or 2, for `--help`, `--version` and a
/// wrong command line.
pub fn main() -> ExitCode {
    // Before any secret is read, whatever the command.
    if let Err(error) = allow_core_dumps(false) {
        return fail(&error.to_string());
    }
    let (task, options) = Arguments::parse().split();
    let loaded = match &task {
        // Needs no configuration, and is how the first one comes about.
        Task::HashPassword { .. } => Ok(Config::default()),
        _ => load_with(&options, env::vars_os().collect()),
    };
    let config = match loaded {
        Ok(config) => config,
        Err(error) => {
            complain(&error);
            return ExitCode::from(EXIT_CONFIG_CODES);
        }
    };
    match task {
        Task::Serve => match allow_core_dumps(config.runtime.core_dumps) {
            Ok(()) => server::run(&config),
            Err(error) => fail(&error.to_string()),
        },
        Task::CheckConfig => print(&config),
        Task::Init => server::init(&config),
        Task::Join(join) => match invitation(join) {
            Ok(invitation) => {
                let steps = Steps::new();
                server::join(&config, &invitation, &|step| steps.show(step))
            }
            Err(error) => fail(&format!("the join token: {error}")),
        },
        Task::HashPassword { user } => access::hash_password(&user),
        Task::Explain(explain) => access::explain(&explain, &config),
        Task::Tls(TlsCommand::SelfSigned { names, out }) => server::self_signed(&names, &out),
        Task::Token(command) => match token::run(command, &config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error.to_string()),
        },
        Task::Cluster(command) => match cluster::run(&command, &config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error.to_string()),
        },
    }
}

fn invitation(join: Join) -> Result<Invitation, ConfigError> {
    let token = if join.token_file == Path::new(STANDARD_INPUT) {
        let mut token = String::new();
        let input = io::stdin().lock().take(TOKEN_BYTES_MAX);
        let read = io::BufReader::new(input).read_line(&mut token);
        read.map_err(|source| ConfigError::Read {
            path: join.token_file,
            source,
        })?;
        token
    } else {
        read_secret(&join.token_file)?
    };
    let token = token.trim().to_owned();
    Ok(Invitation {
        address: join.address,
        token,
        is_voter: !join.learner,
    })
}

pub(super) fn fail(reason: &str) -> ExitCode {
    // Without standard error the exit code says it alone.
    drop(writeln!(io::stderr(), "windlass: {reason}"));
    ExitCode::FAILURE
}

fn load_with(
    options: &Options,
    variables: Vec<(OsString, OsString)>,
) -> Result<Config, ConfigError> {
    let mut files = options.files.clone();
    let mut environment = Vec::new();
    for (name, value) in variables {
        if name == FILES_VARIABLE {
            if options.files.is_empty() {
                let named = env::split_paths(&value);
                files = named.filter(|path| path != Path::new("")).collect();
            }
        } else if let Ok(name) = name.into_string() {
            environment.push((name, value.to_string_lossy().into_owned()));
        }
    }
    load(Sources {
        files,
        environment,
        command_line: options.layer(),
    })
}

/// Says on standard error why there is no configuration. When nobody listens
/// there, the exit code says it alone.
fn complain(error: &ConfigError) {
    drop(writeln!(io::stderr(), "windlass: {error}"));
}

fn print(config: &Config) -> ExitCode {
    match io::stdout().write_all(config.to_toml().as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn load_line(line: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let (_, options) = Arguments::parse_from(line.split(' ')).split();
        let owned = |(name, value): &(&str, &str)| (OsString::from(name), OsString::from(value));
        load_with(&options, variables.iter().map(owned).collect())
    }

    #[test]
    fn files_come_from_the_variable_only_without_the_option() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let first = file("1.toml", "data_dir = 'one'");
        let second = file("2.toml", "listen = '127.0.0.1:2'");
        let both = format!("{first}:{second}");
        let config = load_line("windlass", &[("WINDLASS_CONFIG", &both)]).unwrap();
        assert_eq!(config.data_dir, Path::new("one"));
        assert_eq!(config.listen.port(), 2);
        let line = format!("windlass --config {second}");
        let config = load_line(&line, &[("WINDLASS_CONFIG", &first)]).unwrap();
        assert_eq!(config.data_dir, Config::default().data_dir);
    }

    #[test]
    fn the_command_line_is_the_uppermost_layer() {
        let line = "windlass serve --listen 127.0.0.1:9";
        let config = load_line(line, &[("WINDLASS_LISTEN", "127.0.0.1:8")]).unwrap();
        assert_eq!(config.listen.port(), 9);
    }
}
