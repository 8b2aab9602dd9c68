//! Which CPUs this process may use, and how much of them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::thread::{CpuSet, sched_getaffinity};

/// Largest CPU number the kernel's affinity mask can name.
const CPUS_MAX: usize = CpuSet::MAX_CPU;

/// The affinity mask of this process could not be read.
#[derive(Debug, thiserror::Error)]
#[error("read the CPU affinity of this process")]
pub struct TopologyError {
    source: io::Error,
}

/// CPUs and quota of this process, as the kernel and its control group say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// CPUs this process may run on, ascending. A cpuset, `taskset` and offline
    /// CPUs are all taken off already.
    pub cpus: Vec<usize>,
    /// CPU time granted by control groups, in hundredths of a CPU; `None` is unlimited.
    pub quota_percent: Option<u64>,
}

impl Topology {
    /// Reads the affinity mask and the quotas of every control group above us.
    pub fn detect() -> Result<Self, TopologyError> {
        let mask = sched_getaffinity(None).map_err(|errno| TopologyError {
            source: errno.into(),
        })?;
        let cpus = (0..CPUS_MAX).filter(|cpu| mask.is_set(*cpu)).collect();
        Ok(Self {
            cpus,
            quota_percent: read_quota(),
        })
    }

    /// Whole CPUs worth using: those allowed, less what a quota would throttle.
    #[must_use]
    pub fn usable_cpus(&self) -> usize {
        let granted = self
            .quota_percent
            .map_or(u64::MAX, |percent| percent.div_ceil(100).max(1));
        let granted = usize::try_from(granted).unwrap_or(usize::MAX);
        self.cpus.len().min(granted)
    }

    /// Whether the quota grants less than all of the CPUs. Others then use the
    /// same CPUs, and pinning would stack everybody's threads on the first ones.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.usable_cpus() < self.cpus.len()
    }
}

/// The smallest quota of the control groups from ours to the root, in either version
/// of control groups. A folder that is not there is one we cannot see from a container.
fn read_quota() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let quotas = groups.lines().flat_map(quota_folders);
    quotas.filter_map(|folder| read_quota_of(&folder)).min()
}

/// The folders that may hold a CPU quota, for one line of `/proc/self/cgroup`:
/// `number:controllers:path`, the controllers empty in version 2.
fn quota_folders(line: &str) -> Vec<PathBuf> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
        return Vec::new();
    };
    let root = Path::new("/sys/fs/cgroup");
    let root = match controllers {
        "" => root.to_owned(),
        _ if controllers.split(',').any(|name| name == "cpu") => root.join("cpu"),
        _ => return Vec::new(),
    };
    let own = root.join(path.trim_start_matches('/'));
    let up = own
        .ancestors()
        .take_while(|folder| folder.starts_with(&root));
    up.map(Path::to_owned).collect()
}

fn read_quota_of(folder: &Path) -> Option<u64> {
    if let Ok(text) = fs::read_to_string(folder.join("cpu.max")) {
        return quota_of(&text);
    }
    let quota = fs::read_to_string(folder.join("cpu.cfs_quota_us")).ok()?;
    let period = fs::read_to_string(folder.join("cpu.cfs_period_us")).ok()?;
    quota_of(&format!("{quota} {period}"))
}

/// Reads microseconds granted (`max` or -1 is no quota) and the period they are
/// granted for.
fn quota_of(text: &str) -> Option<u64> {
    let mut fields = text.split_ascii_whitespace();
    let granted: u64 = fields.next()?.parse().ok()?;
    let period: u64 = fields.next()?.parse().ok()?;
    granted.checked_mul(100)?.checked_div(period)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_hundredths_of_a_cpu_and_max_is_none() {
        let rows = [
            ("max 100000\n", None),
            ("150000 100000\n", Some(150)),
            ("1000 100000", Some(1)),
            ("-1 100000", None),
            ("100000 0", None),
            ("", None),
        ];
        for (text, expected) in rows {
            assert_eq!(quota_of(text), expected, "{text:?}");
        }
    }

    #[test]
    fn quotas_are_looked_for_from_our_group_up_to_the_root() {
        let found = |line| -> Vec<String> {
            let folders = quota_folders(line).into_iter();
            folders.map(|folder| folder.display().to_string()).collect()
        };
        let unified = ["/sys/fs/cgroup/a/b", "/sys/fs/cgroup/a", "/sys/fs/cgroup"];
        assert_eq!(found("0::/a/b"), unified);
        let older = ["/sys/fs/cgroup/cpu/a", "/sys/fs/cgroup/cpu"];
        assert_eq!(found("4:cpu,cpuacct:/a"), older);
        assert_eq!(found("1:cpu:/"), ["/sys/fs/cgroup/cpu/"]);
        for other in ["3:cpuset:/a", "9:name=systemd:/", "", "x"] {
            assert!(found(other).is_empty(), "{other}");
        }
    }

    #[test]
    fn a_quota_rounds_up_to_whole_cpus_and_never_to_none() {
        let topology = |cpus: usize, quota_percent| Topology {
            cpus: (0..cpus).collect(),
            quota_percent,
        };
        let rows = [
            (topology(8, None), 8, false),
            (topology(8, Some(150)), 2, true),
            (topology(8, Some(1)), 1, true),
            (topology(8, Some(0)), 1, true),
            (topology(2, Some(400)), 2, false),
            (topology(1, Some(50)), 1, false),
        ];
        for (topology, usable, is_shared) in rows {
            assert_eq!(topology.usable_cpus(), usable, "{topology:?}");
            assert_eq!(topology.is_shared(), is_shared, "{topology:?}");
        }
    }

    #[test]
    fn this_machine_has_at_least_one_cpu() {
        assert!(Topology::detect().unwrap().usable_cpus() >= 1);
    }
}
