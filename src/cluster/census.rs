//! How many blobs there are, and which of them lean on one node.

use crate::metadata::{self, StateError};
use crate::oci::Digest;
use crate::raft::{Handle, StateView};
use crate::runtime::off_shard;

/// Blobs of one page: some milliseconds of a thread beside the shard.
const PAGE_BLOBS: usize = 1000;

/// Whose blobs are counted, and where they should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leaving {
    /// Voters that stay.
    pub(super) voters: Vec<u64>,
    /// Every node that stays.
    pub(super) others: Vec<u64>,
}

/// Blobs that have files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Census {
    /// All of them.
    pub blobs: u64,
    /// Those that fewer than a majority of the voters that stay hold.
    pub left: u64,
    /// Those that no node holds which stays.
    pub sole: u64,
}

impl Leaving {
    /// Copies among the voters that stay: as many as a push waits for.
    const fn wanted(&self) -> usize {
        self.voters.len() / 2 + 1
    }

    fn count(&self, holders: &[u64], census: &mut Census) {
        let held = |nodes: &[u64]| nodes.iter().filter(|node| holders.contains(node)).count();
        census.left += u64::from(held(&self.voters) < self.wanted());
        census.sole += u64::from(held(&self.others) == 0);
    }
}

/// Counts in the state as of now; `None` when it cannot be read. Goes page by page
/// beside the shard.
pub(super) async fn take(journal: &Handle, leaving: Option<Leaving>) -> Option<Census> {
    let mut census = Census::default();
    let mut after = None;
    loop {
        let (view, leaving) = (journal.view(), leaving.clone());
        let counting = off_shard(move || {
            let last = page(&view, after.as_ref(), leaving.as_ref(), &mut census);
            last.map(|last| (census, last))
        });
        match counting.await {
            Ok(Ok((counted, Some(last)))) => {
                census = counted;
                after = Some(last);
            }
            Ok(Ok((counted, None))) => return Some(counted),
            Ok(Err(error)) => {
                tracing::error!(%error, "the blobs in the state cannot be counted");
                return None;
            }
            Err(panic) => {
                tracing::error!(%panic, "counting blobs panicked");
                return None;
            }
        }
    }
}

/// Counts one page; where the next one begins, if there is one.
fn page(
    view: &StateView,
    after: Option<&Digest>,
    leaving: Option<&Leaving>,
    census: &mut Census,
) -> Result<Option<Digest>, StateError> {
    let page = metadata::blobs(view, after, PAGE_BLOBS)?;
    let last = page.entries.last().map(|(digest, _)| *digest);
    for (digest, record) in page.entries {
        if !record.is_live() || record.is_inline {
            continue;
        }
        census.blobs += 1;
        if let Some(leaving) = leaving {
            leaving.count(&metadata::holders(view, &digest)?, census);
        }
    }
    Ok(last.filter(|_| page.more))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_left_until_a_majority_of_those_that_stay_hold_it() {
        let leaving = Leaving {
            voters: vec![1, 3, 5],
            others: vec![1, 3, 5, 9],
        };
        let count = |holders: &[u64]| {
            let mut census = Census::default();
            leaving.count(holders, &mut census);
            (census.left, census.sole)
        };
        assert_eq!(count(&[2]), (1, 1));
        assert_eq!(count(&[]), (1, 1));
        assert_eq!(count(&[2, 9]), (1, 0));
        assert_eq!(count(&[2, 1, 9]), (1, 0));
        assert_eq!(count(&[1, 5]), (0, 0));
    }

    #[test]
    fn forty_nodes_may_stay() {
        let leaving = Leaving {
            voters: (1..=40).collect(),
            others: (1..=40).collect(),
        };
        let mut census = Census::default();
        leaving.count(&(1..=20).collect::<Vec<_>>(), &mut census);
        assert_eq!((census.left, census.sole), (1, 0));
        leaving.count(&(1..=21).collect::<Vec<_>>(), &mut census);
        assert_eq!((census.left, census.sole), (1, 0));
    }
}
