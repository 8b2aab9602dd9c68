//! Small files that are written and read whole.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, Mode, OFlags};

use super::directories::sync_parent;
use super::error::Error;
use crate::base::units::to_u64;
use crate::runtime::off_shard;

/// What of a file's mode says who may do what.
const PERMISSIONS_BITS: u32 = 0o7777;

/// Replaces a file, whole or not at all, without a sync: survives a killed process, not
/// a power cut. One trip off the shard.
pub async fn write_small_file(path: &Path, bytes: Vec<u8>) -> Result<(), Error> {
    let target = path.to_owned();
    off_shard(move || replace(&target, &bytes, false))
        .await
        .map_err(|panic| Error::of_panic("write", path, &panic))?
}

/// As [`write_small_file`], surviving a power cut.
pub async fn write_file_synced(path: &Path, bytes: Vec<u8>) -> Result<(), Error> {
    let target = path.to_owned();
    off_shard(move || write_file_synced_blocking(&target, &bytes))
        .await
        .map_err(|panic| Error::of_panic("write", path, &panic))?
}

/// As [`write_file_synced`]. Blocks: for the start of the process.
pub fn write_file_synced_blocking(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    replace(path, bytes, true)?;
    sync_parent(path)
}

/// Reads a whole file of at most `bytes_max`, off the shard. `None` when it is not there.
///
/// - Errors: `InvalidData` inside when it is longer.
pub async fn read_small_file(path: &Path, bytes_max: u32) -> Result<Option<Vec<u8>>, Error> {
    let target = path.to_owned();
    off_shard(move || read_small_file_blocking(&target, bytes_max))
        .await
        .map_err(|panic| Error::of_panic("read", path, &panic))?
}

/// As [`read_small_file`]. Blocks: for the start of the process.
pub fn read_small_file_blocking(path: &Path, bytes_max: u32) -> Result<Option<Vec<u8>>, Error> {
    let read = read_small_file_with_mode_blocking(path, bytes_max)?;
    Ok(read.map(|(bytes, _)| bytes))
}

/// The same with the permissions of the file that was read: of another one that has its
/// name by now they would say nothing. Blocks.
pub fn read_small_file_with_mode_blocking(
    path: &Path,
    bytes_max: u32,
) -> Result<Option<(Vec<u8>, u32)>, Error> {
    let failed = |source| Error::new("read", path, source);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mode = file.metadata().map_err(failed)?.mode() & PERMISSIONS_BITS;
    let mut bytes = Vec::new();
    let limit = u64::from(bytes_max);
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if to_u64(bytes.len()) > limit {
        return Err(failed(io::ErrorKind::InvalidData.into()));
    }
    Ok(Some((bytes, mode)))
}

/// Removes a file. Fine when it is not there. Blocks: for the start of the process.
pub fn remove_blocking(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::new("remove", path, error))
        }
        _ => Ok(()),
    }
}

/// Makes a file that holds `bytes` of the disk and nothing else, to be removed when
/// the room is needed. Blocks.
pub fn reserve_file_blocking(path: &Path, bytes: u64) -> Result<(), Error> {
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    let failed = |errno| Error::new("reserve", path, errno);
    let file = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR).map_err(failed)?;
    rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes).map_err(failed)
}

/// Writes beside the file and renames over it.
fn replace(path: &Path, bytes: &[u8], is_synced: bool) -> Result<(), Error> {
    let failed = |source| Error::new("write", path, source);
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(&beside, flags, Mode::RUSR | Mode::WUSR);
    let mut file = File::from(file.map_err(|errno| failed(errno.into()))?);
    file.write_all(bytes).map_err(failed)?;
    if is_synced {
        file.sync_all().map_err(failed)?;
    }
    fs::rename(&beside, path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::run_alone;

    #[test]
    fn a_small_file_is_replaced_whole_and_read_back() {
        run_alone(|| async {
            let home = tempfile::tempdir().unwrap();
            let path = home.path().join("record");
            assert_eq!(read_small_file(&path, 10).await.unwrap(), None);
            write_small_file(&path, b"first".to_vec()).await.unwrap();
            write_file_synced(&path, b"second".to_vec()).await.unwrap();
            let read = read_small_file(&path, 6).await.unwrap();
            assert_eq!(read.as_deref(), Some(b"second".as_slice()));
            assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
            let error = read_small_file(&path, 5).await.unwrap_err();
            assert_eq!(error.source.kind(), io::ErrorKind::InvalidData);
            remove_blocking(&path).unwrap();
            remove_blocking(&path).unwrap();
        });
    }
}
