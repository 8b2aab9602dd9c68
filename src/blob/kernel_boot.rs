//! Whether the machine has gone down since bytes were written.
//!
//! A session's bytes are not synced before it is sealed: they survive a killed
//! process, not a power cut. The hash mid-state in its record may then speak of
//! bytes that the disk never got. Such a session is read back before it is sealed.

use crate::base::random_bytes;
use crate::disk::read_small_file_blocking;

use std::path::Path;

/// Where the kernel names its boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// Longest content of that file that makes sense.
const BOOT_ID_BYTES_MAX: u32 = 64;

/// Names one boot of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KernelBoot(pub(super) [u8; 16]);

impl KernelBoot {
    /// The boot we run in. Blocks. Where the kernel does not tell, a random one:
    /// then every session of an earlier process is read back.
    pub(super) fn current() -> Self {
        let text = read_small_file_blocking(Path::new(BOOT_ID), BOOT_ID_BYTES_MAX);
        let text = text.ok().flatten().unwrap_or_default();
        Self::parse(&text).unwrap_or_else(|| Self(random_bytes()))
    }

    /// Reads 32 hex digits with dashes between them.
    fn parse(text: &[u8]) -> Option<Self> {
        let digits = text.iter().filter(|byte| byte.is_ascii_hexdigit());
        let digits: Vec<u8> = digits.copied().collect();
        let number = u128::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?;
        (digits.len() == 32).then(|| Self(number.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_is_read_as_the_kernel_writes_it() {
        let text = b"00112233-4455-6677-8899-aabbccddeeff\n";
        let bytes = std::array::from_fn(|at| u8::try_from(at * 17).unwrap());
        assert_eq!(KernelBoot::parse(text), Some(KernelBoot(bytes)));
        for bad in ["", "0011", "00112233-4455-6677-8899-aabbccddeeff0"] {
            assert_eq!(KernelBoot::parse(bad.as_bytes()), None);
        }
        assert_eq!(KernelBoot::current(), KernelBoot::current());
    }
}
