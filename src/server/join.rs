//! `windlass init` and `windlass join`: prepare a data directory, then end.

use std::process::ExitCode;
use std::sync::Arc;

use super::belonging::is_member;
use super::error::ServerError;
use super::membership::{advertised, joining_secret};
use super::run::report;
use crate::base::Clock;
use crate::cluster::{self, Joined, Wish};
use crate::config::{Config, PeerSecurity};
use crate::disk::{create_directories_synced, lock_directory};
use crate::peer::{
    Authority, Calls, ClusterFiles, ClusterId, Credentials, JoinToken, PeerIdentity, Security,
    TlsMaterial,
};
use crate::raft::Identity;
use crate::runtime::{preflight, run_alone};
use crate::telemetry::Metrics;

/// Number of the node that begins a cluster.
const FIRST_NODE_ID: u64 = 1;

/// Where to join, and with what.
#[derive(Debug, Clone)]
pub struct Invitation {
    /// A member's address for other nodes.
    pub address: String,
    /// The token that `windlass cluster add` printed.
    pub token: String,
    /// Whether the node is to vote once it holds everything.
    pub is_voter: bool,
}

/// What a node that joins does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinStep<'a> {
    /// It looks whether this machine can run it, and prepares its directory.
    Preparing,
    /// It reaches a member and waits to be admitted.
    Asking {
        /// The member.
        address: &'a str,
    },
    /// It has its number, and writes down who it is.
    Writing {
        /// The number.
        node: u64,
    },
    /// It is done, or has failed; what came of it is said next.
    Over,
}

/// Makes a node the first of a cluster: gives it an authority and a certificate. What
/// it stores stays. The node must not run meanwhile.
#[must_use]
pub fn init(config: &Config) -> ExitCode {
    report(begin(config))
}

/// Makes an empty node a member of a cluster, which `serve` then fills; tells each step
/// as it begins.
#[must_use]
pub fn join(config: &Config, invitation: &Invitation, tell: &dyn Fn(JoinStep<'_>)) -> ExitCode {
    let outcome = be_admitted(config, invitation, tell);
    tell(JoinStep::Over);
    report(outcome)
}

fn begin(config: &Config) -> Result<String, ServerError> {
    let address = advertised(&config.cluster)?;
    create_directories_synced(&config.data_dir)?;
    let _lock = lock_directory(&config.data_dir).map_err(ServerError::locked)?;
    if is_member(config)? {
        return Err(ServerError::MemberAlready {
            data_dir: config.data_dir.clone(),
        });
    }
    let cluster = begin_here(config)?;
    let wanted = wanted_certificate(config, cluster, FIRST_NODE_ID);
    Ok(format!(
        "cluster {cluster} begins with this node, {address}\n\
         start it with `windlass serve`, then for each further node:\n  \
         windlass cluster add                        here, prints a token\n  \
         windlass join {address} --token-file FILE   there, then `windlass serve`{wanted}"
    ))
}

/// Makes the node of a directory that this process has locked the first of a cluster.
pub(super) fn begin_here(config: &Config) -> Result<ClusterId, ServerError> {
    let identity = Identity::ensure(&config.data_dir)?;
    let cluster = ClusterId::parse(&identity.cluster)?;
    // An operator's authority does not give its key away.
    if config.cluster.security == PeerSecurity::Tls && config.cluster.ca_file.is_none() {
        let clock = Clock::system();
        let files = ClusterFiles::new(&config.data_dir);
        let authority = Authority::make(cluster, &clock)?;
        files.write_authority(&authority)?;
        files.write_node(&authority.issue(identity.raft_id, &clock)?)?;
    }
    Identity::mark_begun(&config.data_dir)?;
    Ok(cluster)
}

fn be_admitted(
    config: &Config,
    invitation: &Invitation,
    tell: &dyn Fn(JoinStep<'_>),
) -> Result<String, ServerError> {
    tell(JoinStep::Preparing);
    preflight(&config.data_dir)?;
    let token = JoinToken::parse(&invitation.token)?;
    create_directories_synced(&config.data_dir)?;
    let _lock = lock_directory(&config.data_dir).map_err(ServerError::locked)?;
    let node_uuid = Identity::claim(&config.data_dir)?;
    let wish = Wish {
        node_uuid,
        address: advertised(&config.cluster)?,
        is_voter: invitation.is_voter,
    };
    let security = match config.cluster.security {
        PeerSecurity::Tls => Security::Tls(TlsMaterial::joiner(token.authority())),
        PeerSecurity::Plain => joining_secret(&config.cluster)?,
    };
    let address = &invitation.address;
    tell(JoinStep::Asking { address });
    let joined = ask(security, address, *token.secret(), &wish)?;
    tell(JoinStep::Writing { node: joined.node });
    write(config, &wish, &joined)?;
    let wanted = wanted_certificate(config, joined.cluster, joined.node);
    let fills = if wish.is_voter {
        "fills, and votes once it holds everything"
    } else {
        "fills, and never votes"
    };
    Ok(format!(
        "this is node {} of cluster {} now\n\
         start it with `windlass serve`: it {fills}\n\
         `windlass cluster status --watch` shows how far it is{wanted}",
        joined.node, joined.cluster
    ))
}

/// What an operator who brings certificates has to do next.
fn wanted_certificate(config: &Config, cluster: ClusterId, node: u64) -> String {
    let Some(path) = &config.cluster.certificate_file else {
        return String::new();
    };
    let name = PeerIdentity { cluster, node }.certificate_name();
    let path = path.display();
    format!("\nbefore that, {path} needs the DNS name {name}")
}

/// Asks a member to be let in, on an executor of its own.
pub(super) fn ask(
    security: Security,
    address: &str,
    secret: [u8; 32],
    wish: &Wish,
) -> Result<Joined, ServerError> {
    let (address, wish) = (address.to_owned(), wish.clone());
    let joined = run_alone(move || async move {
        let calls = Calls::new(security, Arc::new(Metrics::new()));
        cluster::join(&calls, &address, &secret, &wish).await
    })?;
    Ok(joined)
}

/// The identity last: without it the directory is still empty, and joining again
/// gives the same number.
pub(super) fn write(config: &Config, wish: &Wish, joined: &Joined) -> Result<(), ServerError> {
    if !joined.authority.is_empty() {
        let clock = Clock::system();
        let files = ClusterFiles::new(&config.data_dir);
        let authority = Authority::of_pem(
            joined.cluster,
            &joined.authority,
            &joined.authority_key,
            &clock,
        )?;
        files.write_authority(&authority)?;
        files.write_node(&Credentials {
            authorities: joined.authority.clone().into_bytes(),
            chain: joined.chain.clone(),
            key: joined.key.clone(),
        })?;
    }
    let cluster = joined.cluster.to_string();
    let journal = config.data_dir.join("journal");
    Identity::join(
        &config.data_dir,
        &journal,
        &cluster,
        wish.node_uuid,
        joined.node,
    )?;
    Ok(())
}
