//! Opens files without ever waiting for the disk on the shard.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

use super::error::Error;
use crate::runtime::off_shard;

/// Opens an existing file. Inline when the kernel has every part of the path at
/// hand (under 1 µs), else off the shard, where the directory may be read from disk.
pub(super) async fn open(path: &Path, flags: OFlags) -> Result<OwnedFd, Error> {
    let flags = flags | OFlags::CLOEXEC;
    match openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED) {
        Ok(file) => return Ok(file),
        Err(Errno::NOENT) => return Err(Error::new("open", path, Errno::NOENT)),
        // AGAIN: not at hand. Others: a kernel or a filter without openat2.
        Err(_) => {}
    }
    open_off_shard(path, flags, Mode::empty()).await
}

/// Opens or makes a file off the shard: making one writes to the directory.
pub(super) async fn open_off_shard(
    path: &Path,
    flags: OFlags,
    mode: Mode,
) -> Result<OwnedFd, Error> {
    let target = path.to_owned();
    off_shard(move || rustix::fs::open(&target, flags | OFlags::CLOEXEC, mode))
        .await
        .map_err(|panic| Error::of_panic("open", path, &panic))?
        .map_err(|errno| Error::new("open", path, errno))
}
