//! Tests that only root can make the ground for.

use rustix::process::geteuid;

/// Set by who knows that tests which need root prove nothing in this run.
const SKIP_VARIABLE: &str = "WINDLASS_TEST_SKIP_ROOT";

/// Whether a test that has to `act` as root is left out, as whoever runs it wished.
///
/// - Panics: without root, when nobody wished so: a test that passes without a look is
///   worse than one that fails.
#[track_caller]
pub(crate) fn is_left_out(act: &str) -> bool {
    if geteuid().is_root() {
        return false;
    }
    assert!(
        std::env::var_os(SKIP_VARIABLE).is_some(),
        "only root can {act}; {SKIP_VARIABLE}=1 leaves such tests out"
    );
    eprintln!("left out: only root can {act}");
    true
}
