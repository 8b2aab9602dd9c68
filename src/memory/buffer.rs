//! One aligned buffer out of the executor's region.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use glommio::io::DmaBuffer;

use super::budget::Permit;

/// Bytes that the device reads and writes in place: aligned to a sector, out of
/// memory that was used a moment ago. Owned by whoever fills it, who then shares it
/// with the device. What it holds at first is
/// whatever was there before.
pub struct Buffer {
    memory: DmaBuffer,
    permit: Permit,
}

impl Buffer {
    pub(super) const fn new(memory: DmaBuffer, permit: Permit) -> Self {
        Self { memory, permit }
    }

    /// Cuts the buffer to its first `bytes`; from now on it is only read, by several
    /// at once.
    ///
    /// - Panics: when the buffer is shorter.
    #[must_use]
    pub fn share(self, bytes: usize) -> SharedBuffer {
        let Self { mut memory, permit } = self;
        memory.trim_to_size(bytes);
        SharedBuffer {
            memory: Rc::new(memory),
            _permit: Rc::new(permit),
        }
    }
}

/// A buffer that was filled, in the hands of all who read it: the device, and
/// connections. Its share of the budget stays taken until the last of them is done.
#[derive(Clone)]
pub struct SharedBuffer {
    memory: Rc<DmaBuffer>,
    _permit: Rc<Permit>,
}

impl SharedBuffer {
    /// The memory. For `disk`, which keeps this buffer as long as the device reads.
    #[must_use]
    pub fn memory(&self) -> Rc<DmaBuffer> {
        Rc::clone(&self.memory)
    }
}

impl Deref for SharedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.memory.as_bytes()
    }
}

impl fmt::Debug for SharedBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedBuffer")
            .field("bytes", &self.memory.len())
            .finish_non_exhaustive()
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
