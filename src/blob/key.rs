//! The secret that makes upload ids, and the count of this node's starts.
//!
//! ```text
//! 0   [4]  magic "wluk"
//! 4   u8   version, 1
//! 5   [32] key
//! 37  u32  starts so far, this one included
//! 41  u32  CRC32 of everything above
//! ```
//! All numbers are little-endian.

use super::enclosed::{Form, finish};
use crate::base::{CodecError, random_bytes};

const FORMAT_VERSION: u8 = 1;
const FORM: Form = Form {
    name: "upload key",
    magic: *b"wluk",
    version: FORMAT_VERSION,
};

/// What the key file holds.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) secret: [u8; 32],
    pub(super) boot: u32,
}

impl Key {
    /// The key of a node that starts for the first time.
    pub(super) fn random() -> Self {
        Self {
            secret: random_bytes(),
            boot: 1,
        }
    }

    /// The key for the next start.
    pub(super) fn next(mut self) -> Self {
        self.boot = self.boot.wrapping_add(1);
        self
    }

    /// Writes the drawn form.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut writer = FORM.begin(45);
        writer.raw(&self.secret).u32(self.boot);
        finish(writer)
    }

    /// Reads the drawn form.
    pub(super) fn decode(record: &[u8]) -> Result<Self, CodecError> {
        let mut reader = FORM.open(record)?;
        let key = Self {
            secret: reader.array()?,
            boot: reader.u32()?,
        };
        reader.end()?;
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &[u8] = include_bytes!("../../tests/fixtures/upload_key_v1.bin");

    fn golden() -> Key {
        Key {
            secret: std::array::from_fn(|at| u8::try_from(at * 3).unwrap()),
            boot: 258,
        }
    }

    #[test]
    fn the_golden_key_reads_and_writes_alike() {
        assert_eq!(golden().encode(), GOLDEN, "the format has changed");
        assert!(Key::decode(GOLDEN).unwrap() == golden());
        assert_eq!(golden().next().boot, 259);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused() {
        for bit in 0..GOLDEN.len() * 8 {
            let mut flipped = GOLDEN.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Key::decode(&flipped).is_err(), "bit {bit}");
        }
        for end in 0..GOLDEN.len() {
            assert!(Key::decode(&GOLDEN[..end]).is_err(), "cut at {end}");
        }
    }
}
