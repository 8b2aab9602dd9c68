//! Fixes how glommio treats the data device, before any real file is opened.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use glommio::GlommioError;
use glommio::io::DmaFile;

/// The data directory does not take direct writes.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// A file for direct writes could not be made.
    #[error("create a file for direct writes at {}", path.display())]
    Create {
        /// The probe file.
        path: PathBuf,
        /// What the runtime said.
        source: GlommioError<()>,
    },
    /// The probe file could not be removed again.
    #[error("remove {}", path.display())]
    Remove {
        /// The probe file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Opens and removes a write-only file in `directory`.
///
/// glommio tries one polled read on the first file that a thread opens on a device
/// and remembers the answer. The read succeeds on some kernels whose larger polled
/// reads then spin for ever, and on a new empty file everywhere, although polled
/// reads then fail. A write-only file cannot be read, so that the answer is "do not
/// poll", on this thread, for this device, for good.
pub(super) async fn prime(directory: &Path) -> Result<(), ProbeError> {
    let name = format!(".probe-{}-{}", std::process::id(), glommio::executor().id());
    let path = directory.join(name);
    let created = match DmaFile::create(&path).await {
        Ok(file) => file.close().await,
        Err(error) => Err(error),
    };
    let removed = fs::remove_file(&path);
    created.map_err(|source| ProbeError::Create {
        path: path.clone(),
        source,
    })?;
    removed.map_err(|source| ProbeError::Remove { path, source })
}
