//! Who this node is: written once into its data directory, never guessed again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::random_bytes;

/// Name of the file.
const FILE: &str = "node.json";
/// Version of its format.
const FORMAT_VERSION: u32 = 1;
/// Raft id of the first node of a cluster.
const FIRST_NODE_ID: u64 = 1;

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
    #[error("{} is damaged; restore it from a backup", path.display())]
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
        "{} is missing but its journal is there; restore the file, or start with an empty directory",
        path.display()
    )]
    Lost {
        /// The file.
        path: PathBuf,
    },
}

impl Identity {
    /// Reads the identity, or makes one in a directory that has no journal yet.
    pub(super) fn open(data_directory: &Path, journal: &Path) -> Result<Self, IdentityError> {
        let path = data_directory.join(FILE);
        match fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text, path),
            Err(source) if source.kind() == io::ErrorKind::NotFound => {
                if journal.exists() {
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
        let text = serde_json::to_string_pretty(self)?;
        let staged = data_directory.join("node.json.new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&staged)?;
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&staged, data_directory.join(FILE))?;
        File::open(data_directory)?.sync_all()
    }
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
    fn a_journal_without_an_identity_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let journal = directory.path().join("journal");
        fs::create_dir(&journal).unwrap();
        let refused = Identity::open(directory.path(), &journal);
        assert!(matches!(refused, Err(IdentityError::Lost { .. })));
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
