//! Blobs, and ways to look at them, for the tests of this room.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::BlobFile;
use crate::base::Clock;
use crate::metadata::Command;
use crate::oci::{Algorithm, Digest, Repository};

/// Longer than anything in a test should take.
pub(super) const NOBODY_WAITS: Duration = Duration::from_secs(60);
/// Generation of every blob in these tests.
pub(super) const GENERATION_ID: u64 = 4;

/// A blob that some node has.
#[derive(Clone)]
pub(super) struct Blob {
    pub(super) content: Arc<[u8]>,
    pub(super) digest: Digest,
    pub(super) checksums: Vec<u32>,
}

impl Blob {
    /// Bytes that never repeat at a sector or an extent.
    pub(super) fn new(seed: u64, bytes: usize) -> Self {
        let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
        let mut content = Vec::with_capacity(bytes + 8);
        while content.len() < bytes {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(99);
            content.extend_from_slice(&(state >> 11).to_le_bytes());
        }
        content.truncate(bytes);
        Self {
            digest: Digest::of(Algorithm::Sha256, &content),
            checksums: content.chunks(1024 * 1024).map(crc32fast::hash).collect(),
            content: content.into(),
        }
    }

    pub(super) fn size(&self) -> u64 {
        self.content.len().try_into().unwrap()
    }

    /// Which of so many holders is asked first.
    pub(super) fn first_of(&self, count: u64) -> usize {
        let number = self.digest.as_bytes().first_chunk::<8>().unwrap();
        usize::try_from(u64::from_le_bytes(*number) % count).unwrap()
    }

    pub(super) const fn file(&self) -> BlobFile {
        BlobFile {
            digest: self.digest,
            generation: GENERATION_ID,
        }
    }

    /// Its file below a data directory.
    pub(super) fn name(&self) -> String {
        let hex = self.digest.hex();
        let folder = hex.get(..2).unwrap();
        format!("blobs/sha256/{folder}/{hex}.{GENERATION_ID}")
    }

    pub(super) fn link(&self) -> Command {
        Command::LinkBlob {
            repository: repository(),
            digest: self.digest,
            size_bytes: self.size(),
            generation: GENERATION_ID,
            extent_checksums: self.checksums.clone(),
            inline: None,
        }
    }
}

pub(super) fn repository() -> Repository {
    Repository::parse("a/b").unwrap()
}

/// Waits for a condition.
pub(super) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let clock = Clock::system();
    let began = clock.now();
    while !is_so() {
        assert!(clock.now() - began < NOBODY_WAITS, "not in time: {what}");
        thread::park_timeout(Duration::from_millis(3));
    }
}

/// Bytes of a file.
pub(super) fn content(path: &Path) -> Vec<u8> {
    let mut content = Vec::new();
    let mut file = File::open(path).unwrap();
    file.read_to_end(&mut content).unwrap();
    content
}

/// Changes one byte of a file.
pub(super) fn damage(path: &Path, at: u64) {
    let file = File::options().read(true).write(true).open(path);
    let file = file.unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    file.sync_all().unwrap();
}
