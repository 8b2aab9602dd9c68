//! What clients saw, and whether one register per tag explains it: the checker.
//!
//! Every operation is recorded with its start, its end and what came of it. A write
//! whose outcome is unknown (a cut connection, a timeout, a 5xx) may take effect at any
//! later time, or never. Source: Wing and Gong, "Testing and verifying concurrent
//! objects", 1993, with the memo of Lowe, 2017.

use std::collections::HashSet;

/// A value of a tag: the number of a manifest, or nothing.
pub(crate) type Value = Option<u32>;

/// What an operation did to a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// It set the tag, or deleted it.
    Write(Value),
    /// It saw the tag.
    Read(Value),
}

/// One operation on one tag, in microseconds since the run began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operation {
    /// When it was sent.
    pub(crate) start: u64,
    /// When its answer came; `None` when its outcome is unknown.
    pub(crate) end: Option<u64>,
    /// What it did.
    pub(crate) action: Action,
}

/// Whether some order of the operations, each between its start and its end, gives
/// every read the value of the last write before it.
///
/// - Panics: with more operations than fit a mask; tags are rotated sooner.
pub(crate) fn is_linearizable(history: &[Operation]) -> bool {
    assert!(history.len() <= 128, "tags are rotated before that");
    let all = history.iter().enumerate();
    // A read that failed says nothing.
    let needed = all.filter(|(_, each)| each.end.is_some());
    let needed = needed.fold(0_u128, |mask, (index, _)| mask | 1 << index);
    let mut seen = HashSet::new();
    let mut open = vec![(0_u128, None::<u32>)];
    while let Some((done, value)) = open.pop() {
        if done & needed == needed {
            return true;
        }
        if !seen.insert((done, value)) {
            continue;
        }
        // Whatever comes next must begin before the first end that is still to come.
        let waiting = |index: &usize| done & (1 << index) == 0;
        let ends = (0..history.len()).filter(waiting);
        let first_end = ends.filter_map(|index| history[index].end).min();
        for index in (0..history.len()).filter(waiting) {
            let operation = &history[index];
            if first_end.is_some_and(|end| operation.start > end) {
                continue;
            }
            let next = match operation.action {
                Action::Write(written) => written,
                Action::Read(seen) if seen == value => value,
                Action::Read(_) => continue,
            };
            open.push((done | 1 << index, next));
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn write(start: u64, end: u64, value: u32) -> Operation {
        Operation {
            start,
            end: Some(end),
            action: Action::Write(Some(value)),
        }
    }

    const fn read(start: u64, end: u64, value: Value) -> Operation {
        Operation {
            start,
            end: Some(end),
            action: Action::Read(value),
        }
    }

    #[test]
    fn honest_histories_pass() {
        assert!(is_linearizable(&[]));
        let one = [
            read(0, 1, None),
            write(2, 5, 1),
            read(3, 4, Some(1)),
            read(3, 4, None),
        ];
        assert!(is_linearizable(&one), "during a write both may be seen");
        let unknown = Operation {
            end: None,
            ..write(0, 0, 7)
        };
        let late = [
            unknown,
            read(1, 2, None),
            write(3, 4, 8),
            read(5, 6, Some(7)),
        ];
        assert!(is_linearizable(&late), "an unknown write may come late");
        assert!(is_linearizable(&[unknown, read(9, 10, None)]), "or never");
    }

    #[test]
    fn lost_stale_and_invented_values_are_noticed() {
        let lost = [write(0, 1, 1), read(2, 3, None)];
        assert!(!is_linearizable(&lost));
        let stale = [write(0, 1, 1), write(2, 3, 2), read(4, 5, Some(1))];
        assert!(!is_linearizable(&stale));
        let back = [write(0, 9, 1), read(1, 2, Some(1)), read(3, 4, None)];
        assert!(!is_linearizable(&back), "what was seen stays seen");
        let delete = Operation {
            action: Action::Write(None),
            ..write(2, 3, 0)
        };
        let deleted = [write(0, 1, 1), delete, read(4, 5, None)];
        assert!(is_linearizable(&deleted));
        let risen = [write(0, 1, 1), delete, read(4, 5, Some(1))];
        assert!(!is_linearizable(&risen), "what was deleted stays deleted");
        let invented = [write(0, 1, 1), read(2, 3, Some(3))];
        assert!(!is_linearizable(&invented));
    }
}
