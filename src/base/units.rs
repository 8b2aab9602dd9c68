//! Byte units and the only conversions between integer sizes.
//!
//! Disk, wire and journal speak `u32` and `u64`; memory speaks `usize`. Every
//! crossing goes through a function of this file, so that a lossy `as` never
//! passes review.

/// Bytes in a kibibyte.
pub const KIB: u32 = 1024;
/// Bytes in a mebibyte.
pub const MIB: u32 = 1024 * KIB;
/// Kibibytes and mebibytes are `u32`, a gibibyte is already a file size.
pub const GIB_BYTES: u64 = 1024 * 1024 * 1024;
/// Alignment of direct I/O: offset, length and address. Devices ask for 512 or
/// 4096; the larger one is right everywhere.
pub const SECTOR_BYTES: u32 = 4096;

const _: () = assert!(
    usize::BITS == 64,
    "sizes on disk are u64 and must fit memory indexes"
);

/// Widens a wire size to a memory size.
#[must_use]
pub const fn to_usize(value: u32) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "usize has 64 bits, asserted above"
    )]
    let wide = value as u64 as usize;
    wide
}

/// Narrows a file size to a memory size; lossless on the 64-bit targets we build for.
#[must_use]
pub const fn index_of(value: u64) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "usize has 64 bits, asserted above"
    )]
    let index = value as usize;
    index
}

/// Widens a memory size to a file size.
#[must_use]
pub const fn to_u64(value: usize) -> u64 {
    value as u64
}

/// Narrows a memory size to a wire size.
///
/// - Panics: above 4 GiB; the caller's bound makes that impossible.
#[must_use]
pub fn to_u32(value: usize) -> u32 {
    u32::try_from(value).expect("invariant: bounded by a limit far below 4 GiB")
}

/// Rounds down to a whole number of sectors.
#[must_use]
pub const fn sector_floor(value_bytes: u64) -> u64 {
    value_bytes - value_bytes % SECTOR_BYTES as u64
}

/// Rounds up to a whole number of sectors.
#[must_use]
pub const fn sector_ceil(value_bytes: u64) -> u64 {
    value_bytes.next_multiple_of(SECTOR_BYTES as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sectors_round_both_ways() {
        assert_eq!((sector_floor(4097), sector_ceil(4097)), (4096, 8192));
        assert_eq!((sector_floor(4096), sector_ceil(4096)), (4096, 4096));
        assert_eq!((sector_floor(0), sector_ceil(0)), (0, 0));
    }
}
