//! Opens identity and journal before consensus starts.

use crate::journal;
use crate::metadata::{StateError, format_level};

use super::identity::{Identity, IdentityError};
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

/// Why the node must not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It does not know who it is.
    #[error("the node's identity cannot be used")]
    Identity(#[from] IdentityError),
    /// Its journal is damaged, lost something that was synced, or cannot be read.
    #[error(
        "the journal is not what was acknowledged; restore the data directory from a backup, \
         or start a new node with an empty one"
    )]
    Journal(#[from] journal::OpenError),
    /// The state may hold what only newer builds read.
    #[error(
        "the cluster uses formats of level {level}, and this build knows level {known}: start \
         the version that ran here before, or a newer one"
    )]
    Newer {
        /// What the cluster may write.
        level: u32,
        /// What this build reads.
        known: u32,
    },
    /// The state cannot say which formats it is in.
    #[error("the applied state cannot be read")]
    State(#[from] StateError),
}

/// Opens and checks. Blocks; the journal's threads inherit the CPUs of the
/// caller, so call it on a background thread.
pub fn open(options: &Options) -> Result<Opened, OpenError> {
    let identity = Identity::open(&options.data_directory, &options.journal.directory)?;
    let journal = journal::open(&options.journal)?;
    let level = format_level(&StateView(journal.generation.view()))?;
    let known = options.format_level;
    if level > known {
        return Err(OpenError::Newer { level, known });
    }
    Identity::mark_journal(&options.data_directory)?;
    Ok(Opened { identity, journal })
}
