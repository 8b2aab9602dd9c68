//! The witness: how far the log was known to be synced, kept outside the log.
//!
//! fjall cuts its own file at the first damaged place and calls the rest torn.
//! Whatever was synced and is then missing can only be noticed by something
//! that does not live in that file. The mark is written after each sync and
//! before anyone is told, so it never promises too much; the page cache keeps
//! it through the death of the process. Its own sync follows when the journal
//! is idle, at the latest every [`super::options::MARK_SYNC_PERIOD`]: after a
//! power cut the groups of that last moment are unwitnessed, no others.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::base::codec::{Reader, Writer};
use crate::base::units::{SECTOR_BYTES, index_of};

use super::record::Link;
use super::tail::Tail;

/// First bytes of both slots: "windlass mark, version 1".
const MARK_MAGIC: u64 = u64::from_le_bytes(*b"wdlmark1");
/// Bytes of a slot that are used.
const MARK_BYTES: usize = 32;
/// Two slots in sectors of their own; the older one is never written while
/// the newer one may still be torn.
const SLOT_OFFSETS: [u64; 2] = [0, SECTOR_BYTES as u64];

/// What the newest readable slot says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// Newest group that was synced.
    pub group: u64,
    /// Index after the last record of that group.
    pub next: u64,
    /// Checksum of that last record.
    pub link: Link,
}

impl Mark {
    /// What a mark says after `tail` was synced.
    pub(super) const fn of(tail: &Tail) -> Self {
        Self {
            group: tail.group,
            next: tail.next,
            link: tail.link,
        }
    }

    /// ```text
    /// magic u64 | group u64 | next u64 | link u32 | checksum u32
    /// ```
    pub(super) fn encode(self) -> Vec<u8> {
        let mut slot = Writer::with_capacity(MARK_BYTES);
        slot.u64(MARK_MAGIC)
            .u64(self.group)
            .u64(self.next)
            .u32(self.link);
        let checksum = crc32fast::hash(slot.as_slice());
        slot.u32(checksum);
        slot.finish()
    }

    pub(super) fn decode(slot: &[u8; MARK_BYTES]) -> Option<Self> {
        let mut reader = Reader::new(slot);
        let covered = reader.clone().raw(MARK_BYTES - 4).ok()?;
        let is_ours = reader.u64().ok()? == MARK_MAGIC;
        let mark = Self {
            group: reader.u64().ok()?,
            next: reader.u64().ok()?,
            link: reader.u32().ok()?,
        };
        let is_whole = reader.u32().ok()? == crc32fast::hash(covered);
        (is_ours && is_whole).then_some(mark)
    }
}

/// The open mark file. Owned by the journal thread.
#[derive(Debug)]
pub(super) struct MarkFile {
    file: File,
    /// Slot that takes the next write; the other one is on disk.
    slot: usize,
    is_dirty: bool,
}

impl MarkFile {
    /// Makes the file with both slots at group 0 and syncs it with its directory.
    ///
    /// - Errors: `AlreadyExists` when there is one.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)?;
        let empty = Mark::of(&Tail::EMPTY).encode();
        for offset in SLOT_OFFSETS {
            file.write_all_at(&empty, offset)?;
        }
        file.sync_all()?;
        if let Some(directory) = path.parent() {
            File::open(directory)?.sync_all()?;
        }
        Ok(Self {
            file,
            slot: 0,
            is_dirty: false,
        })
    }

    /// Opens the file; the mark is `None` when neither slot is readable.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Option<Mark>)> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut newest: Option<(usize, Mark)> = None;
        for (slot, offset) in SLOT_OFFSETS.into_iter().enumerate() {
            let mut bytes = [0; MARK_BYTES];
            let read = file.read_exact_at(&mut bytes, offset);
            let Some(mark) = read.ok().and_then(|()| Mark::decode(&bytes)) else {
                continue;
            };
            if newest.is_none_or(|(_, other)| mark.group > other.group) {
                newest = Some((slot, mark));
            }
        }
        // The newest slot may still be in the page cache only.
        file.sync_data()?;
        let slot = newest.map_or(0, |(slot, _)| 1 - slot);
        let opened = Self {
            file,
            slot,
            is_dirty: false,
        };
        Ok((opened, newest.map(|(_, mark)| mark)))
    }

    /// Hands the mark to the page cache: about a microsecond.
    pub(super) fn write(&mut self, mark: Mark) -> io::Result<()> {
        let offset = SLOT_OFFSETS
            .get(self.slot)
            .expect("invariant: slot is 0 or 1");
        self.file.write_all_at(&mark.encode(), *offset)?;
        self.is_dirty = true;
        Ok(())
    }

    /// Makes the last written mark durable; free when nothing was written.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.is_dirty {
            self.file.sync_data()?;
            self.is_dirty = false;
            self.slot = 1 - self.slot;
        }
        Ok(())
    }

    /// Whether a sync is owed.
    pub(super) const fn is_dirty(&self) -> bool {
        self.is_dirty
    }
}

const _: () = assert!(
    MARK_BYTES <= index_of(SECTOR_BYTES as u64),
    "a slot is written in one sector"
);

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(group: u64) -> Mark {
        Mark {
            group,
            next: group * 2,
            link: 7,
        }
    }

    #[test]
    fn the_newest_slot_wins_after_reopening() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mark");
        let mut file = MarkFile::create(&path).unwrap();
        for group in 1..=5 {
            file.write(mark(group)).unwrap();
            if group % 2 == 0 {
                file.sync().unwrap();
            }
        }
        drop(file);
        let (mut file, found) = MarkFile::open(&path).unwrap();
        assert_eq!(found, Some(mark(5)));
        file.write(mark(6)).unwrap();
        drop(file);
        assert_eq!(MarkFile::open(&path).unwrap().1, Some(mark(6)));
    }

    #[test]
    fn one_torn_slot_leaves_the_synced_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mark");
        let mut file = MarkFile::create(&path).unwrap();
        file.write(mark(1)).unwrap();
        file.sync().unwrap();
        file.write(mark(2)).unwrap();
        let torn = SLOT_OFFSETS[file.slot];
        file.file.write_all_at(&[0xff], torn + 12).unwrap();
        assert_eq!(MarkFile::open(&path).unwrap().1, Some(mark(1)));
    }

    #[test]
    fn two_damaged_slots_are_no_mark() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mark");
        let file = MarkFile::create(&path).unwrap();
        for offset in SLOT_OFFSETS {
            file.file.write_all_at(&[0xff], offset + 30).unwrap();
        }
        assert_eq!(MarkFile::open(&path).unwrap().1, None);
    }
}
