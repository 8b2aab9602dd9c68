//! What a start makes of the files that a stopped or killed process left.
//!
//! | found | means | done |
//! |---|---|---|
//! | record, and the bytes it speaks of | a session | entered |
//! | the same, idle too long | nobody comes back | removed |
//! | bytes without a record | nothing of it was acknowledged | removed |
//! | record of a blob from another node, and its bytes, of this boot | it was being fetched | kept |
//! | the same, damaged, idle too long, or of an earlier boot | the bytes may be lost | removed |
//! | record being sealed, bytes under their final name, live | answered or about to be | record removed |
//! | the same, not live | killed between seal and commit | bytes renamed back, entered |
//! | damaged record, or bytes missing | power loss or a bad disk | quarantined |
//! | blob that the metadata does not know | sealed, never committed | quarantined, removed a week later |
//! | anything else | not ours | quarantined |
//!
//! In a cluster a blob that is not live may be one of the copies for which another
//! node acknowledged a push. Then it stays in its place, and a session that was
//! sealing it gets a copy of the bytes when its client comes back.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::Path;

use super::import_record::{IMPORT_RECORD_BYTES_MAX, ImportRecord};
use super::kernel_boot::KernelBoot;
use super::layout::{Layout, UploadFile, parse_blob, parse_upload};
use super::open::{OpenError, Options, failed};
use super::record::{RECORD_BYTES_MAX, Record};
use super::table::Standing;
use super::upload_id::UploadId;
use crate::base::limits::UPLOAD_IDLE_MAX;
use crate::disk::{read_small_file_blocking, remove_blocking};
use crate::oci::Digest;

/// Orphaned blobs stay in quarantine this long, so that a state that was wrong
/// can be put right.
const ORPHAN_KEPT_MS: u64 = 7 * 24 * 60 * 60 * 1000;
const ORPHAN: &str = "orphan";
const UNKNOWN: &str = "unknown";
/// Why a file is in quarantine that could not be read; its blob came anew from another
/// node. Such files go like orphans.
pub(super) const UNREADABLE: &str = "unreadable";

/// What was found at start. Counts, for the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Sessions that go on.
    pub sessions: u64,
    /// Sessions removed because nobody used them for `UPLOAD_IDLE_MAX`.
    pub sessions_expired: u64,
    /// Files of uploads removed because nothing of them was acknowledged.
    pub leftovers: u64,
    /// Sealed blobs that the metadata knows.
    pub blobs: u64,
    /// Sealed blobs that the metadata does not know: set aside.
    pub orphans: u64,
    /// Blobs from other nodes that go on where they were.
    pub imports: u64,
    /// Sealed blobs that the metadata does not know, left where they are.
    pub unknown: u64,
    /// Blobs renamed back into the session that was sealing them.
    pub unsealed: u64,
    /// Damaged or foreign files set aside.
    pub quarantined: u64,
}

/// A session that goes on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) id: UploadId,
    pub(super) standing: Standing,
    pub(super) touched_ms: u64,
}

/// Goes through every file of the store once.
pub(super) fn run(
    layout: &Layout,
    is_live: &impl Fn(&Digest, u64) -> bool,
    options: &Options,
    kernel_boot: KernelBoot,
) -> Result<(Recovery, Vec<Found>), OpenError> {
    let mut walk = Walk {
        layout,
        now_ms: options.now_ms,
        keeps_unknown: options.keeps_unknown,
        kernel_boot,
        recovery: Recovery::default(),
        sessions: Vec::new(),
    };
    walk.quarantine()?;
    walk.uploads(is_live)?;
    walk.blobs(is_live)?;
    Ok((walk.recovery, walk.sessions))
}

struct Walk<'a> {
    layout: &'a Layout,
    now_ms: u64,
    keeps_unknown: bool,
    kernel_boot: KernelBoot,
    recovery: Recovery,
    sessions: Vec<Found>,
}

impl Walk<'_> {
    /// Removes orphans that lay here for long enough.
    fn quarantine(&self) -> Result<(), OpenError> {
        let directory = self.layout.quarantine();
        for name in names_in(&directory)? {
            let since = name.to_str().and_then(orphaned_since);
            if since.is_some_and(|since| since + ORPHAN_KEPT_MS < self.now_ms) {
                remove(&directory.join(name))?;
            }
        }
        Ok(())
    }

    fn uploads(&mut self, is_live: &impl Fn(&Digest, u64) -> bool) -> Result<(), OpenError> {
        let directory = self.layout.uploads();
        let (mut data, mut records) = (BTreeSet::new(), BTreeSet::new());
        let mut imports = Vec::new();
        for name in names_in(&directory)? {
            match parse_upload(&name) {
                Some(UploadFile::Key) => {}
                Some(UploadFile::Data(id)) => drop(data.insert(id)),
                Some(UploadFile::Session(id)) => drop(records.insert(id)),
                Some(UploadFile::Import(digest, generation)) => imports.push((digest, generation)),
                None if is_temporary(&name) => {
                    self.recovery.leftovers += 1;
                    remove(&directory.join(name))?;
                }
                None => self.set_aside(&directory.join(name), UNKNOWN)?,
            }
        }
        for id in records {
            let has_data = data.remove(&id);
            self.session(id, has_data, is_live)?;
        }
        for (digest, generation) in imports {
            match self.import(&digest, generation)? {
                Some(id) => drop(data.remove(&id)),
                None => remove(&self.layout.upload_import(&digest, generation))?,
            }
        }
        for id in data {
            self.recovery.leftovers += 1;
            remove(&self.layout.upload_data(&id))?;
        }
        Ok(())
    }

    /// Whose bytes are kept, when a blob from another node can go on.
    fn import(&mut self, digest: &Digest, generation: u64) -> Result<Option<UploadId>, OpenError> {
        let path = self.layout.upload_import(digest, generation);
        let content = read_small_file_blocking(&path, IMPORT_RECORD_BYTES_MAX)?;
        let Ok(record) = ImportRecord::decode(&content.unwrap_or_default()) else {
            tracing::warn!(path = %path.display(), "what is kept of a blob is damaged");
            return Ok(None);
        };
        let idle_ms = self.now_ms.saturating_sub(record.touched_ms);
        let data = self.layout.upload_data(&record.id);
        let file_bytes = fs::metadata(data).map_or(0, |file| file.len());
        let can_go_on = record.kernel_boot == self.kernel_boot
            && file_bytes >= record.verified_bytes
            && u128::from(idle_ms) <= UPLOAD_IDLE_MAX.as_millis();
        self.recovery.imports += u64::from(can_go_on);
        Ok(can_go_on.then_some(record.id))
    }

    fn session(
        &mut self,
        id: UploadId,
        has_data: bool,
        is_live: &impl Fn(&Digest, u64) -> bool,
    ) -> Result<(), OpenError> {
        let path = self.layout.upload_session(&id);
        let content = read_small_file_blocking(&path, RECORD_BYTES_MAX)?.unwrap_or_default();
        let record = match Record::decode(&content) {
            Ok(record) if record.id == id => record,
            damaged => {
                let reason = damaged.map(|_| "the record of another session");
                tracing::warn!(upload = %id, ?reason, "a session record is damaged");
                return self.set_session_aside(id, has_data);
            }
        };
        let idle_ms = self.now_ms.saturating_sub(record.touched_ms);
        if u128::from(idle_ms) > UPLOAD_IDLE_MAX.as_millis() {
            self.recovery.sessions_expired += 1;
            return self.remove_session(id, has_data);
        }
        let mut data = self.layout.upload_data(&id);
        if !has_data
            && record.data_bytes() > 0
            && let Some((digest, generation)) = record.sealing
        {
            if is_live(&digest, generation) {
                return remove(&path);
            }
            let sealed = self.layout.blob(&digest, generation);
            if self.keeps_unknown {
                data = sealed;
            } else {
                self.unseal(&sealed, &data)?;
            }
        }
        self.enter(&record, &data, has_data)
    }

    /// Gives a session the bytes back that had taken their final name already.
    fn unseal(&mut self, sealed: &Path, data: &Path) -> Result<(), OpenError> {
        match fs::rename(sealed, data) {
            Ok(()) => self.recovery.unsealed += 1,
            // Missing bytes are reported by whoever looks for them next.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("rename back", sealed)(error)),
        }
        Ok(())
    }

    /// Enters a session when the bytes its record speaks of are there, in `data`.
    fn enter(&mut self, record: &Record, data: &Path, has_data: bool) -> Result<(), OpenError> {
        let file_bytes = fs::metadata(data).map_or(0, |file| file.len());
        if file_bytes < record.data_bytes() {
            tracing::warn!(upload = %record.id, file_bytes, "bytes of a session are missing");
            return self.set_session_aside(record.id, has_data);
        }
        if record.data_bytes() == 0 && has_data {
            self.recovery.leftovers += 1;
            remove(data)?;
        }
        self.recovery.sessions += 1;
        self.sessions.push(Found {
            id: record.id,
            standing: Standing {
                held_bytes: record.progress.held_bytes,
                algorithm: record.progress.hasher.algorithm(),
            },
            touched_ms: record.touched_ms,
        });
        Ok(())
    }

    fn blobs(&mut self, is_live: &impl Fn(&Digest, u64) -> bool) -> Result<(), OpenError> {
        for (algorithm, directory) in self.layout.blob_directories() {
            let own_name = directory
                .file_name()
                .and_then(OsStr::to_str)
                .map(str::to_owned);
            for name in names_in(&directory)? {
                let blob = parse_blob(algorithm, &name);
                let is_at_home =
                    |(digest, _): &(Digest, u64)| digest.hex().get(..2) == own_name.as_deref();
                match blob.filter(is_at_home) {
                    Some((digest, generation)) if is_live(&digest, generation) => {
                        self.recovery.blobs += 1;
                    }
                    Some(_) if self.keeps_unknown => self.recovery.unknown += 1,
                    Some(_) => self.set_aside(&directory.join(name), ORPHAN)?,
                    None => self.set_aside(&directory.join(name), UNKNOWN)?,
                }
            }
        }
        Ok(())
    }

    fn set_session_aside(&mut self, id: UploadId, has_data: bool) -> Result<(), OpenError> {
        self.set_aside(&self.layout.upload_session(&id), UNKNOWN)?;
        if has_data {
            self.set_aside(&self.layout.upload_data(&id), UNKNOWN)?;
        }
        Ok(())
    }

    fn remove_session(&self, id: UploadId, has_data: bool) -> Result<(), OpenError> {
        // The record goes first: bytes without a record are a known leftover.
        remove(&self.layout.upload_session(&id))?;
        if has_data {
            remove(&self.layout.upload_data(&id))?;
        }
        Ok(())
    }

    fn set_aside(&mut self, path: &Path, why: &str) -> Result<(), OpenError> {
        let name = path.file_name().unwrap_or_default();
        let place = |number: u64| {
            let mut aside = OsString::from(format!("{:013}.{why}.{number}.", self.now_ms));
            aside.push(name);
            self.layout.quarantine().join(aside)
        };
        // Never over another file: two folders may hold the same name.
        let free = (0..u64::MAX).map(place).find(|target| !target.exists());
        let target = free.expect("invariant: fewer files than numbers");
        fs::rename(path, &target).map_err(failed("move to quarantine", path))?;
        match why {
            ORPHAN => self.recovery.orphans += 1,
            _ => self.recovery.quarantined += 1,
        }
        tracing::info!(from = %path.display(), to = %target.display(), why, "set aside");
        Ok(())
    }
}

/// When an orphan, or a file that was replaced, came to quarantine, by its name there.
fn orphaned_since(name: &str) -> Option<u64> {
    let (since_ms, rest) = name.split_once('.')?;
    let is_orphan = rest
        .split_once('.')
        .is_some_and(|(why, _)| [ORPHAN, UNREADABLE].contains(&why));
    is_orphan.then(|| since_ms.parse().ok()).flatten()
}

/// Files that are written beside their place and renamed; a killed writer leaves them.
fn is_temporary(name: &OsStr) -> bool {
    let name = name.to_str().unwrap_or_default();
    Path::new(name).extension() == Some(OsStr::new("new"))
}

fn names_in(directory: &Path) -> Result<Vec<OsString>, OpenError> {
    let read = || -> io::Result<Vec<OsString>> {
        let entries = fs::read_dir(directory)?;
        entries.map(|entry| Ok(entry?.file_name())).collect()
    };
    read().map_err(failed("list", directory))
}

fn remove(path: &Path) -> Result<(), OpenError> {
    Ok(remove_blocking(path)?)
}

#[cfg(test)]
#[path = "recovery_test.rs"]
mod tests;
