//! The one record that every change rewrites: running hash, clock, counters.
//!
//! ```text
//! state   u8 version = 1 | hash, 32 bytes | u64 clock_ms | u64 events_from | u32 policies
//! ```

use bytes::Bytes;

use super::delta::Delta;
use super::key;
use super::record::StateError;
use super::view::View;
use crate::base::units::to_u64;
use crate::base::{CodecError, Reader, Writer};
use crate::oci::{Algorithm, Digest};

const STATE_VERSION: u8 = 1;
/// Bytes of the running hash.
pub(super) const HASH_BYTES: usize = 32;
/// Bytes of the record.
const STATE_BYTES: usize = 1 + HASH_BYTES + 8 + 8 + 4;
/// Bytes that the hash takes of a change beside its key and value, at most.
const CHANGE_OVERHEAD_BYTES: usize = 16;

/// Running hash, clock and counters; zeros before the first change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct StateRecord {
    /// Hash over every change so far, in order.
    pub(super) hash: [u8; HASH_BYTES],
    /// Latest proposal time seen, in ms since the Unix epoch.
    pub(super) clock_ms: u64,
    /// No event below this journal index is kept.
    pub(super) events_from: u64,
    /// Policies set; while there are none nobody looks for them.
    pub(super) policies: u32,
}

impl StateRecord {
    /// Reads the record of a view.
    pub(super) fn read(view: &dyn View) -> Result<Self, StateError> {
        let record = view.value(key::STATE)?;
        let state = record.map(|record| Self::decode(&record)).transpose()?;
        Ok(state.unwrap_or_default())
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(STATE_BYTES);
        writer.u8(STATE_VERSION).raw(&self.hash);
        writer
            .u64(self.clock_ms)
            .u64(self.events_from)
            .u32(self.policies);
        writer.finish()
    }

    pub(super) fn decode(record: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(record);
        let version = reader.u8()?;
        if version != STATE_VERSION {
            return Err(CodecError::Version {
                record: "state",
                version,
            });
        }
        let state = Self {
            hash: reader.array()?,
            clock_ms: reader.u64()?,
            events_from: reader.u64()?,
            policies: reader.u32()?,
        };
        reader.end()?;
        Ok(state)
    }

    /// Chains the changes of one command to the hash.
    ///
    /// Contents are left out: their keys hold their digests, checked when they
    /// were proposed, and hashing 4 MiB here would hold up every other entry.
    pub(super) fn chain(&mut self, delta: &Delta) {
        let bytes = |(key, value): (&Bytes, Option<&Bytes>)| {
            let hashed = value.filter(|_| !key::is_content(key));
            key.len() + hashed.map_or(0, Bytes::len) + CHANGE_OVERHEAD_BYTES
        };
        let changes_bytes: usize = delta.iter().map(bytes).sum();
        let mut writer = Writer::with_capacity(HASH_BYTES + changes_bytes);
        writer.raw(&self.hash);
        for (key, value) in delta.iter() {
            writer.bytes(key);
            match value {
                None => writer.u8(0),
                Some(value) if key::is_content(key) => writer.u8(1).u64(to_u64(value.len())),
                Some(value) => writer.u8(2).bytes(value),
            };
        }
        let digest = Digest::of(Algorithm::Sha256, writer.as_slice());
        self.hash.copy_from_slice(digest.as_bytes());
    }
}
