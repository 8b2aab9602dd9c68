//! What one command changes.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use super::view::ViewError;

/// Puts and deletes, one per key, in key order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delta(BTreeMap<Bytes, Option<Bytes>>);

impl Delta {
    /// Sets a key.
    pub fn put(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.0.insert(key.into(), Some(value.into()));
    }

    /// Removes a key.
    pub fn delete(&mut self, key: impl Into<Bytes>) {
        self.0.insert(key.into(), None);
    }

    /// The value of a key once this is stored; `base` answers for unchanged keys.
    pub(super) fn value_or(
        &self,
        key: &[u8],
        base: impl FnOnce() -> Result<Option<Bytes>, ViewError>,
    ) -> Result<Option<Bytes>, ViewError> {
        self.0
            .get(key)
            .map_or_else(base, |change| Ok(change.clone()))
    }

    /// Every change, in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&Bytes, Option<&Bytes>)> {
        self.0.iter().map(|(key, value)| (key, value.as_ref()))
    }

    /// Changes of keys from `start` to before `end`, in order; `start < end`.
    pub(super) fn range(
        &self,
        start: &[u8],
        end: &[u8],
    ) -> impl Iterator<Item = (&Bytes, Option<&Bytes>)> {
        let range = (Bound::Included(start), Bound::Excluded(end));
        let changes = self.0.range::<[u8], _>(range);
        changes.map(|(key, value)| (key, value.as_ref()))
    }

    /// Adds the changes of a later command.
    pub fn extend(&mut self, later: Self) {
        self.0.extend(later.0);
    }

    /// Number of changed keys.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl IntoIterator for Delta {
    type Item = (Bytes, Option<Bytes>);
    type IntoIter = std::collections::btree_map::IntoIter<Bytes, Option<Bytes>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
