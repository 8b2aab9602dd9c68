//! A disk whose machine loses power: what was not synced is gone.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::undo::{Undo, output, run};
use crate::support::wait_for;

/// Size of the disk; the file behind it has holes.
const DISK_MIB: u64 = 4096;
/// Seconds between two commits that the file system makes unasked.
const COMMIT_SECONDS: u32 = 300;
/// The last process lets go of the disk within this.
const UNMOUNT_MAX: Duration = Duration::from_secs(20);
/// Shuts the file system down as it is on disk now: what is in its journal's memory
/// and in the page cache is lost (`EXT4_IOC_SHUTDOWN`, do not flush the log).
const CUT: &str = "import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))";

/// An ext4 file system of its own in a file; unmounted when dropped, and when the test
/// process ends in another way. Needs root.
pub(crate) struct Disk {
    image: PathBuf,
    mount: PathBuf,
    _undo: Undo,
    _directory: TempDir,
}

impl Disk {
    /// Makes and mounts one.
    #[track_caller]
    pub(crate) fn new() -> Self {
        let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let (image, mount) = (
            directory.path().join("image"),
            directory.path().join("disk"),
        );
        std::fs::create_dir(&mount).expect("a directory");
        let file = std::fs::File::create(&image).expect("a file");
        file.set_len(DISK_MIB * 1024 * 1024).expect("a sparse file");
        run(&format!("mkfs.ext4 -q -F {}", image.display()));
        let words = [mount.display().to_string()];
        let disk = Self {
            image,
            mount,
            _undo: Undo::new("umount -l \"$1\"; rmdir \"$1\"", &words),
            _directory: directory,
        };
        disk.attach();
        disk
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.mount
    }

    /// Cuts the power. Everything fails from now on, until [`Disk::come_back`].
    #[track_caller]
    pub(crate) fn cut(&self) {
        let mut python = Command::new("python3");
        let cut = python.args(["-c", CUT]).arg(&self.mount).status();
        assert!(cut.is_ok_and(|status| status.success()), "no power cut");
    }

    /// Mounts what the disk holds, once its users have ended.
    #[track_caller]
    pub(crate) fn come_back(&self) {
        let shown = self.mount.display();
        let is_free = wait_for(UNMOUNT_MAX, || output(&format!("umount {shown}")).is_some());
        assert!(is_free, "{shown} is in use");
        self.attach();
    }

    #[track_caller]
    fn attach(&self) {
        let (image, mount) = (self.image.display(), self.mount.display());
        run(&format!(
            "mount -o loop,commit={COMMIT_SECONDS} {image} {mount}"
        ));
    }
}
