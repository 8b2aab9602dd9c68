use std::fs;

use super::*;
use crate::base::Clock;

/// Takes so many bytes, then fails.
struct Full {
    taken: Vec<u8>,
    room: usize,
}

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.room);
        if count == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.taken.extend_from_slice(&bytes[..count]);
        self.room -= count;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn started(path: &Path) -> (AuditLog, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new());
    let options = AuditOptions {
        level: AuditLevel::Refusals,
        file: Some(path.to_owned()),
    };
    (AuditLog::start(&options, &metrics).unwrap(), metrics)
}

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_line_that_a_full_disk_cut_is_gone_on_with() {
    let mut pending = Pending::default();
    for line in ["first\n", "second\n"] {
        pending.push(line.as_bytes());
    }
    let mut full = Full {
        taken: Vec::new(),
        room: 8,
    };
    assert!(pending.write(&mut full).is_err());
    assert!(pending.write(&mut full).is_err());
    full.room = 100;
    pending.write(&mut full).unwrap();
    assert_eq!(full.taken, b"first\nsecond\n");
    assert!(pending.is_empty());
}

#[test]
fn a_line_that_was_cut_begins_anew_in_another_file() {
    let mut pending = Pending::default();
    for line in ["first\n", "second\n"] {
        pending.push(line.as_bytes());
    }
    for (room, rest) in [(8, "second\n"), (3, "second\n"), (6, "")] {
        let mut full = Full {
            taken: Vec::new(),
            room,
        };
        drop(pending.write(&mut full));
        pending.begin_line();
        assert!(pending.bytes[pending.written..].ends_with(rest.as_bytes()));
    }
    let mut whole = Vec::new();
    pending.write(&mut whole).unwrap();
    assert_eq!(whole, b"second\n");
}

#[test]
fn lines_are_appended_and_follow_the_name_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let [path, old] = ["audit", "audit.1"].map(|name| folder.path().join(name));
    fs::write(&path, "before\n").unwrap();
    let (log, metrics) = started(&path);
    assert!(log.wants(AuditLevel::Changes) && !log.wants(AuditLevel::All));
    log.write("one".to_owned());
    log.flush(PATIENCE);
    fs::rename(&path, &old).unwrap();
    log.write("two".to_owned());
    log.flush(PATIENCE);
    log.reopen();
    log.flush(PATIENCE);
    log.write("three".to_owned());
    log.flush(PATIENCE);
    assert_eq!(fs::read_to_string(old).unwrap(), "before\none\ntwo\n");
    assert_eq!(fs::read_to_string(path).unwrap(), "three\n");
    assert_eq!(metrics.audit.lines.value(), 3);
    assert_eq!(metrics.audit.failures.value(), 0);
}

#[test]
fn what_finds_too_many_waiting_is_counted_and_nobody_is_held_up() {
    let (log, metrics) = started(Path::new("/dev/full"));
    let count = 2 * u64::try_from(WAITING_LINES_MAX).unwrap();
    // Whatever the thread has taken before it failed.
    let taken_max = u64::try_from(WAITING_LINES_MAX).unwrap() + 1000;
    for number in 0..count {
        log.write(format!("{number:>400}"));
    }
    let diverted = metrics.audit.diverted.value();
    assert!(diverted >= count - taken_max, "{diverted}");
    assert_eq!(metrics.audit.lines.value(), 0);
    let clock = Clock::system();
    let began = clock.now();
    while metrics.audit.failures.value() == 0 {
        assert!(clock.now() - began < PATIENCE, "nothing has failed");
        log.flush(Duration::from_millis(10));
    }
}

#[test]
fn a_file_that_cannot_be_opened_is_said_at_the_start() {
    let options = AuditOptions {
        file: Some("/nowhere/audit".into()),
        ..AuditOptions::default()
    };
    let error = AuditLog::start(&options, &Arc::new(Metrics::new())).unwrap_err();
    assert!(error.to_string().contains("/nowhere/audit"), "{error}");
}
