//! One aligned buffer out of the executor's region.

use std::fmt;
use std::ops::{Deref, DerefMut};

use glommio::io::DmaBuffer;

use super::budget::Permit;

/// Bytes that the device reads and writes in place: aligned to a sector, out of
/// memory that was used a moment ago. Owned by whoever fills it; `disk` takes it for
/// a write and lets it go when the device is done. What it holds at first is
/// whatever was there before.
pub struct Buffer {
    memory: DmaBuffer,
    permit: Permit,
}

impl Buffer {
    pub(super) const fn new(memory: DmaBuffer, permit: Permit) -> Self {
        Self { memory, permit }
    }

    /// The memory, cut to its first `bytes`, and the share of the budget that must
    /// stay taken as long as the memory lives. For `disk`.
    ///
    /// - Panics: when the buffer is shorter.
    pub fn into_write(self, bytes: usize) -> (DmaBuffer, Permit) {
        let Self { mut memory, permit } = self;
        memory.trim_to_size(bytes);
        (memory, permit)
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.memory.as_bytes()
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.memory.as_bytes_mut()
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer")
            .field("bytes", &self.memory.len())
            .finish_non_exhaustive()
    }
}
