//! Options and commands, as clap reads them and as `--help` prints them.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use toml::{Table, Value};

use crate::config::Period;

const EXAMPLES: &str = "\
Examples:
  windlass                                 serve on 127.0.0.1:5000, data in ./windlass-data
  windlass --config windlass.toml          serve as the file says
  windlass check-config --config a.toml    say what would be in force, and stop

A cluster, on the first node and then on each other one:
  windlass init --advertise a:5002 && windlass serve
  windlass cluster add                     on a node that serves: a token for one more node
  windlass join a:5002 --token-file TOKEN --advertise b:5002 && windlass serve
  windlass cluster status

Or start every node with the same cluster.name, cluster.peers and cluster.join_secret,
each with an empty data directory: they form the cluster by themselves.

Tokens for machines, on a node that serves:
  windlass token create ci --scope 'team/**:pull,push' --expires 90d
                                           prints the token once: docker login -u ci
  windlass token list                      who has which, and until when
  windlass token revoke ci                 it proves nothing any more, on any node

Users and rules:
  windlass hash-password bob >> users      a line for `auth.users_file`
  windlass acl explain bob team/app push   which rule allows it, or why none does
  windlass acl explain ci team/app push --robot --scope 'team/**:pull'
  windlass acl explain - team/app pull --certificate client.pem

TLS for a trial, with a certificate that clients have to be told about:
  windlass tls self-signed registry.example.org 192.0.2.7 --out /etc/windlass

SIGHUP lets a running node read certificates again.

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
    /// Make this node the first of a cluster; images in it stay.
    Init(Options),
    /// Make this empty node a member of a cluster; `serve` then fills it.
    Join {
        #[command(flatten)]
        join: Join,
        #[command(flatten)]
        options: Options,
    },
    /// Read a password from standard input, and print the line of a file of users for it.
    HashPassword {
        /// Name of the user.
        user: String,
    },
    /// Ask about the rules of access.
    Acl {
        #[command(subcommand)]
        command: AclCommand,
    },
    /// Make certificates for clients to see.
    Tls {
        #[command(subcommand)]
        command: TlsCommand,
    },
    /// Make, list and revoke tokens of machines, through a running node.
    Token {
        #[command(subcommand)]
        command: TokenCommand,
        #[command(flatten)]
        operators: Operators,
    },
    /// Ask a running node about its cluster, or change the cluster through it.
    Cluster {
        #[command(subcommand)]
        command: ClusterCommand,
        #[command(flatten)]
        operators: Operators,
    },
}

/// What a command was asked to do.
#[derive(Debug)]
pub(super) enum Task {
    /// Run the registry.
    Serve,
    /// Print the configuration.
    CheckConfig,
    /// Begin a cluster.
    Init,
    /// Join a cluster.
    Join(Join),
    /// Print a line for a file of users.
    HashPassword { user: String },
    /// Explain the rules.
    Explain(Explain),
    /// Speak to a running node.
    Cluster(ClusterCommand),
    /// Make certificates.
    Tls(TlsCommand),
    /// Speak to a running node about tokens.
    Token(TokenCommand),
}

/// What to make.
#[derive(Debug, Subcommand)]
pub(super) enum TlsCommand {
    /// Make a certificate that vouches for itself, and its key, for trials; print what
    /// to write into the configuration and what clients must be told.
    SelfSigned {
        /// Host names and addresses that clients will use.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// Folder for `tls.pem` and `tls.key`.
        #[arg(long, value_name = "DIR", default_value = ".")]
        out: PathBuf,
    },
}

/// How to join.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Join {
    /// Address of a member for other nodes, as `host:port`.
    pub(super) address: String,
    /// File with the token that `windlass cluster add` printed, or `-` for standard
    /// input. In an argument every user would see it in the process list.
    #[arg(long, value_name = "FILE")]
    pub(super) token_file: PathBuf,
    /// Hold a copy of everything, and never vote.
    #[arg(long)]
    pub(super) learner: bool,
}

#[derive(Debug, Subcommand)]
enum AclCommand {
    /// Say which rule allows a user something, or why none does; exit code 1 then.
    Explain {
        #[command(flatten)]
        explain: Explain,
        #[command(flatten)]
        options: Options,
    },
}

/// Who asks for what.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Explain {
    /// Name of the user; `-` for a caller without credentials, and also beside --certificate.
    pub(super) user: String,
    /// Name of the repository.
    pub(super) repository: String,
    /// pull, push, tag-create, tag-overwrite, delete or admin.
    pub(super) action: String,
    /// Address of the client.
    #[arg(long, value_name = "ADDR")]
    pub(super) from: Option<IpAddr>,
    /// File with the claims of a signed identity, as JSON.
    #[arg(long, value_name = "FILE")]
    pub(super) claims: Option<PathBuf>,
    /// USER is the name of a token of a machine: only rules that say `robot` are for it.
    #[arg(long)]
    pub(super) robot: bool,
    /// A scope of that token, as `windlass token list` shows it; as often as needed.
    #[arg(long = "scope", value_name = "SCOPE", requires = "robot")]
    pub(super) scopes: Vec<String>,
    /// File with the certificate that the caller shows and nothing else, as PEM.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["claims", "robot"])]
    pub(super) certificate: Option<PathBuf>,
}

/// What to do about tokens of machines.
#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token and print it, which happens only once. A machine logs in with the name
    /// as its user name and the token as its password.
    Create {
        /// What to call it, and its user name.
        name: String,
        /// What it may do, as often as needed: `PATTERN:ACTION,ACTION` with a pattern of
        /// repositories (`*` stops at a slash, `**` does not) and actions of pull, push,
        /// tag-create, tag-overwrite, delete and admin; or `catalog` for the list of
        /// those repositories that it may pull.
        #[arg(long = "scope", value_name = "SCOPE", required = true)]
        scopes: Vec<String>,
        /// After this it proves nothing, such as 12h or 90d [default: never].
        #[arg(long, value_name = "TIME")]
        expires: Option<Period>,
        /// Print everything as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print every token's number, name, scopes and times, and never the token itself.
    List {
        /// Print it as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Let a token prove nothing any more, and everything that was got with it.
    Revoke {
        /// Number of the token, or name of one that has not ended.
        token: String,
    },
}

/// What to ask of a running node, at its address for operators.
#[derive(Debug, Subcommand)]
pub(super) enum ClusterCommand {
    /// Print each node's role, log, copies and disk; its view of the consensus, with how
    /// long proposals take; and what it fetches and serves, how fast, with what failures.
    Status {
        /// Print it as JSON.
        #[arg(long)]
        json: bool,
        /// Go on until every node has everything, with a bar for each.
        #[arg(long, conflicts_with = "json")]
        watch: bool,
        /// Print what it fetches and serves for each other node by itself.
        #[arg(long, conflicts_with_all = ["json", "watch"])]
        peers: bool,
    },
    /// Print a token with which one more node may join within an hour.
    Add,
    /// Let a learner vote: it gets its vote by itself once it holds everything.
    Promote {
        /// Number of the node.
        node: u64,
        /// Give it the vote as soon as it has the journal, whatever blobs it lacks. Until it
        /// has fetched them, they may be on fewer than a majority of the voters.
        #[arg(long)]
        force: bool,
    },
    /// Take a node's vote; it goes on as a copy.
    Demote {
        /// Number of the node.
        node: u64,
    },
    /// Take a node out for good; its number never comes back. Refused while a majority
    /// of the other voters lacks something that it holds.
    Remove {
        /// Number of the node.
        node: u64,
        /// Take it out whatever is lost with it.
        #[arg(long)]
        force: bool,
    },
    /// Let another node lead.
    TransferLeader {
        /// Number of the node; by default the one that has most of the log.
        node: Option<u64>,
    },
    /// Take leadership and vote from a node, wait until a majority of the other voters
    /// holds every blob, and say when the node may go.
    Drain {
        /// Number of the node.
        node: u64,
    },
}

impl Arguments {
    /// The task, and the options that came with it.
    pub(super) fn split(self) -> (Task, Options) {
        match self.command {
            Some(Command::CheckConfig(options)) => (Task::CheckConfig, options),
            Some(Command::Serve(options)) => (Task::Serve, options),
            Some(Command::Init(options)) => (Task::Init, options),
            Some(Command::Join { join, options }) => (Task::Join(join), options),
            Some(Command::HashPassword { user }) => {
                (Task::HashPassword { user }, Options::default())
            }
            Some(Command::Acl {
                command: AclCommand::Explain { explain, options },
            }) => (Task::Explain(explain), options),
            Some(Command::Cluster { command, operators }) => {
                (Task::Cluster(command), operators.options())
            }
            Some(Command::Token { command, operators }) => {
                (Task::Token(command), operators.options())
            }
            Some(Command::Tls { command }) => (Task::Tls(command), Options::default()),
            None => (Task::Serve, self.options),
        }
    }
}

/// Where a running node listens for operators.
#[derive(Debug, Args)]
struct Operators {
    /// Configuration file of the node; repeat it to lay one over the other.
    #[arg(long = "config", value_name = "FILE", global = true)]
    files: Vec<PathBuf>,
    /// Address of the node for operators [default: 127.0.0.1:5001].
    #[arg(long, value_name = "ADDR", global = true)]
    admin_listen: Option<SocketAddr>,
}

impl Operators {
    fn options(self) -> Options {
        Options {
            files: self.files,
            admin_listen: self.admin_listen,
            ..Options::default()
        }
    }
}

/// Options of every command.
#[derive(Debug, Default, Args)]
pub(super) struct Options {
    /// Configuration file; repeat it to lay one over the other.
    #[arg(long = "config", value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,
    /// Address of the registry, for clients [default: 127.0.0.1:5000].
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Address for operators: metrics, probes [default: 127.0.0.1:5001].
    #[arg(long, value_name = "ADDR")]
    admin_listen: Option<SocketAddr>,
    /// Address of this node for other nodes [default: 127.0.0.1:5002].
    #[arg(long, value_name = "ADDR")]
    cluster_listen: Option<SocketAddr>,
    /// `host:port` by which other nodes reach it [default: that address].
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,
    /// Folder that holds all this node stores [default: ./windlass-data].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
}

impl Options {
    /// The keys given on the command line, as the uppermost layer.
    pub(super) fn layer(&self) -> Table {
        let address = |value: Option<SocketAddr>| value.map(|value| value.to_string());
        let mut layer = table([
            ("listen", address(self.listen)),
            ("admin_listen", address(self.admin_listen)),
            ("data_dir", self.data_dir.clone()),
        ]);
        let cluster = table([
            ("listen", address(self.cluster_listen)),
            ("advertise", self.advertise.clone()),
        ]);
        if !cluster.is_empty() {
            layer.insert("cluster".to_owned(), Value::Table(cluster));
        }
        layer
    }
}

fn table<const KEYS: usize>(given: [(&str, Option<String>); KEYS]) -> Table {
    let keys = given.into_iter();
    keys.filter_map(|(key, value)| Some((key.to_owned(), Value::String(value?))))
        .collect()
}

#[cfg(test)]
#[path = "arguments_test.rs"]
mod tests;
