//! Asks which pages of a file are in memory.
//!
//! Holds `unsafe` code: no crate wraps `cachestat` yet. Invariants:
//! 1. `Range` and `Counts` have the layout of `struct cachestat_range` and
//!    `struct cachestat` of `linux/mman.h`: `repr(C)`, 64-bit fields, in that order.
//! 2. The kernel reads one `Range`, writes one `Counts` and keeps neither pointer.

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::base::units::SECTOR_BYTES;

/// Number of the call on every architecture of ours. Source: `asm-generic/unistd.h`.
const CACHESTAT_ID: libc::c_long = 451;

#[repr(C)]
struct Range {
    offset_bytes: u64,
    length_bytes: u64,
}

/// Pages of the range, by what became of them.
#[repr(C)]
#[derive(Default)]
struct Counts {
    cached: u64,
    dirty: u64,
    under_writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

/// Whether every page of the range is in the page cache. `false` when the kernel
/// cannot tell (before 6.5): cold is the safe answer. Advice only; a page may be
/// evicted the moment after.
pub(super) fn is_resident(file: BorrowedFd<'_>, offset_bytes: u64, length_bytes: u64) -> bool {
    let page_bytes = u64::from(SECTOR_BYTES);
    let Some(end_bytes) = offset_bytes.checked_add(length_bytes) else {
        return false;
    };
    let pages = end_bytes.div_ceil(page_bytes) - offset_bytes / page_bytes;
    let range = Range {
        offset_bytes,
        length_bytes,
    };
    let mut counts = Counts::default();
    let no_flags: libc::c_uint = 0;
    #[expect(unsafe_code, reason = "a system call without a wrapper")]
    // SAFETY: invariants 1 and 2; both pointers come from live references, and the
    // descriptor is borrowed for the call.
    let answer = unsafe {
        libc::syscall(
            CACHESTAT_ID,
            file.as_raw_fd(),
            std::ptr::from_ref(&range),
            std::ptr::from_mut(&mut counts),
            no_flags,
        )
    };
    answer == 0 && counts.cached >= pages
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Write;
    use std::os::fd::AsFd;

    #[test]
    fn fresh_pages_are_resident_and_pages_beyond_the_end_are_not() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 10_000]).unwrap();
        let probe = tempfile::tempfile().unwrap();
        assert!(
            !is_resident(probe.as_fd(), 0, 1),
            "an empty file has no pages"
        );
        if !is_resident(file.as_fd(), 0, 4096) {
            return; // A kernel before 6.5 cannot tell.
        }
        assert!(is_resident(file.as_fd(), 0, 10_000));
        assert!(is_resident(file.as_fd(), 4095, 2));
        assert!(!is_resident(file.as_fd(), 8192, 8192));
        assert!(!is_resident(file.as_fd(), u64::MAX, 2));
    }

    #[test]
    fn a_descriptor_without_pages_is_cold() {
        let pipe = std::io::pipe().unwrap().0;
        assert!(!is_resident(pipe.as_fd(), 0, 4096));
        let device = File::open("/dev/null").unwrap();
        assert!(!is_resident(device.as_fd(), 0, 4096));
    }
}
