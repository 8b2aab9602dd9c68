//! A node with `cluster.peers` and an empty data directory: begins a cluster together
//! with the others, or joins theirs, before it serves.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::belonging::{check_made, is_member};
use super::error::ServerError;
use super::join::{ask, begin_here, write};
use super::membership::{advertised, join_secret, joining_secret};
use super::run::with_causes;
use crate::cluster::{Gathered, Plan, Wish, gather, ordinal_of};
use crate::config::{ClusterSection, Config, PeerSecurity};
use crate::disk::{create_directories_synced, lock_directory};
use crate::metadata::{NodeAddress, NodeUuid};
use crate::peer::{ClusterId, Fingerprint, JoinSecret, PeerListener, Security, TlsMaterial};
use crate::raft::Identity;
use crate::runtime::{Shutdown, hostname, preflight, run_alone};
use crate::telemetry::Metrics;

/// A member that cannot let anybody in now is asked again after this.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// What forming needs to know all along.
struct Former<'a> {
    config: &'a Config,
    secret: JoinSecret,
    plan: Plan,
    address: NodeAddress,
    shutdown: &'a Shutdown,
}

/// Makes a member of a node that `cluster.peers` wants to be one and that is none yet.
///
/// - Errors: `Stopped` when the process is to stop first.
pub(super) fn form(config: &Config, shutdown: &Shutdown) -> Result<(), ServerError> {
    let section = &config.cluster;
    let Some(secret) = join_secret(section)?.filter(|_| !section.peers.is_empty()) else {
        return check_made(config);
    };
    if is_settled(config)? {
        return Ok(());
    }
    preflight(&config.data_dir)?;
    create_directories_synced(&config.data_dir)?;
    let _lock = lock_directory(&config.data_dir).map_err(ServerError::locked)?;
    if is_settled(config)? {
        return Ok(());
    }
    let address = advertised(section)?;
    let plan = Plan {
        machine: machine(&config.data_dir)?,
        list: secret.plan(&section.peers, section.expected()),
        expected: section.expected(),
        is_founder: is_founder(section, &address, &hostname()),
    };
    let is_founder = plan.is_founder;
    tracing::info!(%address, is_founder, peers = ?section.peers, "this node is empty: it looks for its cluster");
    let former = Former {
        config,
        secret,
        plan,
        address,
        shutdown,
    };
    former.run()
}

/// Whether there is nothing to form: the node is a member, or the start will say what
/// is wrong with it.
fn is_settled(config: &Config) -> Result<bool, ServerError> {
    // With a journal and no identity, or an identity that is of no cluster, it is refused.
    Ok(config.data_dir.join("journal").exists() || is_member(config)?)
}

/// Names this machine, the same after a crash.
fn machine(data_dir: &Path) -> Result<NodeUuid, ServerError> {
    if Identity::is_written(data_dir) {
        return Ok(Identity::ensure(data_dir)?.node_uuid());
    }
    Ok(Identity::claim(data_dir)?)
}

/// The first of a list begins the cluster; of one name for all, the machine whose
/// hostname ends in `-0`.
fn is_founder(section: &ClusterSection, address: &NodeAddress, hostname: &str) -> bool {
    match section.peers.as_slice() {
        [_] => ordinal_of(hostname) == Some(0),
        [first, ..] => first == address.as_str(),
        [] => false,
    }
}

impl Former<'_> {
    fn run(&self) -> Result<(), ServerError> {
        loop {
            match self.gather()? {
                Gathered::Stopped => return Err(ServerError::Stopped),
                Gathered::Begin => {
                    let begun = begin_here(self.config)?;
                    tracing::info!(cluster = %begun, "every node is there: the cluster begins with this one");
                    return Ok(());
                }
                Gathered::Join {
                    address,
                    cluster,
                    authority,
                } => match self.join(&address.to_string(), cluster, authority) {
                    Err(ServerError::Join(error)) if !error.is_final() => {
                        tracing::warn!(%address, error = with_causes(&error), "not let in yet");
                    }
                    done => return done,
                },
            }
            thread::park_timeout(ASK_AGAIN);
        }
    }

    fn gather(&self) -> Result<Gathered, ServerError> {
        let (secret, plan) = (self.secret.clone(), self.plan.clone());
        let peers = self.config.cluster.peers.clone();
        let listen = self.config.cluster.listen;
        let shutdown = self.shutdown.clone();
        run_alone(move || async move {
            let listener = PeerListener::bind(listen, Arc::new(Metrics::new()));
            let listener = listener.map_err(ServerError::ListenPeers)?;
            let gathered = gather(listener, &secret, &plan, &peers, shutdown.wait()).await;
            gathered.map_err(ServerError::ListenPeers)
        })
    }

    /// Asks to be let in, with the proof that this machine is of the list.
    fn join(
        &self,
        address: &str,
        cluster: ClusterId,
        authority: Fingerprint,
    ) -> Result<(), ServerError> {
        let wish = Wish {
            node_uuid: self.plan.machine,
            address: self.address.clone(),
            is_voter: true,
        };
        let security = match self.config.cluster.security {
            PeerSecurity::Tls => Security::Tls(TlsMaterial::joiner(authority)),
            PeerSecurity::Plain => joining_secret(&self.config.cluster)?,
        };
        let proof = self.secret.proof(cluster, &wish.node_uuid);
        let joined = ask(security, address, proof, &wish)?;
        write(self.config, &wish, &joined)?;
        tracing::info!(node = joined.node, %cluster, "the cluster lets this node in");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_list_or_the_machine_that_ends_in_zero_begins() {
        let section = |peers: &[&str]| ClusterSection {
            peers: peers.iter().map(|peer| (*peer).to_owned()).collect(),
            ..ClusterSection::default()
        };
        let is = |peers: &[&str], address: &str, hostname: &str| {
            let address = NodeAddress::parse(address).unwrap();
            is_founder(&section(peers), &address, hostname)
        };
        let list = ["a:1", "b:1"];
        assert!(is(&list, "a:1", "x-1"));
        assert!(!is(&list, "b:1", "x-0"));
        assert!(!is(&list, "c:1", "x-0"));
        assert!(is(&["all:1"], "w-0.all:1", "w-0"));
        assert!(!is(&["all:1"], "all:1", "w-1"));
        assert!(!is(&["all:1"], "all:1", "w"));
    }
}
