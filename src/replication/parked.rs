//! Blobs of which a part is here while no source gives the rest.

use std::collections::BTreeMap;

use super::blob_file::BlobFile;

/// Parts kept by one shard, each of which has a file open; beyond, the one that lay
/// longest is given up: it begins again where its record says, or at its first byte.
const PARKED_IMPORTS_MAX: usize = 64;

/// Imports `I` between two sources. They hold no memory of the pool.
#[derive(Debug)]
pub(super) struct Parked<I> {
    imports: BTreeMap<BlobFile, (u64, I)>,
    last_number: u64,
}

impl<I> Parked<I> {
    /// Nothing yet.
    pub(super) const fn new() -> Self {
        Self {
            imports: BTreeMap::new(),
            last_number: 0,
        }
    }

    /// Takes what is here of a blob.
    pub(super) fn take(&mut self, file: &BlobFile) -> Option<I> {
        self.imports.remove(file).map(|(_, import)| import)
    }

    /// Keeps what came of a blob.
    pub(super) fn put(&mut self, file: BlobFile, import: I) {
        self.last_number += 1;
        self.imports.insert(file, (self.last_number, import));
        while self.imports.len() > PARKED_IMPORTS_MAX {
            let oldest = self.imports.iter().min_by_key(|(_, (number, _))| *number);
            let Some(oldest) = oldest.map(|(file, _)| *file) else {
                break;
            };
            drop(self.imports.remove(&oldest));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::{Algorithm, Digest};

    fn file(number: usize) -> BlobFile {
        BlobFile {
            digest: Digest::of(Algorithm::Sha256, &number.to_le_bytes()),
            generation: 1,
        }
    }

    #[test]
    fn what_lay_longest_is_given_up_when_there_are_too_many() {
        let mut parked = Parked::new();
        for number in 0..PARKED_IMPORTS_MAX {
            parked.put(file(number), number);
        }
        assert_eq!(parked.take(&file(0)), Some(0));
        assert_eq!(parked.take(&file(0)), None);
        parked.put(file(0), 0);
        parked.put(file(100), 100);
        assert_eq!(parked.take(&file(1)), None);
        assert_eq!(parked.take(&file(0)), Some(0));
        assert_eq!(parked.take(&file(100)), Some(100));
    }
}
