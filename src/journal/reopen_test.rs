//! What survives: a clean end, a torn end, a purge, a replaced state.

use std::fs;

use bytes::Bytes;

use super::testing::{
    allocated_bytes, append, assert_holds, close, contents, copy, finish, newest_journal_file,
    open_in, overwrite, payload, used_bytes,
};
use super::{Applied, Changes, JournalError, OpenError, Put};
use crate::base::units::index_of;

#[test]
fn everything_saved_is_there_after_a_clean_end() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open_in(directory.path()).unwrap();
    append(&opened.journal, 0, 20, 10);
    let journal = &opened.journal;
    finish(|done| journal.save_vote(Bytes::from_static(b"vote"), done)).unwrap();
    finish(|done| journal.save_committed(Bytes::from_static(b"committed"), done)).unwrap();
    finish(|done| journal.purge(50, Bytes::from_static(b"purged"), done)).unwrap();
    finish(|done| journal.truncate(150, done)).unwrap();
    close(opened);

    let error = open_in(directory.path()).unwrap_err();
    let expected = matches!(
        error,
        OpenError::StateBehind {
            needed: 0,
            first: 50
        }
    );
    assert!(
        expected,
        "a purge needs a state that has applied what goes: {error}"
    );
}

#[test]
fn a_purged_and_truncated_log_continues_where_it_ended() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let opened = open_in(directory.path()).unwrap();
        let (first, next) = (round * 50, 150 + round * 50);
        let start = if round == 0 { 0 } else { next - 50 };
        append(&opened.journal, start, (next - start) / 10, 10);
        assert_eq!(
            opened.journal.read(first, next, usize::MAX).unwrap().len(),
            150
        );
        let applied = Applied {
            index: next - 1,
            id: Bytes::from_static(b"applied"),
        };
        let changes = Changes {
            applied: Some(applied),
            ..Changes::default()
        };
        opened.generation.commit(changes).unwrap();
        let journal = &opened.journal;
        let vote = Bytes::from(format!("vote {round}"));
        finish(|done| journal.save_vote(vote, done)).unwrap();
        finish(|done| journal.purge(first + 50, Bytes::from_static(b"id"), done)).unwrap();
        append(journal, next, 1, 20);
        finish(|done| journal.truncate(next, done)).unwrap();
        close(opened);

        let opened = open_in(directory.path()).unwrap();
        assert_holds(&opened, first + 50, next);
        assert_eq!(opened.recovered.last, Some(payload(next - 1)));
        let vote = opened.journal.vote().unwrap().unwrap();
        assert_eq!(vote, format!("vote {round}"));
        assert_eq!(opened.journal.purged().unwrap().unwrap(), "id");
        close(opened);
    }
}

#[test]
fn an_unsynced_end_may_be_cut_zeroed_or_torn_and_a_synced_one_not() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path().join("home");
    let opened = open_in(&home).unwrap();
    append(&opened.journal, 0, 30, 3);
    let file = newest_journal_file(&home.join("log"));
    let mark_before = contents(&home.join("mark"));
    let synced_bytes = used_bytes(&file);
    append(&opened.journal, 90, 10, 3);
    close(opened);
    let written_bytes = used_bytes(&file);
    assert!(written_bytes > synced_bytes);

    let name = file.strip_prefix(&home).unwrap();
    for case in 0..32_u64 {
        let lost = directory.path().join(format!("case-{case}"));
        copy(&home, &lost);
        let from = synced_bytes + (written_bytes - synced_bytes) * (case / 4) / 8;
        let length = index_of(written_bytes - from);
        match case % 4 {
            0 => cut(&lost.join(name), from),
            1 => overwrite(&lost.join(name), from, &vec![0; length]),
            // A page that never came, with whole bytes before and after.
            2 => overwrite(&lost.join(name), from, &[0xa5; 8]),
            _ => overwrite(&lost.join(name), from, &vec![0xa5; length.min(700)]),
        }
        // The end was never acknowledged according to the older mark …
        let synced = lost.join("mark");
        overwrite(&synced, 0, &mark_before);
        let opened = open_in(&lost).unwrap();
        assert!(opened.recovered.next >= 90);
        assert_holds(&opened, 0, opened.recovered.next);
        close(opened);
        // … and it was according to the newer one.
        fs::remove_dir_all(&lost).unwrap();
        copy(&home, &lost);
        cut(&lost.join(name), from);
        assert!(open_in(&lost).is_err(), "case {case}");
        fs::remove_dir_all(&lost).unwrap();
    }
}

/// Ends a file early, as a power cut does that lost its last pages.
fn cut(path: &std::path::Path, length: u64) {
    let allocated = allocated_bytes(path);
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(length).unwrap();
    file.set_len(allocated).unwrap();
}

#[test]
fn a_log_without_its_mark_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open_in(directory.path()).unwrap();
    append(&opened.journal, 0, 1, 1);
    close(opened);
    fs::remove_file(directory.path().join("mark")).unwrap();
    let refused = open_in(directory.path());
    assert!(matches!(refused, Err(OpenError::MarkLost { .. })));
}

#[test]
fn a_log_that_vanished_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open_in(directory.path()).unwrap();
    append(&opened.journal, 0, 1, 1);
    close(opened);
    fs::remove_dir_all(directory.path().join("log")).unwrap();
    let refused = open_in(directory.path());
    assert!(matches!(refused, Err(OpenError::SyncedLost { .. })));
}

/// A majority may sync an entry, and this node apply it, before its own disk has it.
#[test]
fn a_state_ahead_of_its_log_survives_and_the_log_goes_on_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open_in(directory.path()).unwrap();
    append(&opened.journal, 0, 1, 5);
    let applied = Applied {
        index: 7,
        id: Bytes::from_static(b"id"),
    };
    let changes = Changes {
        applied: Some(applied.clone()),
        ..Changes::default()
    };
    opened.generation.commit(changes).unwrap();
    close(opened);
    let opened = open_in(directory.path()).unwrap();
    assert_eq!(opened.recovered.next, 5);
    assert_eq!(opened.recovered.applied, Some(applied.clone()));
    let journal = &opened.journal;
    finish(|done| journal.purge(8, applied.id.clone(), done)).unwrap();
    append(journal, 8, 1, 2);
    close(opened);
    let opened = open_in(directory.path()).unwrap();
    assert_eq!((opened.recovered.first, opened.recovered.next), (8, 10));
    assert_eq!(opened.recovered.applied, Some(applied));
}

#[test]
fn a_replaced_generation_survives_and_an_unfinished_one_is_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open_in(directory.path()).unwrap();
    let key = Bytes::from_static(b"key");
    let fill = |put: Put<'_>| {
        let mut numbers = 0..2000_u32;
        numbers.try_for_each(|number| {
            let key = format!("stale{number:04}");
            put(key.as_bytes(), &number.to_be_bytes())
        })
    };
    let unfinished = opened.state.fill_next(&opened.generation, fill).unwrap();
    drop(unfinished);
    assert_eq!(opened.state.numbers().len(), 2);
    close(opened);

    let opened = open_in(directory.path()).unwrap();
    assert_eq!(opened.generation.number(), 0);
    assert_eq!(opened.state.numbers(), [0]);
    let fill = |put: Put<'_>| put(&key, b"value");
    let applied = Applied {
        index: 99,
        id: Bytes::from_static(b"id"),
    };
    let state = (Some(applied.clone()), b"members".as_slice());
    let next = opened
        .state
        .install(&opened.generation, state, fill)
        .unwrap();
    let before = opened.generation.view();
    opened.state.delete(opened.generation.clone()).unwrap();
    assert_eq!(before.value(&key).unwrap(), None);
    assert_eq!(next.view().value(&key).unwrap().unwrap(), "value");
    drop((before, next));
    close(opened);

    let opened = open_in(directory.path()).unwrap();
    let view = opened.generation.view();
    assert_eq!(opened.generation.number(), 1);
    assert_eq!(opened.state.numbers(), [1]);
    assert_eq!(view.applied().unwrap(), Some(applied));
    assert_eq!(view.value(&key).unwrap().unwrap(), "value");
    let mut keys = 0;
    view.scan(&[], &[], &mut |_, _| {
        keys += 1;
        true
    })
    .unwrap();
    assert_eq!(keys, 1);

    // Without the note nobody guesses, and nothing is deleted.
    drop(view);
    opened.state.lose_current();
    close(opened);
    for _ in 0..2 {
        let refused = open_in(directory.path());
        assert!(
            matches!(refused, Err(OpenError::Damaged { .. })),
            "{refused:?}"
        );
    }
}

#[test]
fn a_generation_takes_entries_in_order_only_and_a_refused_one_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open_in(directory.path()).unwrap();
    for keys in [["b", "a"], ["a", "a"], ["", "a"], ["\0", "a"]] {
        let fill = |put: Put<'_>| {
            keys.iter()
                .try_for_each(|key| put(key.as_bytes(), b"value"))
        };
        let refused = opened.state.install(&opened.generation, (None, b""), fill);
        assert!(
            matches!(refused, Err(JournalError::Damaged { .. })),
            "{keys:?}"
        );
    }
    let fill = |put: Put<'_>| {
        ["a", "b"]
            .iter()
            .try_for_each(|key| put(key.as_bytes(), b"value"))
    };
    let next = opened.state.install(&opened.generation, (None, b""), fill);
    let mut found = Vec::new();
    let mut visit = |key: &[u8], _: &[u8]| {
        found.push(key.to_vec());
        true
    };
    next.unwrap().view().scan(&[], &[], &mut visit).unwrap();
    assert_eq!(found, [b"a", b"b"]);
    close(opened);
}
