//! Tests that load the machine run one after another.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Held by a test that needs the machine for itself.
pub(crate) fn heavy() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    // A test that failed harms no other.
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
