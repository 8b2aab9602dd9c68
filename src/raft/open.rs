//! Opens identity and journal before consensus starts, and says whether this build may
//! go on in the state that its cluster has come to.

use std::path::Path;

use crate::journal;
use crate::metadata::{NodeState, StateError, View, format_level, node};

use super::identity::{Identity, IdentityError, replacement};
use super::options::Options;
use super::view::StateView;

/// A node that knows who it is and whose log passed its check. Crosses to the
/// raft core, where [`super::start`] takes it.
#[derive(Debug)]
pub struct Opened {
    /// Who this node is.
    pub identity: Identity,
    pub(super) journal: journal::Opened,
}

impl Opened {
    /// Whether the node was made one of a cluster: its identity says so, or its state,
    /// in which every member says where it is.
    pub fn is_of_cluster(&self, data_directory: &Path) -> Result<bool, StateError> {
        if self.identity.is_of_cluster(data_directory) {
            return Ok(true);
        }
        let view = StateView(self.journal.generation.view());
        Ok(node(&view, self.identity.raft_id)?.is_some())
    }
}

/// Why the node must not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It does not know who it is.
    #[error("the node's identity cannot be used")]
    Identity(#[from] IdentityError),
    /// Its journal is damaged, lost something that was synced, or cannot be read.
    #[error("the journal is not what was acknowledged; {}", replacement(*node))]
    Journal {
        /// Number of the node.
        node: u64,
        /// What is wrong with it.
        source: journal::OpenError,
    },
    /// The files of the journal cannot be used; what is in them may be whole.
    #[error("the journal cannot be read or written")]
    Files(#[source] journal::OpenError),
    /// This build is too old for the state.
    #[error(transparent)]
    Newer(Outdated),
    /// The state cannot say which formats it is in.
    #[error("the applied state cannot be read")]
    State(#[from] StateError),
}

/// Opens and checks. Blocks; the journal's threads inherit the CPUs of the
/// caller, so call it on a background thread.
pub fn open(options: &Options) -> Result<Opened, OpenError> {
    let identity = Identity::open(&options.data_directory, &options.journal.directory)?;
    let node = identity.raft_id;
    let journal = journal::open(&options.journal);
    let journal = journal.map_err(|source| match source {
        journal::OpenError::Files { .. } => OpenError::Files(source),
        source => OpenError::Journal { node, source },
    })?;
    let fitness = Fitness {
        node,
        known_level: options.format_level,
    };
    let checked = fitness.check_start(&StateView(journal.generation.view()));
    checked.map_err(|unfit| match unfit {
        Unfit::Outdated(outdated) => OpenError::Newer(outdated),
        Unfit::State(error) => OpenError::State(error),
    })?;
    Identity::mark_journal(&options.data_directory)?;
    Ok(Opened { identity, journal })
}

/// The state may hold what only newer builds read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the cluster uses formats of level {level}, and this build knows level {known}: start \
     the version that ran here before, or a newer one"
)]
pub struct Outdated {
    /// What the cluster may write.
    pub level: u32,
    /// What this build reads.
    pub known: u32,
}

/// Why a node does not go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfit {
    /// Its build is too old.
    #[error(transparent)]
    Outdated(#[from] Outdated),
    /// The state does not say.
    #[error(transparent)]
    State(#[from] StateError),
}

/// What a node can read, and which one it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fitness {
    /// Its number.
    pub node: u64,
    /// The newest formats that it knows.
    pub known_level: u32,
}

impl Fitness {
    /// Whether a node may start on this state.
    pub(super) fn check_start(self, view: &dyn View) -> Result<(), Unfit> {
        let (level, known) = (format_level(view)?, self.known_level);
        if level > known {
            return Err(Outdated { level, known }.into());
        }
        Ok(())
    }

    /// Whether a node may go on with this state. The level rises when the last one that
    /// lacked it is removed: that one has nothing to read any more, and will be told.
    pub(super) fn check(self, view: &dyn View) -> Result<(), Unfit> {
        let Err(unfit) = self.check_start(view) else {
            return Ok(());
        };
        let is_removed = node(view, self.node)
            .is_ok_and(|record| record.is_some_and(|record| record.state == NodeState::Removed));
        if is_removed { Ok(()) } else { Err(unfit) }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;
    use std::fs;
    use std::sync::Arc;

    use super::*;
    use crate::telemetry::Metrics;

    #[test]
    fn a_node_with_a_damaged_journal_is_replaced_and_never_sent_back_in_time() {
        let directory = tempfile::tempdir().unwrap();
        let options = Options::new(directory.path(), Arc::new(Metrics::new()));
        let (home, journal) = (directory.path(), &options.journal.directory);
        Identity::join(home, journal, &"c".repeat(32), [7; 16], 41).unwrap();
        fs::create_dir(journal).unwrap();
        fs::write(journal.join("mark"), "no mark").unwrap();
        let refused = open(&options).unwrap_err();
        assert!(matches!(refused, OpenError::Journal { node: 41, .. }));
        let text = refused.to_string();
        for part in [
            "never put an older journal back",
            "`windlass cluster remove 41` on another node",
            "only a node that runs alone restores",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn a_journal_whose_files_are_in_the_way_is_not_called_damaged() {
        let directory = tempfile::tempdir().unwrap();
        let options = Options::new(directory.path(), Arc::new(Metrics::new()));
        // A file where the folder has to be.
        Identity::ensure(directory.path()).unwrap();
        fs::write(&options.journal.directory, "").unwrap();
        let refused = open(&options).unwrap_err();
        assert!(matches!(refused, OpenError::Files(_)), "{refused}");
        assert!(refused.source().is_some());
    }
}
