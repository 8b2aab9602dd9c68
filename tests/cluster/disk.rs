//! A small disk of a node's own that a test fills up and frees again.

use std::path::{Path, PathBuf};

use rustix::fs::statvfs;
use tempfile::TempDir;

use super::undo::{Undo, output, run};

/// Size of the disk while there is room. Only what is used takes memory.
const ROOM_MIB: u64 = 8192;
/// Kibibytes that stay free when the disk is full: less than any blob needs.
const LEFT_KIB: u64 = 64;

/// A filesystem in memory; unmounted when dropped, and when the test process ends in
/// another way. Needs root.
pub(crate) struct SmallDisk {
    mount: PathBuf,
    _undo: Undo,
    _directory: TempDir,
}

impl SmallDisk {
    /// Mounts an empty one.
    #[track_caller]
    pub(crate) fn new() -> Self {
        let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let mount = directory.path().join("disk");
        std::fs::create_dir(&mount).expect("a directory");
        let words = [mount.display().to_string()];
        let undo = Undo::new("umount -l \"$1\"; rmdir \"$1\"", &words);
        let shown = mount.display();
        run(&format!(
            "mount -t tmpfs -o size={ROOM_MIB}m windlass-test {shown}"
        ));
        Self {
            mount,
            _undo: undo,
            _directory: directory,
        }
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.mount
    }

    /// Leaves next to no room; whether that went well. Somebody may write meanwhile,
    /// so that the disk cannot become as small as it was just now.
    pub(crate) fn fill(&self) -> bool {
        let shown = self.mount.display();
        (0..100).any(|_| {
            let seen = statvfs(&self.mount).expect("the disk is mounted");
            let used_bytes = (seen.f_blocks - seen.f_bfree) * seen.f_frsize;
            let size_kib = used_bytes.div_ceil(1024) + LEFT_KIB;
            output(&format!("mount -o remount,size={size_kib}k {shown}")).is_some()
        })
    }

    /// Gives the room back.
    #[track_caller]
    pub(crate) fn free(&self) {
        let shown = self.mount.display();
        run(&format!("mount -o remount,size={ROOM_MIB}m {shown}"));
    }
}
