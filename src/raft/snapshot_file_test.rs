//! Snapshot files: what comes in is what went out, or nothing comes in.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use openraft::impls::leader_id_adv::LeaderId;

use super::{export, import};
use crate::journal::{self, Applied, Generation, Opened, Put};
use crate::raft::encoding;
use crate::raft::types::{LogId, SnapshotMeta};
use crate::telemetry::Metrics;

fn opened(directory: &Path) -> Opened {
    let options = journal::Options::new(directory, Arc::new(Metrics::new()));
    journal::open(&options).unwrap()
}

fn meta() -> SnapshotMeta {
    let leader_id = LeaderId {
        term: 2,
        node_id: 1,
    };
    SnapshotMeta {
        last_log_id: Some(LogId {
            leader_id,
            index: 9,
        }),
        ..SnapshotMeta::default()
    }
}

fn installed(opened: &Opened, path: &Path) -> Option<Generation> {
    let id = meta().last_log_id.unwrap();
    let applied = Applied {
        index: id.index,
        id: encoding::encode_id(&id),
    };
    let membership = encoding::encode_stored(&meta().last_membership);
    let state = (Some(applied), membership.as_ref());
    let import = |put: Put<'_>| import(path, &meta(), put);
    opened.state.install(&opened.generation, state, import).ok()
}

fn entries(generation: &Generation) -> Vec<(Bytes, Bytes)> {
    let mut found = Vec::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        found.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
        true
    };
    generation.view().scan(&[], &[], &mut visit).unwrap();
    found
}

#[test]
fn a_file_brings_over_every_entry_and_a_damaged_one_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let source = opened(&directory.path().join("source"));
    let fill = |put: Put<'_>| {
        for number in 0..500_u32 {
            let value = vec![7; usize::try_from(number * 40).unwrap()];
            put(format!("key {number:04}").as_bytes(), &value)?;
        }
        put(b"large", &vec![1; 3_900_000])
    };
    let installed_now = source.state.install(&source.generation, (None, b""), fill);
    let generation = installed_now.unwrap();
    let path = directory.path().join("files").join("a.snapshot");
    export(&generation.view(), &meta(), &path, &|| true).unwrap();

    let target = opened(&directory.path().join("target"));
    let whole = installed(&target, &path).unwrap();
    assert_eq!(entries(&whole), entries(&generation));
    assert_eq!(entries(&whole).len(), 501);

    let good = fs::File::open(&path).unwrap();
    let length = good.metadata().unwrap().len();
    let damaged = directory.path().join("damaged");
    for cut in [0, 7, 8, 20, length / 2, length - 1] {
        fs::copy(&path, &damaged).unwrap();
        let file = fs::OpenOptions::new().write(true).open(&damaged).unwrap();
        file.set_len(cut).unwrap();
        assert!(installed(&target, &damaged).is_none(), "cut at {cut}");
    }
    for at in [3, 9, 17, 40, length / 3, length - 5] {
        fs::copy(&path, &damaged).unwrap();
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(&damaged)
            .unwrap();
        flip(&file, at);
        assert!(installed(&target, &damaged).is_none(), "flipped at {at}");
    }
}

#[test]
fn a_file_is_written_as_it_always_was_and_read_back() {
    let golden = include_bytes!("../../tests/fixtures/raft/snapshot_v1.bin");
    let directory = tempfile::tempdir().unwrap();
    let source = opened(&directory.path().join("source"));
    let fill = |put: Put<'_>| {
        put(b"one", b"first")?;
        put(b"two", b"")
    };
    let generation = source.state.install(&source.generation, (None, b""), fill);
    let path = directory.path().join("new.snapshot");
    export(&generation.unwrap().view(), &meta(), &path, &|| true).unwrap();
    let mut written = Vec::new();
    let mut file = fs::File::open(&path).unwrap();
    file.read_to_end(&mut written).unwrap();
    assert_eq!(written, golden);

    let old = directory.path().join("old.snapshot");
    fs::write(&old, golden).unwrap();
    let target = opened(&directory.path().join("target"));
    let generation = installed(&target, &old).unwrap();
    let expected = [("one", "first"), ("two", "")];
    assert_eq!(
        entries(&generation),
        expected.map(|(key, value)| (Bytes::from(key), Bytes::from(value)))
    );
}

fn flip(file: &fs::File, at: u64) {
    use std::os::unix::fs::FileExt;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 4], at).unwrap();
}
