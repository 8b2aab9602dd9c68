//! Whether a data directory belongs to a cluster, and whether it must.
//!
//! A member that lost its directory must not come back as a registry of its own: it
//! would take pushes that its cluster never sees. So where the configuration says that
//! a node is one of several, only what makes members makes it a directory.

use super::error::ServerError;
use super::membership::Membership;
use crate::config::Config;
use crate::peer::ClusterFiles;
use crate::raft::{Identity, Opened};

/// Whether the directory was made a member's, as far as its files say. Blocks.
pub(super) fn is_member(config: &Config) -> Result<bool, ServerError> {
    let directory = &config.data_dir;
    if ClusterFiles::new(directory).has_node() {
        return Ok(true);
    }
    let is_written = Identity::is_written(directory);
    Ok(is_written && Identity::ensure(directory)?.is_of_cluster(directory))
}

/// Refuses to begin a node with an empty directory that is to be one of several.
///
/// - Errors: `NoMember`.
pub(super) fn check_made(config: &Config) -> Result<(), ServerError> {
    let directory = &config.data_dir;
    // A journal without an identity is refused when it is opened.
    let is_empty = !Identity::is_written(directory) && !directory.join("journal").exists();
    if is_empty && config.cluster.is_of_cluster() {
        return Err(no_member(config));
    }
    Ok(())
}

/// What makes the node of an opened directory one of many; `None` for a node that runs
/// alone. Blocks.
///
/// - Errors: `NoMember` and `NoCertificates` where the configuration says that the node is
///   one of several and its directory does not.
pub(super) fn membership(
    config: &Config,
    opened: &Opened,
) -> Result<Option<Membership>, ServerError> {
    let directory = &config.data_dir;
    let is_wanted = config.cluster.is_of_cluster();
    if !ClusterFiles::new(directory).has_node() && !opened.is_of_cluster(directory)? {
        return if is_wanted {
            Err(no_member(config))
        } else {
            Ok(None)
        };
    }
    let membership = Membership::of(config, &opened.identity)?;
    match &membership {
        None if is_wanted => Err(ServerError::NoCertificates {
            node: opened.identity.raft_id,
            directory: directory.join("cluster"),
        }),
        // The last of its cluster may go on alone.
        None => Ok(None),
        Some(_) => {
            if !opened.identity.is_of_cluster(directory) {
                Identity::mark_begun(directory)?;
            }
            Ok(membership)
        }
    }
}

fn no_member(config: &Config) -> ServerError {
    ServerError::NoMember {
        data_dir: config.data_dir.clone(),
    }
}
