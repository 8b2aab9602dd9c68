//! What survives a killed process about one upload session.
//!
//! ```text
//! 0   [4]  magic "wlus"
//! 4   u8   version, 1
//! 5   u8   hash algorithm, 1 sha256 or 2 sha512
//! 6   [40] upload id
//! 46  u64  held bytes, all of them acknowledged
//! 54  u64  last use, milliseconds since the Unix epoch
//! 62  [16] kernel boot in which its first bytes came, see `kernel_boot.rs`
//! 78  u32  length, then UTF-8: repository
//!     u32  length, then hash state (`Hasher::state`)
//!     u32  CRC32 of the extent under way, 0 when there is none
//!     u32  length in bytes, then u32 per whole extent: CRC32
//!     u32  length, then the tail: the held bytes that are not in the data file
//!     u8   0, or 1 and: encoded digest, u64 generation under which the session
//!          was being sealed
//!     u32  CRC32 of everything above
//! ```
//! All numbers are little-endian. The data file holds `held - tail` bytes, whole
//! sectors of them; while that is zero there is no data file. A record is
//! replaced as a whole (written beside, renamed), never changed in place.

use super::enclosed::{Form, finish};
use super::extents::ExtentChecksums;
use super::hasher::Hasher;
use super::kernel_boot::KernelBoot;
use super::progress::Progress;
use super::upload_id::UploadId;
use crate::base::limits::{BLOB_BYTES_MAX, ENTRY_BYTES_MAX, INLINE_BLOB_BYTES_MAX, MOVE_BYTES_MIN};
use crate::base::units::{sector_floor, to_u64};
use crate::base::{CodecError, Writer};
use crate::oci::{Algorithm, Digest, Repository};

const FORMAT_VERSION: u8 = 1;
const FORM: Form = Form {
    name: "upload session",
    magic: *b"wlus",
    version: FORMAT_VERSION,
};
/// Longest record: that of the largest blob.
pub(super) const RECORD_BYTES_MAX: u32 = ENTRY_BYTES_MAX;

/// A session between two requests, as it stands on disk.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) id: UploadId,
    pub(super) repository: Repository,
    /// Milliseconds since the Unix epoch.
    pub(super) touched_ms: u64,
    pub(super) kernel_boot: KernelBoot,
    pub(super) progress: Progress,
    /// The last held bytes; the ones before are in the data file.
    pub(super) tail: Vec<u8>,
    /// Set before the data file takes its final name.
    pub(super) sealing: Option<(Digest, u64)>,
}

impl Record {
    /// Bytes that stand in the data file.
    pub(super) fn data_bytes(&self) -> u64 {
        self.progress.held_bytes - to_u64(self.tail.len())
    }

    /// Writes the record in its drawn form.
    pub(super) fn encode(&self) -> Vec<u8> {
        let extents = self.progress.extents.complete();
        let mut checksums = Writer::with_capacity(extents.len() * 4);
        for checksum in extents {
            checksums.u32(*checksum);
        }
        let mut writer = FORM.begin(512 + extents.len() * 4 + self.tail.len());
        writer
            .u8(code_of(self.progress.hasher.algorithm()))
            .raw(self.id.as_bytes())
            .u64(self.progress.held_bytes)
            .u64(self.touched_ms)
            .raw(&self.kernel_boot.0)
            .text(self.repository.as_str())
            .bytes(&self.progress.hasher.state())
            .u32(self.progress.extents.partial())
            .bytes(checksums.as_slice())
            .bytes(&self.tail);
        match &self.sealing {
            None => drop(writer.u8(0)),
            Some((digest, generation)) => {
                writer.u8(1);
                digest.encode(&mut writer);
                writer.u64(*generation);
            }
        }
        finish(writer)
    }

    /// Reads a record back; anything but an intact record of a known version is refused.
    pub(super) fn decode(record: &[u8]) -> Result<Self, CodecError> {
        let mut reader = FORM.open(record)?;
        let algorithm = algorithm_of(reader.u8()?)?;
        let id = UploadId::from_bytes(reader.array()?);
        let held_bytes = reader.u64()?;
        let touched_ms = reader.u64()?;
        let kernel_boot = KernelBoot(reader.array()?);
        let repository = Repository::parse(reader.text("repository")?);
        let repository = repository.map_err(|_| CodecError::Invalid {
            field: "repository",
        })?;
        let hasher = Hasher::from_state(algorithm, reader.bytes()?)?;
        let partial = reader.u32()?;
        let complete = checksums_of(reader.bytes()?)?;
        let extents = ExtentChecksums::resume(complete, partial, held_bytes)
            .ok_or(CodecError::Invalid { field: "extents" })?;
        let tail = reader.bytes()?.to_vec();
        let sealing = match reader.u8()? {
            0 => None,
            1 => Some((Digest::decode(&mut reader)?, reader.u64()?)),
            _ => return Err(CodecError::Invalid { field: "sealing" }),
        };
        reader.end()?;
        check_tail(held_bytes, tail.len())?;
        Ok(Self {
            id,
            repository,
            touched_ms,
            kernel_boot,
            progress: Progress {
                held_bytes,
                hasher,
                extents,
            },
            tail,
            sealing,
        })
    }
}

fn checksums_of(list: &[u8]) -> Result<Vec<u32>, CodecError> {
    let (words, rest) = list.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(CodecError::Invalid { field: "extents" });
    }
    Ok(words.iter().map(|word| u32::from_le_bytes(*word)).collect())
}

/// The tail fits the rule by which it is cut.
fn check_tail(held_bytes: u64, tail_bytes: usize) -> Result<(), CodecError> {
    let is_right = to_u64(tail_bytes) == held_bytes - tail_start(held_bytes);
    (is_right && held_bytes <= BLOB_BYTES_MAX)
        .then_some(())
        .ok_or(CodecError::Invalid { field: "tail" })
}

const fn code_of(algorithm: Algorithm) -> u8 {
    match algorithm {
        Algorithm::Sha256 => 1,
        Algorithm::Sha512 => 2,
    }
}

fn algorithm_of(code: u8) -> Result<Algorithm, CodecError> {
    let found = Algorithm::ALL.into_iter().find(|one| code_of(*one) == code);
    found.ok_or(CodecError::Invalid { field: "algorithm" })
}

/// First byte of the tail: what a suspended session keeps in its record. A blob
/// that may end inline stays there whole, a larger one leaves only what does not
/// fill a sector.
pub(super) const fn tail_start(held_bytes: u64) -> u64 {
    if held_bytes <= INLINE_BLOB_BYTES_MAX as u64 {
        0
    } else {
        sector_floor(held_bytes)
    }
}

const _: () = assert!(
    INLINE_BLOB_BYTES_MAX <= MOVE_BYTES_MIN,
    "a blob that may end inline fits the first buffer, so it never has a data file"
);

#[cfg(test)]
#[path = "record_test.rs"]
mod tests;
