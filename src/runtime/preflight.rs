//! Asks the kernel for everything a node needs, before any executor starts.
//!
//! The runtime answers a missing permission with a panic or a riddle; each refusal
//! here says in one sentence what to change.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use glommio::{GlommioError, LocalExecutorBuilder, Placement, PoolPlacement};
use io_uring::{IoUring, opcode};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::probe::{ProbeError, prime};

/// Exit status of a refusal: the machine's configuration must change first.
/// Source: `EX_CONFIG` of `sysexits.h`.
pub const EXIT_CONFIGURATION_STATUS: i32 = 78;

/// Lockable memory without which the runtime does not start an executor.
const MEMLOCK_BYTES_MIN: u64 = 512 * 1024;
/// Open files below which a busy node soon refuses connections.
const OPEN_FILES_MIN: u64 = 1024;
/// Ring entries of the probe.
const PROBE_ENTRIES: u32 = 4;

/// Operations that the runtime needs; it ends the process when one is missing.
const OPERATIONS: [(&str, u8); 13] = [
    ("NOP", opcode::Nop::CODE),
    ("READ", opcode::Read::CODE),
    ("READ_FIXED", opcode::ReadFixed::CODE),
    ("WRITE", opcode::Write::CODE),
    ("WRITE_FIXED", opcode::WriteFixed::CODE),
    ("FSYNC", opcode::Fsync::CODE),
    ("POLL_ADD", opcode::PollAdd::CODE),
    ("TIMEOUT", opcode::Timeout::CODE),
    ("ACCEPT", opcode::Accept::CODE),
    ("CONNECT", opcode::Connect::CODE),
    ("OPENAT", opcode::OpenAt::CODE),
    ("CLOSE", opcode::Close::CODE),
    ("STATX", opcode::Statx::CODE),
];

/// What the machine gives; for the log at start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preflight {
    /// Kernel release.
    pub kernel: String,
    /// Memory this process may lock; `None` is unlimited.
    pub memlock_bytes: Option<u64>,
    /// Files this process may open; `None` is unlimited.
    pub open_files: Option<u64>,
}

/// Why this machine cannot run a node, and what to change.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    /// EPERM with the sysctl in place.
    #[error(
        "io_uring is switched off: set the sysctl kernel.io_uring_disabled (now {value}) to 0, \
         or to 1 and put this user into the group of kernel.io_uring_group"
    )]
    IoUringDisabled {
        /// Value of the sysctl.
        value: u8,
    },
    /// EPERM without the sysctl: a seccomp filter.
    #[error(
        "io_uring is blocked by a seccomp filter, as in default containers: allow io_uring_setup, \
         io_uring_enter and io_uring_register, for example with \
         --security-opt seccomp=deploy/seccomp.json"
    )]
    IoUringBlocked,
    /// ENOSYS: a kernel without it.
    #[error(
        "the kernel {kernel} has no io_uring: run Linux 5.15 or newer with CONFIG_IO_URING, or \
         allow io_uring_setup, io_uring_enter and io_uring_register if a seccomp filter hides them"
    )]
    IoUringMissing {
        /// Kernel release.
        kernel: String,
    },
    /// ENOMEM from the ring.
    #[error(
        "no memory may be locked for io_uring rings: raise RLIMIT_MEMLOCK to at least 8 MiB \
         (ulimit -l 8192, or LimitMEMLOCK=8M in the service)"
    )]
    IoUringMemory,
    /// Any other failure of the ring.
    #[error("io_uring does not work on kernel {kernel}")]
    IoUring {
        /// Kernel release.
        kernel: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// An operation that the runtime needs is not there.
    #[error("io_uring of kernel {kernel} lacks {operation}: run Linux 5.15 or newer")]
    OperationMissing {
        /// Kernel release.
        kernel: String,
        /// Name of the operation.
        operation: &'static str,
    },
    /// The runtime refuses to start below half a mebibyte.
    #[error(
        "RLIMIT_MEMLOCK is {limit_bytes} bytes: raise it to at least 8 MiB (ulimit -l 8192, or \
         LimitMEMLOCK=8M in the service)"
    )]
    Memlock {
        /// The hard limit.
        limit_bytes: u64,
    },
    /// Too few files.
    #[error(
        "RLIMIT_NOFILE is {limit}: raise it to at least {OPEN_FILES_MIN} (ulimit -n, or \
         LimitNOFILE= in the service)"
    )]
    OpenFiles {
        /// The hard limit.
        limit: u64,
    },
    /// The data directory cannot be made.
    #[error("cannot create the data directory {}: make it, or make its parent writable", path.display())]
    CreateDirectory {
        /// The data directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The data directory cannot be written.
    #[error("cannot write in the data directory {}: give it to this user", path.display())]
    WriteDirectory {
        /// The data directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// No `O_DIRECT` there.
    #[error(
        "the filesystem of {} does not take direct I/O (O_DIRECT): put the data directory on \
         ext4, xfs or btrfs", path.display()
    )]
    DirectRefused {
        /// The data directory.
        path: PathBuf,
    },
    /// The runtime could not write a file there, or not start at all.
    #[error("a trial executor failed in the data directory {}", path.display())]
    Trial {
        /// The data directory.
        path: PathBuf,
        /// What went wrong.
        source: TrialError,
    },
}

/// What went wrong in the trial executor.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The executor did not start, or panicked.
    #[error("the executor did not run")]
    Executor(#[source] GlommioError<()>),
    /// The device could not be probed.
    #[error(transparent)]
    Probe(#[from] ProbeError),
}

/// Checks the machine, raises the soft limits to the hard ones, and makes
/// `data_directory` if it is not there.
///
/// - Errors: the first thing missing; the caller prints it and exits with
///   `EXIT_CONFIGURATION_STATUS`.
pub fn preflight(data_directory: &Path) -> Result<Preflight, PreflightError> {
    let kernel = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    check_ring(&kernel)?;
    let memlock_bytes = raise(Resource::Memlock);
    if let Some(limit_bytes) = memlock_bytes.filter(|bytes| *bytes < MEMLOCK_BYTES_MIN) {
        return Err(PreflightError::Memlock { limit_bytes });
    }
    let open_files = raise(Resource::Nofile);
    if let Some(limit) = open_files.filter(|files| *files < OPEN_FILES_MIN) {
        return Err(PreflightError::OpenFiles { limit });
    }
    check_directory(data_directory)?;
    check_trial(data_directory)?;
    Ok(Preflight {
        kernel,
        memlock_bytes,
        open_files,
    })
}

/// Sets up a ring, registers with it and enters it: filters may allow one of the
/// three calls and refuse another.
fn check_ring(kernel: &str) -> Result<(), PreflightError> {
    let refused = |error: io::Error| refusal(error, kernel, io_uring_disabled());
    let ring = IoUring::new(PROBE_ENTRIES).map_err(refused)?;
    let mut probe = io_uring::Probe::new();
    ring.submitter()
        .register_probe(&mut probe)
        .map_err(refused)?;
    ring.submitter().submit_and_wait(0).map_err(refused)?;
    let missing = OPERATIONS
        .iter()
        .find(|(_, code)| !probe.is_supported(*code));
    match missing {
        None => Ok(()),
        Some((operation, _)) => Err(PreflightError::OperationMissing {
            kernel: kernel.to_owned(),
            operation,
        }),
    }
}

/// Translates what the kernel said about a ring. `disabled` is the sysctl's value.
fn refusal(error: io::Error, kernel: &str, disabled: u8) -> PreflightError {
    let kernel = kernel.to_owned();
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::PERM | Errno::ACCESS) if disabled > 0 => {
            PreflightError::IoUringDisabled { value: disabled }
        }
        Some(Errno::PERM | Errno::ACCESS) => PreflightError::IoUringBlocked,
        Some(Errno::NOSYS) => PreflightError::IoUringMissing { kernel },
        Some(Errno::NOMEM) => PreflightError::IoUringMemory,
        _ => PreflightError::IoUring {
            kernel,
            source: error,
        },
    }
}

fn io_uring_disabled() -> u8 {
    fs::read_to_string("/proc/sys/kernel/io_uring_disabled")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0)
}

/// Raises a soft limit to its hard limit. Returns what holds afterwards; `None` is
/// unlimited.
fn raise(resource: Resource) -> Option<u64> {
    let limit = getrlimit(resource);
    if limit.current == limit.maximum {
        return limit.current;
    }
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(resource, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
}

fn check_directory(path: &Path) -> Result<(), PreflightError> {
    let created = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    created.map_err(|source| PreflightError::CreateDirectory {
        path: path.to_owned(),
        source,
    })?;
    let trial = path.join(format!(".probe-{}", std::process::id()));
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let written = rustix::fs::open(&trial, flags, mode);
    let direct = rustix::fs::open(&trial, OFlags::RDONLY | OFlags::DIRECT, Mode::empty());
    // The verdicts below count; a probe file left behind is removed at the next start.
    drop(fs::remove_file(&trial));
    written.map_err(|errno| PreflightError::WriteDirectory {
        path: path.to_owned(),
        source: errno.into(),
    })?;
    match direct {
        Ok(_) => Ok(()),
        Err(_) => Err(PreflightError::DirectRefused {
            path: path.to_owned(),
        }),
    }
}

/// Runs a small executor as the shards will, so that whatever the runtime dislikes
/// about this machine is said here, by one thread, before anything is opened.
fn check_trial(path: &Path) -> Result<(), PreflightError> {
    const REGION_BYTES: usize = 64 * 1024;
    let directory = path.to_owned();
    let trial = LocalExecutorBuilder::new(Placement::Unbound)
        .name("preflight")
        .io_memory(REGION_BYTES)
        .blocking_thread_pool_placement(PoolPlacement::Unbound(1))
        .spawn(move || async move { prime(&directory).await });
    let outcome = trial.and_then(glommio::ExecutorJoinHandle::join);
    let verdict = match outcome {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => TrialError::Probe(error),
        Err(error) => TrialError::Executor(error),
    };
    Err(PreflightError::Trial {
        path: path.to_owned(),
        source: verdict,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_passes_and_its_directory_is_made() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("new/data");
        let found = preflight(&directory).unwrap();
        assert!(!found.kernel.is_empty());
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
    }

    #[test]
    fn each_refusal_of_a_ring_says_what_to_change() {
        let rows = [
            (Errno::PERM, 0, "deploy/seccomp.json"),
            (Errno::ACCESS, 0, "deploy/seccomp.json"),
            (Errno::PERM, 2, "kernel.io_uring_disabled (now 2)"),
            (Errno::NOSYS, 0, "CONFIG_IO_URING"),
            (Errno::NOMEM, 0, "LimitMEMLOCK=8M"),
            (Errno::INVAL, 0, "does not work on kernel 6.1-test"),
        ];
        for (errno, disabled, expected) in rows {
            let error = refusal(errno.into(), "6.1-test", disabled);
            let message = error.to_string();
            assert!(message.contains(expected), "{errno:?}: {message}");
            assert!(!message.contains('\n'), "one sentence: {message}");
        }
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("file");
        fs::write(&file, b"").unwrap();
        let error = preflight(&file.join("data")).unwrap_err();
        assert!(matches!(error, PreflightError::CreateDirectory { .. }));
        let error = preflight(Path::new("/proc/self")).unwrap_err();
        assert!(
            matches!(error, PreflightError::WriteDirectory { .. }),
            "{error}"
        );
    }
}
