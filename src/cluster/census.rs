//! How many blobs there are, and which of them lean on one node.

use std::sync::Arc;

use crate::metadata::{self, StateError};
use crate::oci::Digest;
use crate::raft::{Handle, Member, StateView};
use crate::runtime::{OffShardPanic, off_shard};

/// Blobs that are looked at again one by one; beyond, all are.
pub(super) const LEANING_BLOBS_MAX: usize = 4096;
/// Blobs of one page: some milliseconds of a thread beside the shard.
const PAGE_BLOBS: usize = 1000;

/// Whose blobs are counted, and where they should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leaving {
    /// Voters that stay.
    pub(super) voters: Vec<u64>,
    /// Every node that stays.
    pub(super) others: Vec<u64>,
    /// The node that goes.
    pub(super) node: u64,
}

/// Blobs that would lose something with a node that goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Leaning {
    /// Those that it holds, and fewer than a majority of the voters that stay.
    pub(super) left: u64,
    /// Those of them that no node holds which stays.
    pub(super) sole: u64,
    /// Others that nobody is known to hold: they are new, or lost, or on a node that had
    /// no time to say so.
    pub(super) unheld: u64,
    /// All of those, but no more than `LEANING_BLOBS_MAX`.
    pub(super) blobs: Vec<Digest>,
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
    /// Others that no node of the cluster is known to hold: they are new, or were given
    /// up with a node, or are on one that had no time to say so.
    pub unheld: u64,
}

impl Leaving {
    /// The place of `node` among the others.
    pub(super) fn of(members: &[Member], node: u64) -> Self {
        let others = || members.iter().filter(|member| member.node != node);
        let voters = others().filter(|member| member.is_voter);
        Self {
            voters: voters.map(|member| member.node).collect(),
            others: others().map(|member| member.node).collect(),
            node,
        }
    }

    /// Copies among the voters that stay: as many as a push waits for.
    const fn wanted(&self) -> usize {
        self.voters.len() / 2 + 1
    }

    fn held_by(nodes: &[u64], holders: &[u64]) -> usize {
        nodes.iter().filter(|node| holders.contains(node)).count()
    }

    /// Holders that were removed count for nothing.
    fn count(&self, holders: &[u64], census: &mut Census) {
        let (is_held, elsewhere) = self.holds(holders);
        if !is_held && elsewhere == 0 {
            census.unheld += 1;
            return;
        }
        let is_left = Self::held_by(&self.voters, holders) < self.wanted();
        census.left += u64::from(is_left);
        census.sole += u64::from(elsewhere == 0);
    }

    /// Whether the node that goes holds a blob, and how many that stay do.
    fn holds(&self, holders: &[u64]) -> (bool, usize) {
        let elsewhere = Self::held_by(&self.others, holders);
        (holders.contains(&self.node), elsewhere)
    }

    fn lean(&self, digest: Digest, holders: &[u64], leaning: &mut Leaning) {
        let mut census = Census::default();
        self.count(holders, &mut census);
        let (is_held, _) = self.holds(holders);
        if is_held && census.left > 0 {
            leaning.left += 1;
            leaning.sole += census.sole;
        } else if holders.is_empty() {
            leaning.unheld += 1;
        } else {
            return;
        }
        if leaning.blobs.len() < LEANING_BLOBS_MAX {
            leaning.blobs.push(digest);
        }
    }
}

/// Counts in the state as of now; `None` when it cannot be read. Goes page by page
/// beside the shard.
pub(super) async fn take(journal: &Handle, leaving: Option<Leaving>) -> Option<Census> {
    let counted = go_through(journal, move |view, digest, (census, _)| {
        census.blobs += 1;
        if let Some(leaving) = &leaving {
            leaving.count(&metadata::holders(view, digest)?, census);
        }
        Ok(())
    });
    Some(counted.await?.0)
}

/// Finds the blobs that lean on a node; `None` as for [`take`].
pub(super) async fn leaning(journal: &Handle, leaving: Leaving) -> Option<Leaning> {
    let found = go_through(journal, move |view, digest, (_, leaning)| {
        leaving.lean(*digest, &metadata::holders(view, digest)?, leaning);
        Ok(())
    });
    Some(found.await?.1)
}

/// Looks at some blobs again.
pub(super) async fn still_leaning(
    journal: &Handle,
    leaving: Leaving,
    blobs: Vec<Digest>,
) -> Option<Leaning> {
    let view = journal.view();
    let looking = off_shard(move || {
        let mut leaning = Leaning::default();
        for digest in blobs {
            // A blob may have been condemned meanwhile.
            if metadata::blob(&view, &digest)?.is_some_and(|record| record.is_live()) {
                leaving.lean(digest, &metadata::holders(&view, &digest)?, &mut leaning);
            }
        }
        Ok(leaning)
    });
    said(looking.await)
}

type Sums = (Census, Leaning);
type Count = dyn Fn(&StateView, &Digest, &mut Sums) -> Result<(), StateError> + Send + Sync;

/// Shows `count` every live blob that has a file.
async fn go_through(
    journal: &Handle,
    count: impl Fn(&StateView, &Digest, &mut Sums) -> Result<(), StateError> + Send + Sync + 'static,
) -> Option<Sums> {
    let count: Arc<Count> = Arc::new(count);
    let mut sums = Sums::default();
    let mut after = None;
    loop {
        let (view, count) = (journal.view(), Arc::clone(&count));
        let counting = off_shard(move || {
            let last = page(&view, after.as_ref(), count.as_ref(), &mut sums);
            last.map(|last| (sums, last))
        });
        match said(counting.await)? {
            (counted, Some(last)) => {
                sums = counted;
                after = Some(last);
            }
            (counted, None) => return Some(counted),
        }
    }
}

/// What came of reading the state beside the shard; what went wrong is logged.
fn said<T>(read: Result<Result<T, StateError>, OffShardPanic>) -> Option<T> {
    match read {
        Ok(Ok(read)) => Some(read),
        Ok(Err(error)) => {
            tracing::error!(%error, "the blobs in the state cannot be counted");
            None
        }
        Err(panic) => {
            tracing::error!(%panic, "counting blobs panicked");
            None
        }
    }
}

/// Counts one page; where the next one begins, if there is one.
fn page(
    view: &StateView,
    after: Option<&Digest>,
    count: &Count,
    sums: &mut Sums,
) -> Result<Option<Digest>, StateError> {
    let page = metadata::blobs(view, after, PAGE_BLOBS)?;
    let last = page.entries.last().map(|(digest, _)| *digest);
    for (digest, record) in page.entries {
        if record.is_live() && !record.is_inline {
            count(view, &digest, sums)?;
        }
    }
    Ok(last.filter(|_| page.more))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    #[test]
    fn a_blob_is_left_until_a_majority_of_those_that_stay_hold_it() {
        let leaving = Leaving {
            voters: vec![1, 3, 5],
            others: vec![1, 3, 5, 9],
            node: 2,
        };
        let count = |holders: &[u64]| {
            let mut census = Census::default();
            leaving.count(holders, &mut census);
            (census.left, census.sole, census.unheld)
        };
        assert_eq!(count(&[2]), (1, 1, 0));
        assert_eq!(count(&[2, 9]), (1, 0, 0));
        assert_eq!(count(&[2, 1, 9]), (1, 0, 0));
        assert_eq!(count(&[1, 5]), (0, 0, 0));
        // Nobody is known to hold it, or only a node that was removed.
        assert_eq!(count(&[]), (0, 0, 1));
        assert_eq!(count(&[77]), (0, 0, 1));
        assert_eq!(count(&[77, 2]), (1, 1, 0));
    }

    #[test]
    fn forty_nodes_may_stay() {
        let leaving = Leaving {
            voters: (1..=40).collect(),
            others: (1..=40).collect(),
            node: 41,
        };
        let mut census = Census::default();
        leaving.count(&(1..=20).collect::<Vec<_>>(), &mut census);
        assert_eq!((census.left, census.sole), (1, 0));
        leaving.count(&(1..=21).collect::<Vec<_>>(), &mut census);
        assert_eq!((census.left, census.sole), (1, 0));
    }

    #[test]
    fn what_leans_on_a_node_is_what_it_holds_and_what_nobody_is_known_to_hold() {
        let member = |node: u64| Member {
            node,
            address: "".into(),
            is_voter: node != 9,
            is_leader: false,
            matched_index: None,
        };
        let members: Vec<Member> = [1, 2, 3, 9].map(member).into();
        let leaving = Leaving::of(&members, 2);
        let digest = Digest::of(Algorithm::Sha256, b"blob");
        let lean = |holders: &[u64]| {
            let mut leaning = Leaning::default();
            leaving.lean(digest, holders, &mut leaning);
            assert_eq!(leaning.unheld, u64::from(holders.is_empty()));
            (leaning.left, leaning.sole, leaning.blobs.len())
        };
        assert_eq!(lean(&[2]), (1, 1, 1));
        assert_eq!(lean(&[2, 9]), (1, 0, 1));
        assert_eq!(lean(&[2, 1, 9]), (1, 0, 1));
        assert_eq!(lean(&[1, 2, 3]), (0, 0, 0));
        assert_eq!(lean(&[]), (0, 0, 1));
        // It was given up with a node that was removed.
        assert_eq!(lean(&[77]), (0, 0, 0));
        // It is missed elsewhere, and this node has no copy to give.
        assert_eq!(lean(&[1]), (0, 0, 0));
    }
}
