//! A view with changes on top that are not stored yet.

use bytes::Bytes;

use super::delta::Delta;
use super::view::{View, ViewError};

/// Reads `base` as it will be once `delta` is stored; entries of one batch see
/// each other through it.
#[derive(Clone)]
pub struct Overlay<'a> {
    base: &'a dyn View,
    delta: Delta,
}

impl std::fmt::Debug for Overlay<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Overlay")
            .field("changes", &self.delta.count())
            .finish_non_exhaustive()
    }
}

impl<'a> Overlay<'a> {
    /// Nothing changed yet.
    #[must_use]
    pub fn new(base: &'a dyn View) -> Self {
        Self {
            base,
            delta: Delta::default(),
        }
    }

    /// Puts the changes of the next command on top.
    pub fn absorb(&mut self, delta: Delta) {
        self.delta.extend(delta);
    }

    /// The changes so far.
    #[must_use]
    pub const fn delta(&self) -> &Delta {
        &self.delta
    }

    /// The changes to be written, still to be changed.
    pub(super) const fn delta_mut(&mut self) -> &mut Delta {
        &mut self.delta
    }

    /// Ends the batch: the changes to be stored.
    #[must_use]
    pub fn into_delta(self) -> Delta {
        self.delta
    }
}

impl View for Overlay<'_> {
    fn value(&self, key: &[u8]) -> Result<Option<Bytes>, ViewError> {
        self.delta.value_or(key, || self.base.value(key))
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
        let mut changes = self.delta.range(start, end).peekable();
        let mut is_going = true;
        self.base.scan(start, end, &mut |key, value| {
            while let Some((changed, change)) = changes.next_if(|(changed, _)| &changed[..] < key) {
                is_going = is_going && change.is_none_or(|value| visit(changed, value));
            }
            let change = changes.next_if(|(changed, _)| &changed[..] == key);
            is_going = is_going
                && match change {
                    Some((_, change)) => change.is_none_or(|value| visit(key, value)),
                    None => visit(key, value),
                };
            is_going
        })?;
        for (changed, change) in changes {
            is_going = is_going && change.is_none_or(|value| visit(changed, value));
            if !is_going {
                break;
            }
        }
        Ok(())
    }
}
