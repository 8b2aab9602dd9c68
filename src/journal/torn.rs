//! Reads the journal files of fjall before fjall does, so that a torn end is
//! cut and rot is refused before anything is changed.
//!
//! fjall itself cuts a file silently where it meets a bad tag, and refuses to
//! open, or panics, where a batch has whole tags around damaged bytes. After a
//! power cut both are ordinary: pages of an unsynced batch reach the disk in
//! any order. This file follows the format of fjall 3.1, which is pinned:
//!
//! ```text
//! batch  start | item or clear … | end
//! start  tag 1 u8 | items u32 | sequence number u64
//! item   tag 2 u8 | kind u8 | compression 0 u8 | keyspace u64 | key length u16
//!        | value length u32 | stored length u32 | key | value
//! end    tag 3 u8 | XXH3 over the items and clears u64 | "FJL" 3
//! clear  tag 4 u8 | keyspace u64
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use crate::base::codec::Reader;
use crate::base::units::{MIB, to_u64, to_usize};

use super::group::TAIL_KEY;
use super::tail::Tail;

const START_TAG: u8 = 1;
const ITEM_TAG: u8 = 2;
const END_TAG: u8 = 3;
const CLEAR_TAG: u8 = 4;
/// Last bytes of a batch.
const TRAILER: [u8; 4] = *b"FJL\x03";
/// Bytes of an item before its key.
const ITEM_HEAD_BYTES: usize = 20;
/// The last fields of an item's head: length of the key, and of the value twice.
const ITEM_SIZES_BYTES: usize = 10;
/// Longest value that can be genuine.
const VALUE_BYTES_MAX: u32 = 64 * MIB;
/// Read at once.
const READ_BYTES: usize = to_usize(MIB);

/// What of a journal file is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scan {
    /// The file.
    pub path: PathBuf,
    /// Bytes up to the end of the last whole batch.
    pub whole_bytes: u64,
    /// Whether anything but allocated zeros follows.
    pub is_torn: bool,
    /// The tail in the last whole batch that has one.
    pub tail: Option<Tail>,
}

/// Scans the journals of a database, oldest first; all but the last are sealed.
pub(super) fn scan_database(database: &Path) -> io::Result<Vec<Scan>> {
    if !database.exists() {
        return Ok(Vec::new());
    }
    let mut journals = Vec::new();
    for entry in fs::read_dir(database)? {
        let path = entry?.path();
        let is_journal = path.extension().is_some_and(|kind| kind == "jnl");
        let number = path
            .file_stem()
            .and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        journals.extend(number.filter(|_| is_journal).map(|number| (number, path)));
    }
    journals.sort();
    let scans = journals.into_iter().map(|(_, path)| scan(path));
    scans.collect()
}

/// Cuts a torn end off.
pub(super) fn cut(torn: &Scan) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(&torn.path)?;
    file.set_len(torn.whole_bytes)?;
    file.sync_all()
}

fn scan(path: PathBuf) -> io::Result<Scan> {
    let mut source = Source {
        reader: BufReader::with_capacity(READ_BYTES, File::open(&path)?),
        read_bytes: 0,
    };
    let (mut whole_bytes, mut tail) = (0, None);
    while let Some(found) = read_batch(&mut source)? {
        whole_bytes = source.read_bytes;
        tail = found.or(tail);
    }
    let is_torn = has_data_after(&path, whole_bytes)?;
    Ok(Scan {
        path,
        whole_bytes,
        is_torn,
        tail,
    })
}

/// Whether a file has bytes other than zero from an offset on.
fn has_data_after(path: &Path, offset: u64) -> io::Result<bool> {
    let mut file = File::open(path)?;
    io::Seek::seek(&mut file, io::SeekFrom::Start(offset))?;
    let mut part = vec![0; READ_BYTES];
    let zeros = vec![0; READ_BYTES];
    loop {
        let read = file.read(&mut part)?;
        if read == 0 {
            return Ok(false);
        }
        if part.get(..read) != zeros.get(..read) {
            return Ok(true);
        }
    }
}

/// The bytes of a file and how many of them were taken.
struct Source {
    reader: BufReader<File>,
    read_bytes: u64,
}

impl Source {
    /// Takes bytes; `None` at the end of the file.
    fn take(&mut self, into: &mut [u8]) -> io::Result<Option<()>> {
        match self.reader.read_exact(into) {
            Ok(()) => {
                self.read_bytes += to_u64(into.len());
                Ok(Some(()))
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn array<const BYTES: usize>(&mut self) -> io::Result<Option<[u8; BYTES]>> {
        let mut bytes = [0; BYTES];
        Ok(self.take(&mut bytes)?.map(|()| bytes))
    }
}

/// Takes a batch; `None` where none is whole, `Some(None)` for one without a tail.
#[expect(clippy::option_option, reason = "one caller, which asks both")]
fn read_batch(source: &mut Source) -> io::Result<Option<Option<Tail>>> {
    let Some([START_TAG]) = source.array::<1>()? else {
        return Ok(None);
    };
    let Some(start) = source.array::<12>()? else {
        return Ok(None);
    };
    let items = Reader::new(&start).u32().unwrap_or_default();
    let mut hasher = Xxh3::new();
    let mut tail = None;
    for _ in 0..items {
        let is_whole = match source.array::<1>()? {
            Some([ITEM_TAG]) => read_item(source, &mut hasher, &mut tail)?,
            Some([CLEAR_TAG]) => source.array::<8>()?.map(|keyspace| {
                hasher.update(&[CLEAR_TAG]);
                hasher.update(&keyspace);
            }),
            _ => None,
        };
        if is_whole.is_none() {
            return Ok(None);
        }
    }
    let Some([END_TAG]) = source.array::<1>()? else {
        return Ok(None);
    };
    let (checksum, trailer) = (source.array::<8>()?, source.array::<4>()?);
    let is_whole = checksum == Some(hasher.digest().to_le_bytes()) && trailer == Some(TRAILER);
    Ok(is_whole.then_some(tail))
}

/// Takes the rest of an item and notes the tail when it is one.
fn read_item(
    source: &mut Source,
    hasher: &mut Xxh3,
    tail: &mut Option<Tail>,
) -> io::Result<Option<()>> {
    let Some(head) = source.array::<ITEM_HEAD_BYTES>()? else {
        return Ok(None);
    };
    let (_, sizes) = head.split_at(ITEM_HEAD_BYTES - ITEM_SIZES_BYTES);
    let mut sizes = Reader::new(sizes);
    let (Ok(key), Ok(value_bytes), Ok(stored_bytes)) = (sizes.array(), sizes.u32(), sizes.u32())
    else {
        return Ok(None);
    };
    let key_bytes = usize::from(u16::from_le_bytes(key));
    if value_bytes != stored_bytes || value_bytes > VALUE_BYTES_MAX {
        return Ok(None);
    }
    let mut body = vec![0; key_bytes + to_usize(value_bytes)];
    if source.take(&mut body)?.is_none() {
        return Ok(None);
    }
    hasher.update(&[ITEM_TAG]);
    hasher.update(&head);
    hasher.update(&body);
    if let Some((TAIL_KEY, value)) = body.split_at_checked(key_bytes) {
        *tail = Tail::decode(value).ok();
    }
    Ok(Some(()))
}
