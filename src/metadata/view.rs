//! The key-value store as `metadata` sees it.

use std::collections::BTreeMap;
use std::error::Error;
use std::ops::Bound;

use bytes::Bytes;

use super::delta::Delta;

/// The store behind a view failed; nothing was decided.
#[derive(Debug, thiserror::Error)]
#[error("read the applied state")]
pub struct ViewError(#[source] pub Box<dyn Error + Send + Sync>);

/// Reads of one consistent state, in key order.
pub trait View {
    /// The value under a key.
    fn value(&self, key: &[u8]) -> Result<Option<Bytes>, ViewError>;

    /// Visits keys from `start` to before `end` in order, until `visit` returns false.
    ///
    /// - Shape: an `end` at or before `start` visits nothing.
    fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), ViewError>;
}

/// A view that lives in memory: for tests, models and benches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryView(BTreeMap<Bytes, Bytes>);

impl MemoryView {
    /// Carries out the changes of one command.
    pub fn absorb(&mut self, delta: &Delta) {
        for (key, value) in delta.iter() {
            match value {
                Some(value) => self.0.insert(key.clone(), value.clone()),
                None => self.0.remove(key),
            };
        }
    }

    /// Every key and value, in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        self.0.iter()
    }
}

impl View for MemoryView {
    fn value(&self, key: &[u8]) -> Result<Option<Bytes>, ViewError> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), ViewError> {
        if start < end {
            let range = (Bound::Included(start), Bound::Excluded(end));
            for (key, value) in self.0.range::<[u8], _>(range) {
                if !visit(key, value) {
                    break;
                }
            }
        }
        Ok(())
    }
}
