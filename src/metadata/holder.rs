//! Which nodes have the file of a blob, and which blobs a change touches.

use super::delta::Delta;
use super::key;
use super::record::{BlobRecord, StateError};
use super::view::View;
use crate::base::{CodecError, Reader};
use crate::oci::Digest;

impl Delta {
    /// The blobs whose records this writes, condemned ones included.
    pub fn blobs(&self) -> Result<Vec<(Digest, BlobRecord)>, CodecError> {
        let end = key::end_of(key::BLOBS);
        let changes = self.range(key::BLOBS, &end);
        let written = changes.filter_map(|(key, record)| Some((key, record?)));
        let blob = |(key, record): (&bytes::Bytes, &bytes::Bytes)| {
            let name = key.strip_prefix(key::BLOBS).unwrap_or_default();
            let digest = Digest::decode(&mut Reader::new(name))?;
            Ok((digest, BlobRecord::decode(record)?))
        };
        written.map(blob).collect()
    }
}

/// Nodes that have the file of a blob, by number.
pub fn holders(view: &dyn View, digest: &Digest) -> Result<Vec<u64>, StateError> {
    let prefix = key::holders(digest);
    let mut holders = Vec::new();
    let mut outcome = Ok(());
    view.scan(&prefix, &key::end_of(&prefix), &mut |key, _| {
        let tail = key.strip_prefix(prefix.as_slice()).unwrap_or_default();
        match Reader::new(tail).array().map(u64::from_be_bytes) {
            Ok(node) => holders.push(node),
            Err(error) => outcome = Err(error),
        }
        outcome.is_ok()
    })?;
    outcome?;
    Ok(holders)
}

/// Whether a node is known to have the file of a blob.
pub fn is_holder(view: &dyn View, digest: &Digest, node: u64) -> Result<bool, StateError> {
    Ok(view.value(&key::holder(digest, node))?.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::{Command, Context, MemoryView, apply};
    use crate::oci::{Algorithm, Repository};

    fn digest(number: u8) -> Digest {
        Digest::of(Algorithm::Sha256, &[number])
    }

    fn link(number: u8) -> Command {
        Command::LinkBlob {
            repository: Repository::parse("a/b").unwrap(),
            digest: digest(number),
            size_bytes: 9,
            generation: 4,
            extent_checksums: vec![7],
            inline: None,
        }
    }

    fn holds(node: u64, add: &[u8], remove: &[u8]) -> Command {
        let digests = |numbers: &[u8]| numbers.iter().map(|number| digest(*number)).collect();
        Command::Holders {
            node,
            add: digests(add),
            remove: digests(remove),
        }
    }

    fn applied(view: &mut MemoryView, command: &Command) -> Delta {
        let context = Context {
            index: 1,
            time_ms: 1,
        };
        let (_, delta) = apply(view, context, command).unwrap();
        view.absorb(&delta);
        delta
    }

    #[test]
    fn a_change_names_the_blobs_whose_records_it_writes() {
        let mut view = MemoryView::default();
        let blobs = applied(&mut view, &link(1)).blobs().unwrap();
        assert_eq!(blobs.len(), 1);
        let (linked, record) = blobs[0];
        assert_eq!(
            (linked, record.generation, record.size_bytes),
            (digest(1), 4, 9)
        );
        assert!(record.is_live());
        assert_eq!(applied(&mut view, &holds(1, &[1], &[])).blobs(), Ok(vec![]));
        assert_eq!(applied(&mut view, &Command::Probe).blobs(), Ok(vec![]));
    }

    #[test]
    fn holders_come_by_number_and_of_this_blob_only() {
        let mut view = MemoryView::default();
        for command in [
            link(1),
            link(2),
            holds(300, &[1, 2], &[]),
            holds(2, &[1], &[]),
            holds(7, &[2, 3], &[]),
            holds(300, &[], &[2]),
        ] {
            applied(&mut view, &command);
        }
        assert_eq!(holders(&view, &digest(1)).unwrap(), [2, 300]);
        assert_eq!(holders(&view, &digest(2)).unwrap(), [7]);
        assert_eq!(holders(&view, &digest(3)).unwrap(), [0; 0]);
        assert!(is_holder(&view, &digest(2), 7).unwrap());
        assert!(!is_holder(&view, &digest(2), 300).unwrap());
    }

    #[test]
    fn forty_nodes_hold_one_blob_in_order_of_their_numbers() {
        let mut view = MemoryView::default();
        applied(&mut view, &link(1));
        for node in (1..=40).rev() {
            applied(&mut view, &holds(node, &[1], &[]));
        }
        let all: Vec<u64> = (1..=40).collect();
        assert_eq!(holders(&view, &digest(1)).unwrap(), all);
        assert!(is_holder(&view, &digest(1), 33).unwrap());
        applied(&mut view, &holds(33, &[], &[1]));
        assert_eq!(holders(&view, &digest(1)).unwrap().len(), 39);
    }
}
