//! What all shards share of the blob store, and how it is opened at start.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::desk::{Inbox, Letter, Outbox};
use super::kernel_boot::KernelBoot;
use super::key::Key;
use super::layout::Layout;
use super::recovery::{self, Recovery};
use super::upload_id::Minter;
use crate::base::CodecError;
use crate::disk::{
    self, create_directories_synced, read_small_file_blocking, write_file_synced_blocking,
};
use crate::oci::Digest;

/// Longest key file that is looked at.
const KEY_BYTES_MAX: u32 = 4096;

/// Where and for whom the store is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// The node's data directory; exists, and is locked by this process.
    pub data_directory: PathBuf,
    /// The node's id, which upload ids carry.
    pub node: u64,
    /// Data shards of this process, at least one.
    pub shards: u16,
    /// Milliseconds since the Unix epoch, now.
    pub now_ms: u64,
    /// Whether blobs that `is_live` denies stay where they are. In a cluster they must:
    /// other nodes may have acknowledged a push because its copy is here, and this
    /// node has not heard of that yet.
    pub keeps_unknown: bool,
}

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file could not be read, made or removed.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// A file or directory could not be listed or moved.
    #[error("{operation} {}", path.display())]
    Io {
        /// What was being done.
        operation: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The key file is damaged. Removing it lets the node start; uploads under way
    /// then begin anew.
    #[error("read the key of upload ids in {}", path.display())]
    Key {
        /// The key file.
        path: PathBuf,
        /// What is wrong with it.
        source: CodecError,
    },
}

/// The part of the blob store that every shard shares: paths, the key of upload
/// ids, the shards' inboxes. Immutable and cheap to clone; crosses threads.
#[derive(Clone, Debug)]
pub struct Shared(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    layout: Layout,
    minter: Minter,
    kernel_boot: KernelBoot,
    desks: Vec<(Outbox, Inbox)>,
}

/// Opens the store: makes its directories, takes up the sessions that a stopped
/// or killed process left, and sets files aside that nothing refers to.
///
/// `is_live` says whether the metadata knows a blob under a generation, inline
/// blobs excepted. Unless [`Options::keeps_unknown`], it must answer from a state that
/// has applied everything that is committed: a blob it denies is taken out of service.
///
/// Blocks on the file system; call it before the shards start.
pub fn open(
    options: &Options,
    is_live: impl Fn(&Digest, u64) -> bool,
) -> Result<(Shared, Recovery), OpenError> {
    open_in(KernelBoot::current(), options, is_live)
}

/// As [`open`], in a boot that a test may choose.
pub(super) fn open_in(
    kernel_boot: KernelBoot,
    options: &Options,
    is_live: impl Fn(&Digest, u64) -> bool,
) -> Result<(Shared, Recovery), OpenError> {
    assert!(options.shards > 0, "somebody must own the sessions");
    let layout = Layout::new(&options.data_directory);
    make_directories(&layout)?;
    let key = next_key(&layout)?;
    let desks: Vec<_> = (0..options.shards).map(|_| flume::unbounded()).collect();
    let (recovery, sessions) = recovery::run(&layout, &is_live, options, kernel_boot)?;
    for session in sessions {
        let letter = Letter::Enter {
            id: session.id,
            standing: session.standing,
            touched_ms: session.touched_ms,
        };
        if let Some((outbox, _)) = desks.get(owner_of(session.id.fields().shard, desks.len())) {
            drop(outbox.send(letter));
        }
    }
    let inner = Inner {
        layout,
        minter: Minter::new(key.secret, options.node, key.boot),
        kernel_boot,
        desks,
    };
    Ok((Shared(Arc::new(inner)), recovery))
}

impl Shared {
    /// Whether the file of an acknowledged blob is there, with the right length.
    /// Blocks on the file system.
    #[must_use]
    pub fn is_present(&self, digest: &Digest, generation: u64, size_bytes: u64) -> bool {
        let path = self.0.layout.blob(digest, generation);
        fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() == size_bytes)
    }

    /// Data shards that the store was opened for.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.0.desks.len()
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.0.layout
    }

    pub(super) fn kernel_boot(&self) -> KernelBoot {
        self.0.kernel_boot
    }

    pub(super) fn minter(&self) -> &Minter {
        &self.0.minter
    }

    /// The desk of the shard that owns the sessions named after `shard`.
    pub(super) fn desk(&self, shard: u16) -> (usize, &(Outbox, Inbox)) {
        let owner = owner_of(shard, self.0.desks.len());
        let desk = self.0.desks.get(owner);
        (
            owner,
            desk.expect("invariant: at least one desk, and owner is taken modulo"),
        )
    }
}

/// A restart with fewer shards gives the sessions of the missing ones to others.
fn owner_of(shard: u16, shards: usize) -> usize {
    usize::from(shard) % shards
}

/// Makes what is missing, and syncs each directory that got entries once.
fn make_directories(layout: &Layout) -> Result<(), OpenError> {
    create_directories_synced(&layout.uploads())?;
    create_directories_synced(&layout.quarantine())?;
    let mut changed = BTreeSet::new();
    for (_, directory) in layout.blob_directories() {
        let parent = directory.parent().unwrap_or(&directory);
        create_directories_synced(parent)?;
        if !directory.is_dir() {
            let made = fs::DirBuilder::new().mode(0o700).create(&directory);
            made.map_err(failed("create", &directory))?;
            changed.insert(parent.to_owned());
        }
    }
    for parent in changed {
        let synced = File::open(&parent).and_then(|opened| opened.sync_all());
        synced.map_err(failed("sync directory", &parent))?;
    }
    Ok(())
}

/// Takes the key up, or makes it, and counts this start before any id is made.
fn next_key(layout: &Layout) -> Result<Key, OpenError> {
    let path = layout.key();
    let key = match read_small_file_blocking(&path, KEY_BYTES_MAX)? {
        None => Key::random(),
        Some(record) => {
            let decoded = Key::decode(&record);
            decoded
                .map_err(|source| OpenError::Key {
                    path: path.clone(),
                    source,
                })?
                .next()
        }
    };
    write_file_synced_blocking(&path, &key.encode())?;
    Ok(key)
}

/// Names what failed.
pub(super) fn failed(
    operation: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> OpenError + use<> {
    let path = path.to_owned();
    move |source| OpenError::Io {
        operation,
        path,
        source,
    }
}
