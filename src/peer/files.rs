//! Certificates and keys on disk.
//!
//! ```text
//! <data>/cluster/ca.pem     certificate of the cluster's authority
//! <data>/cluster/ca.key     its key
//! <data>/cluster/node.pem   certificate of this node
//! <data>/cluster/node.key   its key
//! ```
//! Keys are written before what they belong to: a certificate that is there has its
//! key. All functions block: they are for the start of the process and for commands.

use std::path::{Path, PathBuf};

use super::authority::{Authority, AuthorityError};
use super::certificate::Credentials;
use super::identity::ClusterId;
use crate::base::Clock;
use crate::base::units::KIB;
use crate::disk::write_file_synced_blocking;
use crate::disk::{
    self, create_directories_synced, read_small_file_blocking, read_small_file_with_mode_blocking,
};

/// Longest file: some dozens of certificates.
const FILE_BYTES_MAX: u32 = 256 * KIB;
/// Permissions of group and others.
const NOT_OWNERS_BITS: u32 = 0o077;
/// Permissions of others.
const OTHERS_BITS: u32 = 0o007;

/// Certificates or keys could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The disk failed.
    #[error("certificates and keys")]
    Disk(#[from] disk::Error),
    /// A file is missing while others of its set are there.
    #[error("{} is missing", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Others than the owner can read a key.
    #[error("{} has mode {mode:04o}: others may not read a key", path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The authority in the files does not work.
    #[error("the authority in {}", directory.display())]
    Authority {
        /// Folder of the files.
        directory: PathBuf,
        /// What is wrong.
        source: AuthorityError,
    },
}

/// The folder of a node's own certificates and keys.
#[derive(Debug, Clone)]
pub struct ClusterFiles {
    directory: PathBuf,
}

/// Where an operator keeps certificates that the cluster did not make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorFiles {
    /// Certificates of the authorities.
    pub authorities: PathBuf,
    /// The node's certificate, and those between.
    pub chain: PathBuf,
    /// The key of the node's certificate.
    pub key: PathBuf,
}

impl ClusterFiles {
    /// The folder in a data directory; it need not be there yet.
    #[must_use]
    pub fn new(data_directory: &Path) -> Self {
        Self {
            directory: data_directory.join("cluster"),
        }
    }

    /// Writes the authority, to survive a power cut.
    pub fn write_authority(&self, authority: &Authority) -> Result<(), FilesError> {
        create_directories_synced(&self.directory)?;
        self.write("ca.key", authority.key().as_bytes())?;
        self.write("ca.pem", authority.certificate().as_bytes())
    }

    /// Writes the node's certificate and key, to survive a power cut.
    pub fn write_node(&self, credentials: &Credentials) -> Result<(), FilesError> {
        create_directories_synced(&self.directory)?;
        self.write("node.key", &credentials.key)?;
        self.write("node.pem", &credentials.chain)
    }

    /// The authority; `None` when the cluster has none of its own.
    ///
    /// - Errors: also when its key may be read by others.
    pub fn read_authority(
        &self,
        cluster: ClusterId,
        clock: &Clock,
    ) -> Result<Option<Authority>, FilesError> {
        let Some(certificate) = self.read("ca.pem")? else {
            return Ok(None);
        };
        let key = read_key(&self.directory.join("ca.key"), NOT_OWNERS_BITS)?;
        let (certificate, key) = (lossy(&certificate), lossy(&key));
        let authority = Authority::of_pem(cluster, &certificate, &key, clock);
        let authority = authority.map_err(|source| FilesError::Authority {
            directory: self.directory.clone(),
            source,
        })?;
        Ok(Some(authority))
    }

    /// Whether the node was given a certificate.
    #[must_use]
    pub fn has_node(&self) -> bool {
        self.directory.join("node.pem").exists()
    }

    /// What the node shows and trusts; `None` when it has no certificate yet.
    ///
    /// - Errors: also when the key may be read by others.
    pub fn read_node(&self) -> Result<Option<Credentials>, FilesError> {
        let Some(chain) = self.read("node.pem")? else {
            return Ok(None);
        };
        Ok(Some(Credentials {
            authorities: read_present(&self.directory.join("ca.pem"))?,
            chain,
            key: read_key(&self.directory.join("node.key"), NOT_OWNERS_BITS)?,
        }))
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<(), FilesError> {
        Ok(write_file_synced_blocking(
            &self.directory.join(name),
            content,
        )?)
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, FilesError> {
        let path = self.directory.join(name);
        Ok(read_small_file_blocking(&path, FILE_BYTES_MAX)?)
    }
}

impl OperatorFiles {
    /// Reads all three. The key may be the group's, as mounted secrets often are, but
    /// not everybody's.
    pub fn read(&self) -> Result<Credentials, FilesError> {
        Ok(Credentials {
            authorities: read_present(&self.authorities)?,
            chain: read_present(&self.chain)?,
            key: read_key_file(&self.key)?,
        })
    }
}

fn read_present(path: &Path) -> Result<Vec<u8>, FilesError> {
    read_with_mode(path).map(|(content, _)| content)
}

fn read_with_mode(path: &Path) -> Result<(Vec<u8>, u32), FilesError> {
    let read = read_small_file_with_mode_blocking(path, FILE_BYTES_MAX)?;
    read.ok_or_else(|| FilesError::Missing { path: path.into() })
}

/// Reads a key that an operator keeps; blocks.
///
/// - Errors: also when everybody may read it.
pub fn read_key_file(path: &Path) -> Result<Vec<u8>, FilesError> {
    read_key(path, OTHERS_BITS)
}

fn read_key(path: &Path, forbidden_bits: u32) -> Result<Vec<u8>, FilesError> {
    let (content, mode) = read_with_mode(path)?;
    if mode & forbidden_bits != 0 {
        let path = path.into();
        return Err(FilesError::Permissions { path, mode });
    }
    Ok(content)
}

/// PEM is ASCII; what is not fails to be read as PEM.
fn lossy(content: &[u8]) -> String {
    String::from_utf8_lossy(content).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    #[test]
    fn what_was_written_is_read_back_and_only_the_owner_can() {
        let home = tempfile::tempdir().unwrap();
        let clock = Clock::system();
        let cluster = ClusterId::parse(&"a".repeat(32)).unwrap();
        let files = ClusterFiles::new(home.path());
        assert!(files.read_authority(cluster, &clock).unwrap().is_none());
        assert!(files.read_node().unwrap().is_none());

        let authority = Authority::make(cluster, &clock).unwrap();
        let credentials = authority.issue(3, &clock).unwrap();
        files.write_authority(&authority).unwrap();
        files.write_node(&credentials).unwrap();
        let read = files.read_authority(cluster, &clock).unwrap().unwrap();
        assert_eq!(read.key(), authority.key());
        let node = files.read_node().unwrap().unwrap();
        assert_eq!(node.key, credentials.key);
        assert_eq!(node.authorities, authority.certificate().as_bytes());

        let directory = home.path().join("cluster");
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(&directory), 0o700);
        for key in ["ca.key", "node.key"] {
            assert_eq!(mode(&directory.join(key)), 0o600);
        }
        let operator = OperatorFiles {
            authorities: directory.join("ca.pem"),
            chain: directory.join("node.pem"),
            key: directory.join("node.key"),
        };
        let loosen = |name: &str, mode| {
            let permissions = fs::Permissions::from_mode(mode);
            fs::set_permissions(directory.join(name), permissions).unwrap();
        };
        loosen("node.key", 0o640);
        assert!(operator.read().is_ok());
        let refused = files.read_node();
        assert!(matches!(
            refused,
            Err(FilesError::Permissions { mode: 0o640, .. })
        ));
        loosen("node.key", 0o644);
        assert!(operator.read().is_err());
        loosen("ca.key", 0o604);
        assert!(files.read_authority(cluster, &clock).is_err());
        fs::remove_file(directory.join("ca.key")).unwrap();
        let refused = files.read_authority(cluster, &clock);
        assert!(matches!(refused, Err(FilesError::Missing { .. })));
    }
}
