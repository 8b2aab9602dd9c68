//! Who this node is: written once into its data directory, never guessed again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::{Mutant, random_bytes};
use crate::journal;
use crate::metadata::NodeUuid;

/// Name of the file.
const FILE: &str = "node.json";
/// Name of the machine while it asks to be let in.
const CLAIM_FILE: &str = "joining";
/// Version of its format.
const FORMAT_VERSION: u32 = 1;
/// Raft id of the first node of a cluster.
pub(super) const FIRST_NODE_ID: u64 = 1;
/// Written when the journal is there, beside it: whoever deletes the journal
/// does not delete this.
const JOURNAL_MARK_FILE: &str = "journal.made";
/// Written when the node has learned that it was removed.
const REMOVED_MARK_FILE: &str = "node.removed";

/// Written when a cluster has begun with the node. A node that joined one needs no mark:
/// its number says so.
const BEGUN_MARK_FILE: &str = "cluster.begun";

/// Identity of a node. Survives everything but the loss of the directory; an
/// empty directory never takes an old identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    version: u32,
    /// Names the cluster; 32 hex digits.
    pub cluster: String,
    /// Names this node for ever; 32 hex digits.
    pub node: String,
    /// Its number in raft.
    pub raft_id: u64,
}

/// What is left to do where nobody knows the number of a node.
const LOST_MEMBER: &str = "without one, take a member of a cluster out by `windlass cluster \
    remove N` on another node, whose `windlass cluster status` says N, and let it join again \
    with an empty directory; a node that runs alone begins anew with one";

/// What to do with a node whose journal is not what it acknowledged. A member must not come
/// back with an older one: it would vote again, and what a majority acknowledged with it
/// could be lost.
pub(super) fn replacement(node: u64) -> String {
    format!(
        "replace this node if it is one of a cluster: never put an older journal back, take it \
         out by `windlass cluster remove {node}` on another node, empty its data directory and \
         let it join again; only a node that runs alone restores its data directory from a backup"
    )
}

/// Why a node does not know who it is.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file cannot be read or written.
    #[error("{operation} {}", path.display())]
    File {
        /// What was being done.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is not what was written.
    #[error(
        "{} is damaged: it never changes, so put back a copy of this one file; {LOST_MEMBER}",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The file was written by a newer version.
    #[error("{} has version {version}, this build knows 1", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// There is a journal but no identity.
    #[error(
        "{} is missing but its journal is there: it never changes, so put back a copy of this \
         one file; {LOST_MEMBER}",
        path.display()
    )]
    Lost {
        /// The file.
        path: PathBuf,
    },
    /// There is an identity but its journal is gone.
    #[error("{} is missing; {}", path.display(), replacement(*node))]
    JournalLost {
        /// The journal.
        path: PathBuf,
        /// Number of the node.
        node: u64,
    },
    /// The node was removed from its cluster.
    #[error(
        "{} says that this node was removed from its cluster; \
         start a new one with an empty directory",
        path.display()
    )]
    Removed {
        /// The file.
        path: PathBuf,
    },
    /// The directory belongs to another node.
    #[error("{} says that this is another node already", path.display())]
    Other {
        /// The file.
        path: PathBuf,
    },
}

impl Identity {
    /// Reads the identity, or makes one in a directory that has no journal yet.
    pub(super) fn open(
        data_directory: &Path,
        journal_directory: &Path,
    ) -> Result<Self, IdentityError> {
        let path = data_directory.join(FILE);
        match fs::read_to_string(&path) {
            Ok(text) => {
                let removed = data_directory.join(REMOVED_MARK_FILE);
                if removed.exists() {
                    return Err(IdentityError::Removed { path: removed });
                }
                let identity = Self::parse(&text, path)?;
                let is_made = data_directory.join(JOURNAL_MARK_FILE).exists();
                let is_lost = is_made && !journal::is_made(journal_directory);
                if is_lost && !Mutant::ReuseWipedIdentity.is_on() {
                    // It voted with what is lost; an empty log must not vote again.
                    return Err(IdentityError::JournalLost {
                        path: journal_directory.to_owned(),
                        node: identity.raft_id,
                    });
                }
                Ok(identity)
            }
            Err(source) if source.kind() == io::ErrorKind::NotFound => {
                if journal_directory.exists() {
                    return Err(IdentityError::Lost { path });
                }
                let identity = Self::random();
                identity
                    .write(data_directory)
                    .map_err(|source| IdentityError::File {
                        operation: "write",
                        path,
                        source,
                    })?;
                Ok(identity)
            }
            Err(source) => Err(IdentityError::File {
                operation: "read",
                path,
                source,
            }),
        }
    }

    /// Reads the identity of a node that runs alone so far, or gives it one. Blocks.
    pub fn ensure(data_directory: &Path) -> Result<Self, IdentityError> {
        Self::open(data_directory, &data_directory.join("journal"))
    }

    /// Whether a directory has an identity.
    #[must_use]
    pub fn is_written(data_directory: &Path) -> bool {
        data_directory.join(FILE).exists()
    }

    /// Names the machine of a directory that has no identity yet, the same each time:
    /// whoever asks a cluster twice to be let in is recognised. Blocks.
    ///
    /// - Errors: `Other` when the directory belongs to a node already.
    pub fn claim(data_directory: &Path) -> Result<NodeUuid, IdentityError> {
        let taken = data_directory.join(FILE);
        if taken.exists() {
            return Err(IdentityError::Other { path: taken });
        }
        let path = data_directory.join(CLAIM_FILE);
        let failed = |operation| {
            let path = path.clone();
            move |source| IdentityError::File {
                operation,
                path,
                source,
            }
        };
        match fs::read_to_string(&path) {
            Ok(text) => {
                let number = u128::from_str_radix(text.trim(), 16);
                let number = number.map_err(io::Error::other).map_err(failed("read"))?;
                Ok(number.to_be_bytes())
            }
            Err(source) if source.kind() == io::ErrorKind::NotFound => {
                let node_uuid: NodeUuid = random_bytes();
                let text = format!("{:032x}\n", u128::from_be_bytes(node_uuid));
                let written = write_whole(data_directory, CLAIM_FILE, text.as_bytes());
                written.map_err(failed("write"))?;
                Ok(node_uuid)
            }
            Err(source) => Err(failed("read")(source)),
        }
    }

    /// Writes the identity of a node that a cluster has admitted, into a directory
    /// that has none. Doing it again is fine. Blocks.
    ///
    /// - Errors: `Other` when the directory belongs to another node, `Lost` when
    ///   it holds a journal.
    pub fn join(
        data_directory: &Path,
        journal: &Path,
        cluster: &str,
        node_uuid: NodeUuid,
        raft_id: u64,
    ) -> Result<Self, IdentityError> {
        let path = data_directory.join(FILE);
        let identity = Self {
            version: FORMAT_VERSION,
            cluster: cluster.to_owned(),
            node: format!("{:032x}", u128::from_be_bytes(node_uuid)),
            raft_id,
        };
        if path.exists() {
            let found = Self::open(data_directory, journal)?;
            return if found == identity {
                Ok(found)
            } else {
                Err(IdentityError::Other { path })
            };
        }
        if journal.exists() {
            return Err(IdentityError::Lost { path });
        }
        let written = identity.write(data_directory);
        written.map_err(|source| IdentityError::File {
            operation: "write",
            path,
            source,
        })?;
        Ok(identity)
    }

    /// Notes that the journal exists from now on.
    pub(super) fn mark_journal(data_directory: &Path) -> Result<(), IdentityError> {
        mark(data_directory, JOURNAL_MARK_FILE)
    }

    /// Notes that a cluster begins with the node of this directory. Blocks.
    pub fn mark_begun(data_directory: &Path) -> Result<(), IdentityError> {
        mark(data_directory, BEGUN_MARK_FILE)
    }

    /// Whether this node was made one of a cluster, by beginning or by joining it. Of the
    /// first node of a cluster that began before there was a mark only its state says so.
    #[must_use]
    pub fn is_of_cluster(&self, data_directory: &Path) -> bool {
        self.raft_id != FIRST_NODE_ID || data_directory.join(BEGUN_MARK_FILE).exists()
    }

    /// Notes that this node must not start again.
    pub(super) fn mark_removed(data_directory: &Path) -> Result<(), IdentityError> {
        mark(data_directory, REMOVED_MARK_FILE)
    }

    /// The machine's name as bytes.
    #[must_use]
    pub fn node_uuid(&self) -> NodeUuid {
        // What another hand wrote there still names one machine.
        u128::from_str_radix(&self.node, 16).map_or_else(|_| [0; 16], u128::to_be_bytes)
    }

    fn random() -> Self {
        let name = || format!("{:032x}", u128::from_le_bytes(random_bytes()));
        Self {
            version: FORMAT_VERSION,
            cluster: name(),
            node: name(),
            raft_id: FIRST_NODE_ID,
        }
    }

    fn parse(text: &str, path: PathBuf) -> Result<Self, IdentityError> {
        match serde_json::from_str::<Self>(text) {
            Ok(identity) if identity.version == FORMAT_VERSION => Ok(identity),
            Ok(identity) => Err(IdentityError::Newer {
                path,
                version: identity.version,
            }),
            Err(source) => Err(IdentityError::Damaged { path, source }),
        }
    }

    /// Write, sync, rename, sync the directory: it is there whole or not at all.
    fn write(&self, data_directory: &Path) -> io::Result<()> {
        fs::create_dir_all(data_directory)?;
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        write_whole(data_directory, FILE, text.as_bytes())
    }
}

/// Makes a file that is there whole or not at all, also after a power cut.
fn write_whole(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let staged = directory.join(format!("{name}.new"));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&staged)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&staged, directory.join(name))?;
    File::open(directory)?.sync_all()
}

/// Makes an empty file that stays, unless it is there.
fn mark(data_directory: &Path, name: &str) -> Result<(), IdentityError> {
    let path = data_directory.join(name);
    if path.exists() {
        return Ok(());
    }
    let marked = File::create(&path).and_then(|file| file.sync_all());
    let synced = marked.and_then(|()| File::open(data_directory)?.sync_all());
    synced.map_err(|source| IdentityError::File {
        operation: "write",
        path,
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_made_once_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let journal = directory.path().join("journal");
        let first = Identity::open(directory.path(), &journal).unwrap();
        fs::create_dir(&journal).unwrap();
        assert_eq!(Identity::open(directory.path(), &journal).unwrap(), first);
        assert_eq!((first.cluster.len(), first.node.len()), (32, 32));
        assert_ne!(first.cluster, first.node);
    }

    #[test]
    fn an_identity_is_written_as_it_always_was_and_read_back() {
        let golden = include_str!("../../tests/fixtures/raft/node_v1.json");
        let directory = tempfile::tempdir().unwrap();
        let (home, journal) = (directory.path(), directory.path().join("journal"));
        let cluster = "0123456789abcdef0123456789abcdef";
        let written = Identity::join(home, &journal, cluster, [9; 16], 12).unwrap();
        assert_eq!(fs::read_to_string(home.join(FILE)).unwrap(), golden);
        assert_eq!(Identity::parse(golden, home.join(FILE)).unwrap(), written);
    }

    #[test]
    fn a_journal_without_an_identity_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let journal = directory.path().join("journal");
        fs::create_dir(&journal).unwrap();
        let refused = Identity::open(directory.path(), &journal);
        assert!(matches!(refused, Err(IdentityError::Lost { .. })));
    }

    #[test]
    fn a_journal_that_was_made_and_is_gone_is_not_made_again() {
        let directory = tempfile::tempdir().unwrap();
        let journal = directory.path().join("journal");
        let first = Identity::open(directory.path(), &journal).unwrap();
        // A crash before the journal was made harms nobody.
        assert_eq!(Identity::open(directory.path(), &journal).unwrap(), first);
        Identity::mark_journal(directory.path()).unwrap();
        let refused = Identity::open(directory.path(), &journal);
        assert!(matches!(refused, Err(IdentityError::JournalLost { .. })));
        // A folder without a journal is no better.
        fs::create_dir(&journal).unwrap();
        let refused = Identity::open(directory.path(), &journal);
        assert!(matches!(refused, Err(IdentityError::JournalLost { .. })));
        fs::write(journal.join("mark"), "").unwrap();
        assert_eq!(Identity::open(directory.path(), &journal).unwrap(), first);
    }

    #[test]
    fn a_removed_node_does_not_start_again() {
        let directory = tempfile::tempdir().unwrap();
        let journal = directory.path().join("journal");
        Identity::open(directory.path(), &journal).unwrap();
        Identity::mark_removed(directory.path()).unwrap();
        let refused = Identity::open(directory.path(), &journal);
        assert!(matches!(refused, Err(IdentityError::Removed { .. })));
    }

    #[test]
    fn a_node_is_of_a_cluster_that_began_with_it_or_let_it_in() {
        let [alone, joined] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let first = Identity::ensure(alone.path()).unwrap();
        assert!(!first.is_of_cluster(alone.path()));
        Identity::mark_begun(alone.path()).unwrap();
        assert!(first.is_of_cluster(alone.path()));
        let (home, cluster) = (joined.path(), "c".repeat(32));
        let second = Identity::join(home, &home.join("journal"), &cluster, [7; 16], 5).unwrap();
        assert!(second.is_of_cluster(home));
    }

    #[test]
    fn a_node_joins_once_and_never_as_another_one() {
        let directory = tempfile::tempdir().unwrap();
        let journal = directory.path().join("journal");
        let cluster = "c".repeat(32);
        let join =
            |uuid: u8, id| Identity::join(directory.path(), &journal, &cluster, [uuid; 16], id);
        let joined = join(7, 41).unwrap();
        assert_eq!((joined.raft_id, joined.node_uuid()), (41, [7; 16]));
        assert_eq!(join(7, 41).unwrap(), joined);
        assert!(matches!(join(7, 42), Err(IdentityError::Other { .. })));
        assert!(matches!(join(8, 41), Err(IdentityError::Other { .. })));
        let found = Identity::open(directory.path(), &journal).unwrap();
        assert_eq!(found, joined);
    }

    #[test]
    fn a_damaged_or_newer_identity_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let journal = directory.path().join("journal");
        let identity = Identity::open(directory.path(), &journal).unwrap();
        let path = directory.path().join(FILE);
        let newer = Identity {
            version: 2,
            ..identity
        };
        fs::write(&path, serde_json::to_string(&newer).unwrap()).unwrap();
        let refused = Identity::open(directory.path(), &journal);
        assert!(matches!(
            refused,
            Err(IdentityError::Newer { version: 2, .. })
        ));
        fs::write(&path, "{").unwrap();
        let refused = Identity::open(directory.path(), &journal);
        assert!(matches!(refused, Err(IdentityError::Damaged { .. })));
    }
}
