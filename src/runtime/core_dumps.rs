//! Whether the memory of this process may be written to a file when it crashes.

use std::io;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

/// The kernel does not keep the memory of this process private.
#[derive(Debug, thiserror::Error)]
#[error("keep the memory of this process out of core files (prctl PR_SET_DUMPABLE)")]
pub struct CoreDumpsError(#[source] io::Error);

/// Allows core files of this process, or forbids them: passwords and keys are in its
/// memory while it works. Forbidden, other processes of the same user cannot read it
/// either, nor its environment; who is root can.
///
/// - Source: prctl(2), `PR_SET_DUMPABLE`. It also holds where `core_pattern` names a
///   program, for which a limit on the size of core files does not count.
pub fn allow_core_dumps(is_allowed: bool) -> Result<(), CoreDumpsError> {
    let behavior = if is_allowed {
        DumpableBehavior::Dumpable
    } else {
        DumpableBehavior::NotDumpable
    };
    set_dumpable_behavior(behavior).map_err(|errno| CoreDumpsError(errno.into()))
}
