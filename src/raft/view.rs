//! The applied state as `metadata` reads it.

use bytes::Bytes;

use crate::journal;
use crate::metadata::{View, ViewError};

/// The applied state at one moment. Cheap to take, reads on any thread without
/// a hop; drop it with the request, it keeps old versions alive.
#[derive(Debug)]
pub struct StateView(pub(super) journal::StateView);

impl StateView {
    /// Index of the last entry in it; `None` before the first, or when it cannot be read.
    #[must_use]
    pub fn applied_index(&self) -> Option<u64> {
        let applied = self.0.applied().ok()??;
        Some(applied.index)
    }
}

impl View for StateView {
    fn value(&self, key: &[u8]) -> Result<Option<Bytes>, ViewError> {
        let value = self.0.value(key);
        value.map_err(|error| ViewError(Box::new(error)))
    }

    fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), ViewError> {
        if start >= end {
            return Ok(());
        }
        let scanned = self.0.scan(start, end, visit);
        scanned.map_err(|error| ViewError(Box::new(error)))
    }
}
