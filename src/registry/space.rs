//! How full the disk is, and when new content is refused.
//!
//! Past the hard mark new uploads are answered before their body is read, while
//! pulls, deletes and the journal go on. A reserve file keeps room for them even
//! when something else fills the disk: it is given up when little is left, and
//! taken back when there is room again.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::error::Error;
use crate::disk;

/// When the disk counts as full.
#[derive(Clone, Debug)]
pub struct DiskSpaceOptions {
    /// Used part of the file system beyond which new content is refused.
    pub hard_mark_percent: u8,
    /// Free bytes below which new content is refused.
    pub free_bytes_min: u64,
}

/// Size of the reserve file: some thousand deletes, or one journal file of fjall.
const RESERVE_BYTES: u64 = 64 * 1024 * 1024;
/// With less than this left the reserve is given up.
const RESERVE_GIVEN_BYTES: u64 = 64 * 1024 * 1024;
/// With more than this left it is taken back.
const RESERVE_TAKEN_BYTES: u64 = 512 * 1024 * 1024;
/// Name of the reserve file in the data directory.
const RESERVE_FILE: &str = "reserve";

/// What is left on the data directory's file system; shared by all shards,
/// refreshed by one task.
#[derive(Clone, Debug)]
pub struct DiskSpace(Arc<State>);

#[derive(Debug)]
struct State {
    directory: PathBuf,
    options: DiskSpaceOptions,
    free_bytes: AtomicU64,
    total_bytes: AtomicU64,
    is_full: AtomicBool,
    has_reserve: AtomicBool,
}

impl DiskSpace {
    /// Measures the file system of `directory` for the first time.
    pub fn measure(directory: PathBuf, options: DiskSpaceOptions) -> Result<Self, disk::Error> {
        let space = Self(Arc::new(State {
            directory,
            options,
            free_bytes: AtomicU64::new(0),
            total_bytes: AtomicU64::new(0),
            is_full: AtomicBool::new(false),
            has_reserve: AtomicBool::new(false),
        }));
        space.refresh()?;
        Ok(space)
    }

    /// Measures again, and gives up or takes back the reserve. Called once a second;
    /// blocks on the file system when the reserve changes, so call it off the shard.
    pub fn refresh(&self) -> Result<(), disk::Error> {
        let room = disk::room(&self.0.directory)?;
        let is_full = is_full(&self.0.options, room.free_bytes, room.total_bytes);
        self.0.free_bytes.store(room.free_bytes, Ordering::Relaxed);
        self.0
            .total_bytes
            .store(room.total_bytes, Ordering::Relaxed);
        if self.0.is_full.swap(is_full, Ordering::Relaxed) != is_full {
            if is_full {
                tracing::warn!(
                    free_bytes = room.free_bytes,
                    "the disk is past its hard mark: new uploads are refused until space is freed"
                );
            } else {
                tracing::info!(
                    free_bytes = room.free_bytes,
                    "the disk has room again: uploads are taken"
                );
            }
        }
        self.keep_reserve(room.free_bytes)
    }

    fn keep_reserve(&self, free_bytes: u64) -> Result<(), disk::Error> {
        let path = self.0.directory.join(RESERVE_FILE);
        let has_reserve = self.0.has_reserve.load(Ordering::Relaxed);
        if free_bytes < RESERVE_GIVEN_BYTES {
            // Also one that an earlier start left behind.
            disk::remove_blocking(&path)?;
            if has_reserve {
                tracing::warn!(
                    free_bytes,
                    "the disk is nearly full: the reserve is given up"
                );
            }
            self.0.has_reserve.store(false, Ordering::Relaxed);
        } else if !has_reserve && free_bytes > RESERVE_TAKEN_BYTES {
            disk::reserve_file_blocking(&path, RESERVE_BYTES)?;
            self.0.has_reserve.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Bytes left for ordinary users.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        self.0.free_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of the file system.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.0.total_bytes.load(Ordering::Relaxed)
    }

    /// Refuses new content past the hard mark.
    pub fn check(&self) -> Result<(), Error> {
        if self.0.is_full.load(Ordering::Relaxed) {
            let free_bytes = self.free_bytes();
            return Err(Error::DiskFull { free_bytes });
        }
        Ok(())
    }
}

/// The hard mark: too large a part used, or too few bytes free.
const fn is_full(options: &DiskSpaceOptions, free_bytes: u64, total_bytes: u64) -> bool {
    let used_bytes = total_bytes.saturating_sub(free_bytes) as u128;
    let is_past_mark = used_bytes * 100 > total_bytes as u128 * options.hard_mark_percent as u128;
    is_past_mark || free_bytes < options.free_bytes_min
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_is_either_mark() {
        let options = DiskSpaceOptions {
            hard_mark_percent: 95,
            free_bytes_min: 10,
        };
        assert!(!is_full(&options, 50, 1000), "exactly at the mark");
        assert!(is_full(&options, 49, 1000), "past the percentage");
        assert!(is_full(&options, 9, 10), "below the free bytes");
        assert!(!is_full(&options, u64::MAX, u64::MAX));
    }
}
