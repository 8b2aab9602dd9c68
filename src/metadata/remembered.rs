//! A view that looks up once what is asked for again and again.

use std::cell::RefCell;
use std::collections::HashMap;

use bytes::Bytes;

use super::view::{View, ViewError};

/// Remembers what `base`, which does not change, held when it was asked. Entries of one
/// batch ask for the same few records: the state's own, their repository's, a policy.
///
/// What is not there is not remembered: new blobs are asked for once each.
pub struct Remembered<'a> {
    base: &'a dyn View,
    found: RefCell<HashMap<Box<[u8]>, Bytes>>,
}

impl std::fmt::Debug for Remembered<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remembered")
            .field("found", &self.found.borrow().len())
            .finish_non_exhaustive()
    }
}

impl<'a> Remembered<'a> {
    /// Nothing asked yet.
    #[must_use]
    pub fn new(base: &'a dyn View) -> Self {
        let found = RefCell::default();
        Self { base, found }
    }
}

impl View for Remembered<'_> {
    fn value(&self, key: &[u8]) -> Result<Option<Bytes>, ViewError> {
        if let Some(value) = self.found.borrow().get(key) {
            return Ok(Some(value.clone()));
        }
        let value = self.base.value(key)?;
        if let Some(value) = &value {
            let mut found = self.found.borrow_mut();
            found.insert(key.into(), value.clone());
        }
        Ok(value)
    }

    fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), ViewError> {
        self.base.scan(start, end, visit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::cell::Cell;

    /// Has every key that is not empty, and counts who asks.
    struct Counting(Cell<u32>);

    impl View for Counting {
        fn value(&self, key: &[u8]) -> Result<Option<Bytes>, ViewError> {
            self.0.set(self.0.get() + 1);
            Ok((!key.is_empty()).then(|| Bytes::copy_from_slice(key)))
        }

        fn scan(
            &self,
            start: &[u8],
            _: &[u8],
            visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
        ) -> Result<(), ViewError> {
            visit(start, start);
            Ok(())
        }
    }

    #[test]
    fn what_is_there_is_looked_up_once_and_what_is_not_every_time() {
        let base = Counting(Cell::new(0));
        let view = Remembered::new(&base);
        for (key, asked) in [(b"a".as_slice(), 1), (b"a", 1), (b"b", 2), (b"a", 2)] {
            assert_eq!(view.value(key).unwrap().unwrap(), key);
            assert_eq!(base.0.get(), asked);
        }
        for asked in [3, 4] {
            assert!(view.value(b"").unwrap().is_none());
            assert_eq!(base.0.get(), asked);
        }
        let mut visited = Vec::new();
        view.scan(b"k", b"z", &mut |key, _| {
            visited.push(key.to_vec());
            true
        })
        .unwrap();
        assert_eq!(visited, [b"k"]);
    }
}
