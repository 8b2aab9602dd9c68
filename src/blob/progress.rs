//! How far an upload has come: what must be known about the bytes that passed.

use super::extents::ExtentChecksums;
use super::hasher::Hasher;
use crate::base::units::to_u64;
use crate::oci::{Algorithm, Digest};

/// Length, digest and checksums of a stream under way. Pure; `Clone` forks it.
#[derive(Clone, Debug)]
pub struct Progress {
    pub(super) held_bytes: u64,
    pub(super) hasher: Hasher,
    pub(super) extents: ExtentChecksums,
}

impl Progress {
    /// Nothing came yet.
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Self {
        Self {
            held_bytes: 0,
            hasher: Hasher::new(algorithm),
            extents: ExtentChecksums::default(),
        }
    }

    /// Goes on after `held_bytes`, whole extents with the checksums `complete`, where
    /// the hash was `hasher`.
    ///
    /// - Errors: `None` when the list does not fit the length.
    pub(super) fn resume(held_bytes: u64, hasher: Hasher, complete: &[u32]) -> Option<Self> {
        Some(Self {
            held_bytes,
            hasher,
            extents: ExtentChecksums::resume(complete.to_vec(), 0, held_bytes)?,
        })
    }

    /// Takes in the next bytes. Callers cut at `HASH_STEP_BYTES` and look for
    /// other work in between.
    pub fn absorb(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.extents.update(bytes);
        self.held_bytes += to_u64(bytes.len());
    }

    /// Goes back to where the stream had `held_bytes`, the end of an extent, and the
    /// hash was `hasher`.
    pub(super) fn rewind(&mut self, held_bytes: u64, hasher: Hasher) {
        self.extents.rewind(held_bytes);
        self.hasher = hasher;
        self.held_bytes = held_bytes;
    }

    /// The digest of everything so far; the stream may go on.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.hasher.clone().finish()
    }
}
