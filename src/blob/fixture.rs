//! A store in a directory of its own, for the tests of this room.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::kernel_boot::KernelBoot;
use super::open::open_in;
use super::{Machinery, Options, Recovery, SealError, Sealed, Shared, Store, Upload, UploadError};
use crate::base::Clock;
use crate::base::units::MIB;
use crate::disk::Directories;
use crate::memory::Pool;
use crate::oci::{Algorithm, Digest, Repository};
use crate::runtime::sleep;
use crate::telemetry::Metrics;

/// Shards of a test's store, all of them on one executor.
pub(super) const SHARDS: u16 = 2;

/// A node's data directory and the blobs its metadata would know.
pub(super) struct Home {
    pub(super) directory: Rc<TempDir>,
    pub(super) live: BTreeSet<(Digest, u64)>,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) pool: Pool,
    /// Which boot of the kernel the next start is in.
    pub(super) kernel_boot: KernelBoot,
    /// Whether the next start is that of a node among others.
    pub(super) keeps_unknown: bool,
}

impl Home {
    pub(super) fn new() -> Self {
        Self::with_pool(4 * MIB)
    }

    pub(super) fn with_pool(pool_bytes: u32) -> Self {
        Self {
            directory: Rc::new(tempfile::tempdir().unwrap()),
            live: BTreeSet::new(),
            clock: Clock::hand_moved(),
            metrics: Arc::default(),
            pool: Pool::new(pool_bytes),
            kernel_boot: KernelBoot([1; 16]),
            keeps_unknown: false,
        }
    }

    pub(super) fn open(&self) -> (Shared, Recovery) {
        let options = Options {
            data_directory: self.directory.path().to_owned(),
            node: 7,
            shards: SHARDS,
            now_ms: self.clock.unix_ms(),
            keeps_unknown: self.keeps_unknown,
        };
        open_in(self.kernel_boot, &options, |digest, generation| {
            self.live.contains(&(*digest, generation))
        })
        .unwrap()
    }

    /// Starts the node: one store per shard.
    pub(super) fn start(&self) -> (Vec<Store>, Recovery) {
        let (shared, recovery) = self.open();
        let store = |shard| self.store(&shared, shard);
        ((0..SHARDS).map(store).collect(), recovery)
    }

    /// The store of one shard.
    pub(super) fn store(&self, shared: &Shared, shard: u16) -> Store {
        let machinery = Machinery {
            pool: self.pool.clone(),
            directories: Directories::new(),
            clock: self.clock.clone(),
            metrics: Arc::clone(&self.metrics),
        };
        Store::new(shared.clone(), shard, machinery)
    }

    /// Waits until the kernel is done with every write, as it is when a process is gone.
    pub(super) async fn settle(&self) {
        for _ in 0..2000 {
            let usage = self.pool.usage();
            if usage.free_bytes == usage.total_bytes {
                return;
            }
            sleep(Duration::from_millis(2)).await;
        }
        panic!("{:?} are still in use", self.pool.usage());
    }

    pub(super) fn path(&self, below: &str) -> PathBuf {
        self.directory.path().join(below)
    }

    /// Names of the files in a folder of the data directory, in order.
    pub(super) fn files(&self, below: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(below)).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Files of sessions, the key left out.
    pub(super) fn session_files(&self) -> Vec<String> {
        let mut names = self.files("uploads");
        names.retain(|name| name != "key");
        names
    }

    /// Path of a sealed blob.
    pub(super) fn blob(&self, digest: &Digest, generation: u64) -> PathBuf {
        super::layout::Layout::new(self.directory.path()).blob(digest, generation)
    }
}

impl Machinery {
    /// What a test lends to a store, on an executor whose region is large enough.
    pub(crate) fn of_test(pool_bytes: u32, metrics: Arc<Metrics>) -> Self {
        Self {
            pool: Pool::new(pool_bytes),
            directories: Directories::new(),
            clock: Clock::system(),
            metrics,
        }
    }
}

pub(super) fn repository() -> Repository {
    Repository::parse("library/test").unwrap()
}

/// Bytes that never repeat at a sector or an extent.
pub(super) fn content(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut content = Vec::with_capacity(bytes + 8);
    while content.len() < bytes {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(99);
        content.extend_from_slice(&(state >> 11).to_le_bytes());
    }
    content.truncate(bytes);
    content
}

pub(super) fn sha256(content: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, content)
}

/// Sends `content` into an upload in pieces of at most `piece_bytes`.
pub(super) async fn send(
    upload: &mut Upload,
    mut content: &[u8],
    piece_bytes: usize,
) -> Result<(), UploadError> {
    while !content.is_empty() {
        let space = upload.space().await?;
        let count = space.len().min(content.len()).min(piece_bytes);
        space[..count].copy_from_slice(&content[..count]);
        upload.advance(count).await?;
        content = &content[count..];
    }
    Ok(())
}

/// Receives and seals `content` in one request.
pub(super) async fn push(store: &Store, content: &[u8]) -> Result<Sealed, SealError> {
    let mut upload = store.receive(&repository(), Algorithm::Sha256);
    send(&mut upload, content, usize::MAX).await?;
    upload.seal(&sha256(content), 1).await
}

pub(super) fn checksums(content: &[u8]) -> Vec<u32> {
    content.chunks(1024 * 1024).map(crc32fast::hash).collect()
}

pub(super) fn file(path: &Path) -> Vec<u8> {
    fs::File::open(path)
        .and_then(|mut file| {
            let mut content = Vec::new();
            file.read_to_end(&mut content)?;
            Ok(content)
        })
        .unwrap()
}
