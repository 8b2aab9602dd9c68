//! What survives a killed process about a blob on its way here from another node.
//!
//! ```text
//! 0   [4]  magic "wlui"
//! 4   u8   version, 1
//! 5   [40] upload id, which names the data file
//! 45       encoded digest
//!     u64  generation
//!     u64  length of the whole blob
//!     u64  bytes of whole extents, every one of them right and in the data file
//!     u64  last use, milliseconds since the Unix epoch
//!     [16] kernel boot in which the bytes came: none of them is synced
//!     u32  length, then hash state (`Hasher::state`) at the end of these bytes
//!     u32  CRC32 of everything above
//! ```
//! All numbers are little-endian. The record is named after the blob, so that whoever
//! fetches it next finds it; it is replaced as a whole, never changed in place.

use super::enclosed::{Form, finish};
use super::hasher::Hasher;
use super::kernel_boot::KernelBoot;
use super::upload_id::UploadId;
use crate::base::CodecError;
use crate::base::limits::EXTENT_BYTES;
use crate::oci::Digest;

const FORMAT_VERSION: u8 = 1;
const FORM: Form = Form {
    name: "import",
    magic: *b"wlui",
    version: FORMAT_VERSION,
};
/// Longest record: that of a SHA-512 digest has 400 bytes.
pub(super) const IMPORT_RECORD_BYTES_MAX: u32 = 4096;

/// How far an import has come.
#[derive(Clone, Debug)]
pub(super) struct ImportRecord {
    pub(super) id: UploadId,
    pub(super) digest: Digest,
    pub(super) generation: u64,
    pub(super) size_bytes: u64,
    pub(super) verified_bytes: u64,
    pub(super) touched_ms: u64,
    pub(super) kernel_boot: KernelBoot,
    pub(super) hasher: Hasher,
}

impl ImportRecord {
    /// Writes the record in its drawn form.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut writer = FORM.begin(512);
        writer.raw(self.id.as_bytes());
        self.digest.encode(&mut writer);
        writer
            .u64(self.generation)
            .u64(self.size_bytes)
            .u64(self.verified_bytes)
            .u64(self.touched_ms)
            .raw(&self.kernel_boot.0)
            .bytes(&self.hasher.state());
        finish(writer)
    }

    /// Reads a record back; anything but an intact record of a known version is refused.
    pub(super) fn decode(record: &[u8]) -> Result<Self, CodecError> {
        let mut reader = FORM.open(record)?;
        let id = UploadId::from_bytes(reader.array()?);
        let digest = Digest::decode(&mut reader)?;
        let (generation, size_bytes) = (reader.u64()?, reader.u64()?);
        let (verified_bytes, touched_ms) = (reader.u64()?, reader.u64()?);
        let kernel_boot = KernelBoot(reader.array()?);
        let hasher = Hasher::from_state(digest.algorithm(), reader.bytes()?)?;
        reader.end()?;
        let is_whole = verified_bytes.is_multiple_of(u64::from(EXTENT_BYTES));
        if !is_whole || verified_bytes > size_bytes {
            return Err(CodecError::Invalid { field: "verified" });
        }
        Ok(Self {
            id,
            digest,
            generation,
            size_bytes,
            verified_bytes,
            touched_ms,
            kernel_boot,
            hasher,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    const GOLDEN: &[u8] = include_bytes!("../../tests/fixtures/import_record_v1.bin");

    fn golden() -> ImportRecord {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(&vec![7; 2 * 1024 * 1024]);
        ImportRecord {
            id: UploadId::from_bytes([0x5a; 40]),
            digest: Digest::of(Algorithm::Sha256, b"x"),
            generation: 7,
            size_bytes: 3_000_000,
            verified_bytes: 2 * 1024 * 1024,
            touched_ms: 1_700_000_000_123,
            kernel_boot: KernelBoot([0xb0; 16]),
            hasher,
        }
    }

    #[test]
    fn the_golden_record_reads_and_writes_alike() {
        assert_eq!(golden().encode(), GOLDEN, "the format has changed");
        let read = ImportRecord::decode(GOLDEN).unwrap();
        assert_eq!(read.encode(), GOLDEN);
        let hash = read.hasher.finish();
        assert_eq!(
            hash,
            Digest::of(Algorithm::Sha256, &vec![7; 2 * 1024 * 1024])
        );
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused() {
        for bit in 0..GOLDEN.len() * 8 {
            let mut flipped = GOLDEN.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(ImportRecord::decode(&flipped).is_err(), "bit {bit}");
        }
        for end in 0..GOLDEN.len() {
            assert!(
                ImportRecord::decode(&GOLDEN[..end]).is_err(),
                "cut at {end}"
            );
        }
    }

    #[test]
    fn only_whole_extents_within_the_blob_are_kept() {
        for (size_bytes, verified_bytes) in [(3_000_000, 5000), (1 << 20, 2 << 20)] {
            let odd = ImportRecord {
                size_bytes,
                verified_bytes,
                ..golden()
            };
            assert!(ImportRecord::decode(&odd.encode()).is_err());
        }
        let long = ImportRecord {
            digest: Digest::of(Algorithm::Sha512, b"x"),
            hasher: Hasher::new(Algorithm::Sha512),
            ..golden()
        };
        let record = long.encode();
        assert!(record.len() < 500);
        assert!(ImportRecord::decode(&record).is_ok());
    }
}
