//! Lends a descriptor to the executor's ring.
//!
//! The only `unsafe` code of the room besides `residency.rs`. Invariants:
//! 1. The descriptor is open, and nobody else owns it: it comes out of an `OwnedFd`.
//! 2. The glommio file made from it closes it exactly once, through the ring.

use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};

use glommio::io::BufferedFile;

/// Hands `file` over to this executor's ring. The name says "buffered", but how it is
/// read depends on the descriptor alone; with `O_DIRECT` it is the one reader of
/// glommio that cuts at the end of the file and never polls the device.
pub(super) fn ring_file(file: OwnedFd) -> BufferedFile {
    let descriptor = file.into_raw_fd();
    #[expect(unsafe_code, reason = "glommio takes files only by number")]
    // SAFETY: invariants 1 and 2; `into_raw_fd` has just given up the ownership.
    let file = unsafe { BufferedFile::from_raw_fd(descriptor) };
    file
}
