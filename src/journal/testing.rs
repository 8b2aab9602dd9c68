//! What the tests of this room share: filling a log, reading it back whole,
//! copying and damaging its files.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_lite::future::block_on;

use super::{Journal, OpenError, Opened, Options, open};
use crate::base::units::{index_of, to_u64};
use crate::journal::JournalError;
use crate::telemetry::Metrics;

/// Options for a small journal that flushes its memory tables often.
pub(super) fn options(directory: &Path) -> Options {
    Options {
        memtable_bytes: 64 * 1024,
        log_cache_bytes: 1024 * 1024,
        state_cache_bytes: 1024 * 1024,
        on_failure: |failure| panic!("{failure}"),
        ..Options::new(directory, Arc::new(Metrics::new()))
    }
}

/// The payload every test writes at `index`: its length and bytes follow from it.
pub(super) fn payload(index: u64) -> Bytes {
    let longest = if index.is_multiple_of(16) { 3000 } else { 24 };
    let length = index_of(index.wrapping_mul(0x9e37_79b9) % longest) + 8;
    let mut bytes = vec![0; length];
    let mut state = index.wrapping_add(1);
    for byte in &mut bytes {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        *byte = state.to_be_bytes()[0];
    }
    Bytes::from(bytes)
}

/// Runs one operation of the journal to its end.
pub(super) fn finish<F>(operation: impl FnOnce(super::Done) -> F) -> Result<(), JournalError>
where
    F: Future<Output = Result<(), JournalError>>,
{
    let (sender, receiver) = flume::bounded(1);
    let done = Box::new(move |outcome| drop(sender.send(outcome)));
    block_on(operation(done))?;
    receiver.recv().map_err(|_| JournalError::Closed)?
}

/// Appends `groups` synced groups of `group_entries` from index `first` on.
pub(super) fn append(journal: &Journal, first: u64, groups: u64, group_entries: u64) {
    for group in 0..groups {
        let start = first + group * group_entries;
        let payloads = (start..start + group_entries).map(payload).collect();
        finish(|done| journal.append(start, payloads, done)).unwrap();
    }
}

/// Opens, or says why not; whatever is open is closed again by `close`.
pub(super) fn open_in(directory: &Path) -> Result<Opened, OpenError> {
    open(&options(directory))
}

/// Ends a journal in order.
#[expect(
    clippy::needless_pass_by_value,
    reason = "what is closed is not used again"
)]
pub(super) fn close(opened: Opened) {
    finish(|done| opened.journal.close(done)).unwrap();
}

/// Checks that the log holds exactly the entries it should.
pub(super) fn assert_holds(opened: &Opened, first: u64, next: u64) {
    let found = (opened.recovered.first, opened.recovered.next);
    assert_eq!(found, (first, next));
    let mut index = first;
    while index < next {
        let read = opened.journal.read(index, next, 1024 * 1024).unwrap();
        assert!(!read.is_empty(), "nothing at {index}");
        for found in read {
            assert_eq!(found, payload(index), "record {index}");
            index += 1;
        }
    }
}

/// Every file below `directory`, sorted.
pub(super) fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Length of the part of a file that was written.
pub(super) fn used_bytes(path: &Path) -> u64 {
    to_u64(contents(path).len())
}

/// The written part of a file: fjall allocates its journals ahead, and the
/// zeros after a mebibyte of zeros are only that.
pub(super) fn contents(path: &Path) -> Vec<u8> {
    const ZEROS_BYTES: usize = 1024 * 1024;
    let file = fs::File::open(path).unwrap();
    let zeros = vec![0; ZEROS_BYTES];
    let (mut bytes, mut part) = (Vec::new(), vec![0; ZEROS_BYTES]);
    loop {
        let read = file.read_at(&mut part, to_u64(bytes.len())).unwrap();
        if read == 0 || part[..read] == zeros[..read] {
            break;
        }
        bytes.extend_from_slice(&part[..read]);
    }
    while bytes.ends_with(&[0; 64]) {
        bytes.truncate(bytes.len() - 64);
    }
    let used = bytes.iter().rposition(|byte| *byte != 0);
    bytes.truncate(used.map_or(0, |last| last + 1));
    bytes
}

/// Length of a file, allocated zeros included.
pub(super) fn allocated_bytes(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

/// Copies a folder; allocated zeros stay holes.
pub(super) fn copy(source: &Path, target: &Path) {
    for path in files(source) {
        let to = target.join(path.strip_prefix(source).unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(&to, contents(&path)).unwrap();
        let file = fs::OpenOptions::new().write(true).open(&to).unwrap();
        file.set_len(allocated_bytes(&path)).unwrap();
    }
}

/// Overwrites bytes of a file in place.
pub(super) fn overwrite(path: &Path, offset: u64, bytes: &[u8]) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(bytes, offset).unwrap();
}

/// The newest file of fjall's own journal in a database folder.
pub(super) fn newest_journal_file(database: &Path) -> PathBuf {
    let journals = files(database).into_iter();
    let number = |path: &PathBuf| -> Option<u64> { path.file_stem()?.to_str()?.parse().ok() };
    journals
        .filter(|path| path.extension().is_some_and(|kind| kind == "jnl"))
        .max_by_key(number)
        .unwrap()
}
