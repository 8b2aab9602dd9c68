//! Where blobs and sessions lie in the data directory.
//!
//! ```text
//! blobs/<algorithm>/<first 2 hex>/<hex>.<generation>   exactly the content
//! uploads/<id>.data                                    whole sectors of a session
//! uploads/<id>.session                                 `record.rs`
//! uploads/<hex>.<generation>.import                    `import_record.rs`
//! uploads/key                                          `key.rs`
//! quarantine/                                          what recovery did not understand
//! ```

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::upload_id::UploadId;
use crate::oci::{Algorithm, Digest};

const DATA: &str = ".data";
const SESSION: &str = ".session";
const IMPORT: &str = ".import";

/// Builds and reads the paths of one data directory. Pure.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    root: PathBuf,
}

/// What a name in `uploads/` stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UploadFile {
    /// The bytes of a session.
    Data(UploadId),
    /// The record of a session.
    Session(UploadId),
    /// The record of a blob from another node.
    Import(Digest, u64),
    /// The key of the node.
    Key,
}

impl Layout {
    /// The layout under `data_directory`.
    pub(super) fn new(data_directory: &Path) -> Self {
        Self {
            root: data_directory.to_owned(),
        }
    }

    /// Final place of a sealed blob.
    pub(super) fn blob(&self, digest: &Digest, generation: u64) -> PathBuf {
        let hex = digest.hex();
        let mut path = self.root.join("blobs");
        path.push(digest.algorithm().name());
        path.push(hex.get(..2).unwrap_or_default());
        path.push(format!("{hex}.{generation}"));
        path
    }

    /// Every directory that holds sealed blobs: 256 of each algorithm.
    pub(super) fn blob_directories(&self) -> impl Iterator<Item = (Algorithm, PathBuf)> + '_ {
        Algorithm::ALL.into_iter().flat_map(move |algorithm| {
            let directory = self.root.join("blobs").join(algorithm.name());
            (0..=u8::MAX).map(move |byte| (algorithm, directory.join(format!("{byte:02x}"))))
        })
    }

    /// Directory of the sessions.
    pub(super) fn uploads(&self) -> PathBuf {
        self.root.join("uploads")
    }

    /// Bytes of a session.
    pub(super) fn upload_data(&self, id: &UploadId) -> PathBuf {
        self.uploads().join(format!("{id}{DATA}"))
    }

    /// Record of a session.
    pub(super) fn upload_session(&self, id: &UploadId) -> PathBuf {
        self.uploads().join(format!("{id}{SESSION}"))
    }

    /// Record of a blob that comes from another node.
    pub(super) fn upload_import(&self, digest: &Digest, generation: u64) -> PathBuf {
        let name = format!("{}.{generation}{IMPORT}", digest.hex());
        self.uploads().join(name)
    }

    /// Key of the node's upload ids.
    pub(super) fn key(&self) -> PathBuf {
        self.uploads().join("key")
    }

    /// Place of files that recovery did not understand.
    pub(super) fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }
}

/// Reads the name of a sealed blob; `None` when no sealed blob is named so.
pub(super) fn parse_blob(algorithm: Algorithm, name: &OsStr) -> Option<(Digest, u64)> {
    let name = name.to_str()?;
    let (hex, generation) = name.split_once('.')?;
    let digest = Digest::parse(&format!("{algorithm}:{hex}")).ok()?;
    let generation: u64 = generation.parse().ok()?;
    (format!("{}.{generation}", digest.hex()) == name).then_some((digest, generation))
}

/// Reads a name in `uploads/`; `None` when nothing of ours is named so.
pub(super) fn parse_upload(name: &OsStr) -> Option<UploadFile> {
    let name = name.to_str()?;
    if name == "key" {
        return Some(UploadFile::Key);
    }
    if let Some(blob) = name.strip_suffix(IMPORT) {
        // Digests of two algorithms differ in length.
        let parsed = Algorithm::ALL.map(|one| parse_blob(one, OsStr::new(blob)));
        let found = parsed.into_iter().flatten().next();
        return found.map(|(digest, generation)| UploadFile::Import(digest, generation));
    }
    let data = name.strip_suffix(DATA).map(UploadId::parse);
    let session = name.strip_suffix(SESSION).map(UploadId::parse);
    match (data, session) {
        (Some(Ok(id)), _) => Some(UploadFile::Data(id)),
        (_, Some(Ok(id))) => Some(UploadFile::Session(id)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        let layout = Layout::new(Path::new("/d"));
        for algorithm in Algorithm::ALL {
            let digest = Digest::of(algorithm, b"a");
            let path = layout.blob(&digest, 42);
            let name = path.file_name().unwrap();
            assert_eq!(parse_blob(algorithm, name), Some((digest, 42)));
            let directory = path.parent().unwrap().to_owned();
            assert!(
                layout
                    .blob_directories()
                    .any(|one| one == (algorithm, directory.clone()))
            );
            let import = layout.upload_import(&digest, 42);
            assert_eq!(
                parse_upload(import.file_name().unwrap()),
                Some(UploadFile::Import(digest, 42))
            );
        }
        let id = UploadId::from_bytes([9; 40]);
        let data = layout.upload_data(&id);
        let session = layout.upload_session(&id);
        assert_eq!(
            parse_upload(data.file_name().unwrap()),
            Some(UploadFile::Data(id))
        );
        assert_eq!(
            parse_upload(session.file_name().unwrap()),
            Some(UploadFile::Session(id))
        );
        assert_eq!(
            parse_upload(layout.key().file_name().unwrap()),
            Some(UploadFile::Key)
        );
    }

    #[test]
    fn other_names_are_not_ours() {
        let hex = Digest::of(Algorithm::Sha256, b"a").hex();
        for bad in [
            String::new(),
            hex.clone(),
            format!("{hex}."),
            format!("{hex}.01"),
            format!("{hex}.+1"),
            format!("{hex}.1.tmp"),
            format!("{}.1", hex.to_uppercase()),
            format!("{hex}0.1"),
        ] {
            assert_eq!(
                parse_blob(Algorithm::Sha256, OsStr::new(&bad)),
                None,
                "{bad}"
            );
        }
        for bad in [
            "",
            "x.data",
            ".data",
            ".session",
            "key.tmp",
            "aa.1.import",
            ".import",
        ] {
            assert_eq!(parse_upload(OsStr::new(bad)), None, "{bad}");
        }
    }
}
