//! A snapshot as a file: what travels to a node that lags too far behind.
//!
//! ```text
//! file   magic u64 | frame …
//! frame  length u32 | checksum u32 | body      CRC32 over the body
//! body   kind u8, then
//!        1 head: is some u8, identity of the last entry if so | membership bytes
//!        2 entries: key (u32 length, bytes) | value (same) …
//!        3 end: entries in the file u64
//! ```
//! The head comes first, the end last; a file without its end is refused.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use bytes::Bytes;

use crate::base::codec::{CodecError, Reader, Writer};
use crate::base::units::{MIB, to_u32, to_usize};
use crate::journal::{JournalError, Put, StateView};

use super::encoding;
use super::types::SnapshotMeta;

/// First bytes: "windlass snapshot, version 1".
const SNAPSHOT_MAGIC: u64 = u64::from_le_bytes(*b"wdlsnap1");
/// A frame of entries is written when it has this many bytes.
const FRAME_BYTES: usize = to_usize(MIB);
/// Longest frame: one entry of the largest value and what was waiting.
const FRAME_BYTES_MAX: u32 = 16 * MIB;

const HEAD_TAG: u8 = 1;
const ENTRIES_TAG: u8 = 2;
const END_TAG: u8 = 3;

/// Writes a view as a snapshot file, as long as it is wanted. Blocks.
pub(super) fn export(
    view: &StateView,
    meta: &SnapshotMeta,
    path: &Path,
    is_wanted: &dyn Fn() -> bool,
) -> Result<(), JournalError> {
    let mut file = FrameWriter::create(path).map_err(writing)?;
    let mut head = Writer::default();
    head.u8(HEAD_TAG).u8(u8::from(meta.last_log_id.is_some()));
    if let Some(id) = &meta.last_log_id {
        head.raw(&encoding::encode_id(id));
    }
    head.raw(&encoding::encode_stored(&meta.last_membership));
    file.frame(&head.finish()).map_err(writing)?;

    let mut outcome = Ok(());
    view.scan(&[], &[], &mut |key, value| {
        outcome = if is_wanted() {
            file.entry(key, value)
        } else {
            Err(io::ErrorKind::Interrupted.into())
        };
        outcome.is_ok()
    })?;
    outcome.and_then(|()| file.finish()).map_err(writing)
}

/// Fills a generation from a snapshot file; the file's own head must say what
/// the sender said. Blocks.
pub(super) fn import(
    path: &Path,
    expected: &SnapshotMeta,
    put: Put<'_>,
) -> Result<(), JournalError> {
    read(path, expected, put)
}

/// Reads a snapshot file to its end, as [`import`] will. Blocks.
pub(super) fn verify(path: &Path, expected: &SnapshotMeta) -> Result<(), JournalError> {
    read(path, expected, &mut |_, _| Ok(()))
}

fn read(path: &Path, expected: &SnapshotMeta, visit: Put<'_>) -> Result<(), JournalError> {
    let file = File::open(path).map_err(reading)?;
    let mut file = BufReader::with_capacity(FRAME_BYTES, file);
    let mut magic = [0; 8];
    file.read_exact(&mut magic).map_err(reading)?;
    if u64::from_le_bytes(magic) != SNAPSHOT_MAGIC {
        return Err(damaged(CodecError::Invalid { field: "magic" }));
    }
    if read_head(&read_frame(&mut file)?).map_err(damaged)? != *expected {
        return Err(damaged(CodecError::Invalid { field: "head" }));
    }
    let mut entries: u64 = 0;
    loop {
        let frame = read_frame(&mut file)?;
        let mut reader = Reader::new(&frame);
        match reader.u8().map_err(damaged)? {
            ENTRIES_TAG => entries += read_entries(&frame, visit)?,
            END_TAG if reader.u64() == Ok(entries) => return Ok(()),
            _ => return Err(damaged(CodecError::Invalid { field: "kind" })),
        }
    }
}

fn read_head(frame: &Bytes) -> Result<SnapshotMeta, CodecError> {
    let mut reader = Reader::new(frame);
    if reader.u8()? != HEAD_TAG {
        return Err(CodecError::Invalid { field: "kind" });
    }
    let last_log_id = match reader.u8()? {
        0 => None,
        _ => Some(encoding::decode_id(reader.raw(encoding::ID_BYTES)?)?),
    };
    let last_membership = encoding::decode_stored(reader.raw(reader.remaining())?)?;
    Ok(SnapshotMeta {
        last_log_id,
        last_membership,
    })
}

fn read_entries(frame: &Bytes, visit: Put<'_>) -> Result<u64, JournalError> {
    let mut reader = Reader::new(frame);
    let mut count: u64 = 0;
    reader.u8().map_err(damaged)?;
    while reader.remaining() > 0 {
        let key = reader.bytes().map_err(damaged)?;
        let value = reader.bytes().map_err(damaged)?;
        visit(key, value)?;
        count += 1;
    }
    Ok(count)
}

fn read_frame(file: &mut impl Read) -> Result<Bytes, JournalError> {
    let mut head = [0; 8];
    file.read_exact(&mut head).map_err(reading)?;
    let mut fields = Reader::new(&head);
    let length = fields.u32().map_err(damaged)?;
    let checksum = fields.u32().map_err(damaged)?;
    if length > FRAME_BYTES_MAX {
        return Err(damaged(CodecError::Invalid { field: "length" }));
    }
    let mut body = vec![0; to_usize(length)];
    file.read_exact(&mut body).map_err(reading)?;
    if crc32fast::hash(&body) != checksum {
        return Err(damaged(CodecError::Checksum { record: "snapshot" }));
    }
    Ok(Bytes::from(body))
}

/// Collects entries into frames.
struct FrameWriter {
    file: BufWriter<File>,
    pending: Writer,
    entries: u64,
}

impl FrameWriter {
    fn create(path: &Path) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let mut file = BufWriter::with_capacity(FRAME_BYTES, File::create(path)?);
        file.write_all(&SNAPSHOT_MAGIC.to_le_bytes())?;
        Ok(Self {
            file,
            pending: Writer::default(),
            entries: 0,
        })
    }

    fn frame(&mut self, body: &[u8]) -> io::Result<()> {
        self.file.write_all(&to_u32(body.len()).to_le_bytes())?;
        self.file.write_all(&crc32fast::hash(body).to_le_bytes())?;
        self.file.write_all(body)
    }

    fn entry(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        if self.pending.as_slice().is_empty() {
            self.pending.u8(ENTRIES_TAG);
        }
        self.pending.bytes(key).bytes(value);
        self.entries += 1;
        if self.pending.as_slice().len() >= FRAME_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let pending = std::mem::take(&mut self.pending).finish();
        if pending.is_empty() {
            return Ok(());
        }
        self.frame(&pending)
    }

    fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        let mut end = Writer::default();
        end.u8(END_TAG).u64(self.entries);
        self.frame(&end.finish())?;
        self.file.flush()
    }
}

fn writing(source: io::Error) -> JournalError {
    JournalError::File {
        operation: "write a snapshot file",
        source,
    }
}

fn reading(source: io::Error) -> JournalError {
    JournalError::File {
        operation: "read a snapshot file",
        source,
    }
}

fn damaged(source: CodecError) -> JournalError {
    JournalError::Damaged {
        what: "a snapshot file",
        source,
    }
}

#[cfg(test)]
#[path = "snapshot_file_test.rs"]
mod tests;
