//! Makes the blocks that the log will be written to real before they are needed.
//!
//! fjall makes each journal file 64 MiB long without giving it blocks. A sync of
//! a record in a new block then commits the file system's own journal as well:
//! measured on ext4, 208 us against 135 us for a record in a block that was
//! written before. So zeros are written where fjall will write next.
//!
//! That can never hurt what is there: zeros go only where the file system says
//! that nothing was ever written and where a read confirms zeros, below the
//! file's length, and the journal thread, which calls this between two groups,
//! is the only one that appends. Without the zeros everything works, slower.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{SeekFrom, seek};

use crate::base::units::{KIB, index_of, to_usize};

/// Zeros written at once, each time the log has grown by as much: about a
/// hundred small groups, and half a millisecond of the disk.
const STEP_BYTES: usize = to_usize(512 * KIB);
/// What a change takes in fjall's journal beside its own bytes, rounded up: the
/// head of an item, its key, and its part of the batch's ends and of the tail.
pub(super) const CHANGE_OVERHEAD_BYTES: usize = 256;

/// Keeps written blocks ahead of the log's end. Owned by the journal thread.
#[derive(Debug)]
pub(super) struct Ahead {
    database: PathBuf,
    grown_bytes: usize,
    /// The newest journal file.
    current: Option<(PathBuf, File)>,
}

impl Ahead {
    /// For the journal files of a database that this process appends to.
    pub(super) fn new(database: PathBuf) -> Self {
        Self {
            database,
            // The first group finds out where the log stands.
            grown_bytes: STEP_BYTES,
            current: None,
        }
    }

    /// Takes note that the log grew by at most `bytes`, and writes zeros ahead of
    /// it when it is time. No group may be under way.
    pub(super) fn grown(&mut self, bytes: usize) {
        self.grown_bytes += bytes;
        if self.grown_bytes < STEP_BYTES {
            return;
        }
        self.grown_bytes = 0;
        if let Err(error) = self.extend() {
            // A full disk, or a file system that cannot tell: only speed is lost.
            tracing::debug!(%error, "no blocks were written ahead of the log");
        }
    }

    fn extend(&mut self) -> io::Result<()> {
        let Some(newest) = newest_journal(&self.database)? else {
            return Ok(());
        };
        let is_new = self
            .current
            .as_ref()
            .is_none_or(|(path, _)| *path != newest);
        if is_new {
            let file = OpenOptions::new().read(true).write(true).open(&newest)?;
            self.current = Some((newest, file));
        }
        // One step more for a new file: from then on the zeros stay that far ahead.
        let steps = if is_new { 2 } else { 1 };
        match &self.current {
            Some((_, file)) => (0..steps).try_for_each(|_| fill_hole(file)),
            None => Ok(()),
        }
    }
}

/// The journal file with the highest number, which is the one fjall appends to.
fn newest_journal(database: &Path) -> io::Result<Option<PathBuf>> {
    let mut newest: Option<(u64, PathBuf)> = None;
    for entry in fs::read_dir(database)? {
        let path = entry?.path();
        let is_journal = path.extension().is_some_and(|kind| kind == "jnl");
        let number = path
            .file_stem()
            .and_then(|stem| stem.to_str()?.parse().ok());
        if let Some(number) = number.filter(|_| is_journal)
            && newest.as_ref().is_none_or(|(highest, _)| number > *highest)
        {
            newest = Some((number, path));
        }
    }
    Ok(newest.map(|(_, path)| path))
}

/// Writes one step of zeros into the first hole below the file's length.
fn fill_hole(file: &File) -> io::Result<()> {
    let length = file.metadata()?.len();
    let hole = seek(file, SeekFrom::Hole(0))?;
    let bytes = index_of(length.saturating_sub(hole)).min(STEP_BYTES);
    let mut found = vec![0; bytes];
    file.read_exact_at(&mut found, hole)?;
    if found.iter().any(|byte| *byte != 0) {
        return Err(io::Error::other("a hole of the journal file holds data"));
    }
    file.write_all_at(&found, hole)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::base::units::to_u64;

    const FILE_BYTES: u64 = 8 * 1024 * 1024;

    fn journal(directory: &Path, number: u64, data: &[u8]) -> File {
        let path = directory.join(format!("{number}.jnl"));
        let file = File::create_new(path).unwrap();
        file.set_len(FILE_BYTES).unwrap();
        file.write_all_at(data, 0).unwrap();
        file
    }

    fn hole(file: &File) -> u64 {
        seek(file, SeekFrom::Hole(0)).unwrap()
    }

    #[test]
    fn zeros_follow_the_data_of_the_newest_file_and_change_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let older = journal(directory.path(), 9, b"older");
        let newer = journal(directory.path(), 10, &[7; 5000]);
        let mut ahead = Ahead::new(directory.path().to_owned());
        ahead.grown(1);
        assert_eq!(hole(&newer), 8192 + 2 * to_u64(STEP_BYTES));
        ahead.grown(STEP_BYTES - 1);
        assert_eq!(hole(&newer), 8192 + 2 * to_u64(STEP_BYTES), "not yet");
        ahead.grown(1);
        assert_eq!(hole(&newer), 8192 + 3 * to_u64(STEP_BYTES));
        assert_eq!(hole(&older), 4096, "nobody appends there any more");
        let reader = File::open(directory.path().join("10.jnl")).unwrap();
        assert_eq!(reader.metadata().unwrap().len(), FILE_BYTES);
        let mut bytes = vec![1; index_of(FILE_BYTES)];
        reader.read_exact_at(&mut bytes, 0).unwrap();
        assert!(bytes[..5000].iter().all(|byte| *byte == 7));
        assert!(bytes[5000..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_file_is_never_made_longer() {
        let directory = tempfile::tempdir().unwrap();
        let file = journal(directory.path(), 0, &[7; 4096]);
        file.set_len(4096).unwrap();
        let mut ahead = Ahead::new(directory.path().to_owned());
        ahead.grown(STEP_BYTES);
        assert_eq!(file.metadata().unwrap().len(), 4096);
        file.set_len(FILE_BYTES).unwrap();
        for _ in 0..40 {
            ahead.grown(STEP_BYTES);
        }
        assert_eq!(
            (hole(&file), file.metadata().unwrap().len()),
            (FILE_BYTES, FILE_BYTES)
        );
    }

    #[test]
    fn without_a_journal_file_nothing_happens() {
        let directory = tempfile::tempdir().unwrap();
        Ahead::new(directory.path().join("absent")).grown(STEP_BYTES);
        Ahead::new(directory.path().to_owned()).grown(STEP_BYTES);
    }
}
