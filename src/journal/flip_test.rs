//! Single flipped bits in a synced log: refused, or without any effect.

use std::fs;
use std::path::{Path, PathBuf};

use super::testing::{
    append, assert_holds, close, contents, copy, files, finish, open_in, overwrite, used_bytes,
};
use super::{OpenError, Opened};
use crate::base::units::index_of;
use bytes::Bytes;

/// Flips tried; each opens a copy of the whole journal.
const FLIPS: u64 = 240;
/// Entries in the log.
const ENTRIES: u64 = 600;

/// A cheap generator with a fixed seed: the sweep is the same in every run.
fn random(state: &mut u64) -> u64 {
    *state = state
        .wrapping_mul(0x5851_f42d_4c95_7f2d)
        .wrapping_add(0x1405_7b7e_f767_814f);
    *state >> 20
}

/// Files that hold the log, with the number of bytes in use. The lock and the
/// state are not part of it.
fn log_files(home: &Path) -> Vec<(PathBuf, u64)> {
    let log = files(&home.join("log")).into_iter();
    let used = log.chain([home.join("mark")]).map(|path| {
        let used = used_bytes(&path);
        (path.strip_prefix(home).unwrap().to_owned(), used)
    });
    used.filter(|(_, used)| *used > 0).collect()
}

#[test]
fn no_flipped_bit_in_a_synced_log_goes_unnoticed_and_loses_entries() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path().join("home");
    let opened = open_in(&home).unwrap();
    append(&opened.journal, 0, ENTRIES, 1);
    let journal = &opened.journal;
    finish(|done| journal.save_vote(Bytes::from_static(b"vote"), done)).unwrap();
    close(opened);
    let targets = log_files(&home);
    let tables = targets
        .iter()
        .filter(|(path, _)| path.to_str().unwrap().contains("tables"));
    assert!(
        tables.count() > 0,
        "the log reached its tables: {targets:?}"
    );

    let (mut refused, mut truncations, mut harmless) = (0, 0, 0);
    let mut state = 7;
    for flip in 0..FLIPS {
        // Half of the flips in fjall's own journal, where it truncates silently.
        let is_journal = |path: &Path| path.extension().is_some_and(|kind| kind == "jnl");
        let pool: Vec<_> = targets
            .iter()
            .filter(|(path, _)| flip % 2 == 0 || !is_journal(path))
            .filter(|(path, _)| flip % 2 == 1 || is_journal(path))
            .collect();
        let total: u64 = pool.iter().map(|(_, used)| used).sum();
        let mut at = random(&mut state) % total;
        let (path, _) = pool
            .iter()
            .find(|(_, used)| {
                let is_here = at < *used;
                at -= if is_here { 0 } else { *used };
                is_here
            })
            .unwrap();
        let bit = 1_u8 << (random(&mut state) % 8);
        let copied = directory.path().join("copy");
        copy(&home, &copied);
        let damaged = copied.join(path);
        let byte = contents(&damaged)[index_of(at)];
        overwrite(&damaged, at, &[byte ^ bit]);
        match open_in(&copied) {
            Err(error) => {
                refused += 1;
                truncations += u64::from(matches!(
                    error,
                    OpenError::SyncedLost { .. } | OpenError::WrongEnd { .. }
                ));
            }
            Ok(opened) => {
                harmless += 1;
                assert_whole(&opened, path, at);
                close(opened);
            }
        }
        fs::remove_dir_all(&copied).unwrap();
    }
    assert_eq!(refused + harmless, FLIPS);
    assert!(
        refused > FLIPS / 4,
        "{refused} refused, {harmless} harmless"
    );
    // fjall opened these without a word; only the witness knew better.
    assert!(truncations > 0, "the sweep met no silent truncation");
}

fn assert_whole(opened: &Opened, path: &Path, at: u64) {
    let found = (opened.recovered.first, opened.recovered.next);
    assert_eq!(found, (0, ENTRIES), "{} at {at}", path.display());
    assert_holds(opened, 0, ENTRIES);
    let vote = opened.journal.vote().unwrap();
    assert_eq!(vote.unwrap(), "vote", "{} at {at}", path.display());
}
