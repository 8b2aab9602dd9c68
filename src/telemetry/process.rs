//! What the kernel knows about this process, under the names every exporter uses.

use std::fs;
use std::time::Duration;

use super::exposition::Page;

/// The kernel counts processor time for `/proc` in hundredths of a second on
/// every architecture we build for (`USER_HZ`).
const TICK_MILLIS: u64 = 10;

/// One reading of `/proc/self`.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Process {
    resident_bytes: Option<u64>,
    processor_ticks: Option<u64>,
    open_files: Option<u64>,
}

impl Process {
    /// Reads what can be read; the rest is left out of the page.
    pub(super) fn read() -> Self {
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        let files = fs::read_dir("/proc/self/fd").ok().map(Iterator::count);
        Self {
            resident_bytes: resident_bytes(&text("/proc/self/status")),
            processor_ticks: processor_ticks(&text("/proc/self/stat")),
            open_files: files.map(crate::base::units::to_u64),
        }
    }

    pub(super) fn write(&self, page: &mut Page) {
        if let Some(bytes) = self.resident_bytes {
            let help = "Memory of the process that is in RAM.";
            page.reading("process_resident_memory_bytes", help, bytes);
        }
        if let Some(files) = self.open_files {
            page.reading("process_open_fds", "Open file descriptors.", files);
        }
        if let Some(ticks) = self.processor_ticks {
            let seconds = Duration::from_millis(ticks * TICK_MILLIS).as_secs_f64();
            let help = "Processor time used, user and system.";
            page.reading("process_cpu_seconds_total", help, seconds);
        }
    }
}

/// The `VmRSS` line, which is in kibibytes.
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// Fields 14 and 15 of `stat`, counted after the name, which may hold spaces.
fn processor_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernel_formats() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194304 1 2 3 4 250 31 0 0 20 0 1 0 9";
        assert_eq!(processor_ticks(stat), Some(281));
        assert_eq!(
            resident_bytes("VmHWM:\t 9 kB\nVmRSS:\t     8 kB\n"),
            Some(8192)
        );
        assert_eq!(resident_bytes("VmRSS: many"), None);
    }

    #[test]
    fn this_process_has_memory_and_files() {
        let process = Process::read();
        assert!(process.resident_bytes > Some(0));
        assert!(process.open_files > Some(2));
        assert!(process.processor_ticks.is_some());
    }
}
