//! CRC32 per extent of a blob, computed while the bytes pass.

use crc32fast::Hasher as Crc32;

use crate::base::limits::EXTENT_BYTES;
use crate::base::units::{index_of, to_u64};

/// The checksums of a stream that may stop and go on in mid-extent.
#[derive(Clone, Debug, Default)]
pub(super) struct ExtentChecksums {
    complete: Vec<u32>,
    partial: Crc32,
    partial_bytes: u64,
}

impl ExtentChecksums {
    /// Goes on after `held_bytes`, of which whole extents have the checksums
    /// `complete` and the rest, if any, `partial`.
    ///
    /// - Errors: `None` when the list does not fit the length.
    pub(super) fn resume(complete: Vec<u32>, partial: u32, held_bytes: u64) -> Option<Self> {
        let partial_bytes = held_bytes % u64::from(EXTENT_BYTES);
        let is_whole = to_u64(complete.len()) == held_bytes / u64::from(EXTENT_BYTES);
        (is_whole && (partial_bytes > 0 || partial == 0)).then(|| Self {
            complete,
            partial: Crc32::new_with_initial_len(partial, partial_bytes),
            partial_bytes,
        })
    }

    /// Adds the next bytes.
    pub(super) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room_bytes = index_of(u64::from(EXTENT_BYTES) - self.partial_bytes);
            let (now, later) = bytes.split_at(room_bytes.min(bytes.len()));
            self.partial.update(now);
            self.partial_bytes += to_u64(now.len());
            if self.partial_bytes == u64::from(EXTENT_BYTES) {
                self.complete
                    .push(std::mem::take(&mut self.partial).finalize());
                self.partial_bytes = 0;
            }
            bytes = later;
        }
    }

    /// Checksums of the whole extents so far.
    pub(super) fn complete(&self) -> &[u32] {
        &self.complete
    }

    /// Forgets what came behind `held_bytes`, the end of an extent.
    pub(super) fn rewind(&mut self, held_bytes: u64) {
        assert!(
            held_bytes.is_multiple_of(u64::from(EXTENT_BYTES)),
            "an extent ends here"
        );
        let extents = index_of(held_bytes / u64::from(EXTENT_BYTES));
        self.complete.truncate(extents);
        (self.partial, self.partial_bytes) = (Crc32::new(), 0);
    }

    /// Checksum of the extent under way; 0 when there is none.
    pub(super) fn partial(&self) -> u32 {
        self.partial.clone().finalize()
    }

    /// Checksum of the extent that the bytes so far end, or have begun.
    pub(super) fn last(&self) -> u32 {
        match self.complete.last() {
            Some(last) if self.partial_bytes == 0 => *last,
            _ => self.partial(),
        }
    }

    /// Ends the blob: one checksum per extent, the last extent may be short.
    /// An empty blob has none.
    pub(super) fn finish(mut self) -> Vec<u32> {
        if self.partial_bytes > 0 {
            self.complete.push(self.partial.finalize());
        }
        self.complete
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn resume_refuses_a_list_that_does_not_fit() {
        let extent = u64::from(EXTENT_BYTES);
        assert!(ExtentChecksums::resume(vec![], 0, 0).is_some());
        assert!(ExtentChecksums::resume(vec![1], 0, extent).is_some());
        assert!(ExtentChecksums::resume(vec![1], 2, extent).is_none());
        assert!(ExtentChecksums::resume(vec![1], 2, extent - 1).is_none());
        assert!(ExtentChecksums::resume(vec![], 2, extent).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn any_cut_gives_the_checksums_of_the_whole(
            total in 0_usize..3_500_000,
            mut cuts in prop::collection::vec(0_usize..3_500_000, 0..6),
        ) {
            let bytes: Vec<u8> = (0..=250).cycle().take(total).collect();
            cuts.retain(|cut| *cut <= total);
            cuts.push(total);
            cuts.sort_unstable();
            let (mut checksums, mut from) = (ExtentChecksums::default(), 0);
            for cut in cuts {
                checksums.update(&bytes[from..cut]);
                let (complete, partial) = (checksums.complete().to_vec(), checksums.partial());
                checksums = ExtentChecksums::resume(complete, partial, to_u64(cut)).unwrap();
                from = cut;
            }
            let extents = bytes.chunks(crate::base::units::to_usize(EXTENT_BYTES));
            let expected: Vec<u32> = extents.map(crc32fast::hash).collect();
            prop_assert_eq!(checksums.finish(), expected);
        }
    }
}
