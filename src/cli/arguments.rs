//! Options and commands, as clap reads them and as `--help` prints them.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use toml::{Table, Value};

const EXAMPLES: &str = "\
Examples:
  windlass                                 serve on 127.0.0.1:5000, data in ./windlass-data
  windlass --config windlass.toml          serve as the file says
  windlass check-config --config a.toml    say what would be in force, and stop

Every key of the configuration is also a variable of the environment: WINDLASS_LISTEN,
WINDLASS_RUNTIME__SHARDS and so on, with two underscores between section and key.
WINDLASS_CONFIG names configuration files, separated by colons, when --config is not given.
The command line overrides the environment, the environment overrides files, and a later
file overrides an earlier one.

Exit codes: 0 after an orderly stop, 2 for a wrong command line, 78 when the configuration
or this machine has to be changed first, any other after a failure.";

/// A container image registry that a team runs on its own machines.
#[derive(Debug, Parser)]
#[command(name = "windlass", version, after_help = EXAMPLES)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Arguments {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the registry; also what happens without a command.
    Serve(Options),
    /// Print the configuration that would be in force, or say what is wrong with it.
    CheckConfig(Options),
}

/// What a command was asked to do.
#[derive(Debug)]
pub(super) enum Task {
    /// Run the registry.
    Serve,
    /// Print the configuration.
    CheckConfig,
}

impl Arguments {
    /// The task, and the options that came with it.
    pub(super) fn split(self) -> (Task, Options) {
        match self.command {
            Some(Command::CheckConfig(options)) => (Task::CheckConfig, options),
            Some(Command::Serve(options)) => (Task::Serve, options),
            None => (Task::Serve, self.options),
        }
    }
}

/// Options of every command.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Configuration file; repeat it to lay one over the other.
    #[arg(long = "config", value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,
    /// Address of the registry, for clients [default: 127.0.0.1:5000].
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Address of metrics and probes, for operators [default: 127.0.0.1:5001].
    #[arg(long, value_name = "ADDR")]
    admin_listen: Option<SocketAddr>,
    /// Folder that holds all this node stores [default: ./windlass-data].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
}

impl Options {
    /// The keys given on the command line, as the uppermost layer.
    pub(super) fn layer(&self) -> Table {
        let address = |value: Option<SocketAddr>| value.map(|value| value.to_string());
        let given = [
            ("listen", address(self.listen)),
            ("admin_listen", address(self.admin_listen)),
            ("data_dir", self.data_dir.clone()),
        ];
        given
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), Value::String(value?))))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<(Task, Options), clap::Error> {
        Arguments::try_parse_from(line.split(' ')).map(Arguments::split)
    }

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_bare_command_serves_with_the_same_options() {
        for line in [
            "windlass --listen 127.0.0.1:1 --data-dir d --config a --config b",
            "windlass serve --listen 127.0.0.1:1 --data-dir d --config a --config b",
        ] {
            let (task, options) = parse(line).unwrap();
            assert!(matches!(task, Task::Serve));
            assert_eq!(options.files, [PathBuf::from("a"), PathBuf::from("b")]);
            let expected = "listen = '127.0.0.1:1'\ndata_dir = 'd'";
            assert_eq!(options.layer(), toml::from_str(expected).unwrap());
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for line in [
            "windlass --listen here",
            "windlass server",
            "windlass --port 1",
            "windlass --data-dir d serve",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
