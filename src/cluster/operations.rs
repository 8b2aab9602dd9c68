//! What an operator asks of the cluster, through any of its nodes.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;

use super::census::{self, Census, LEANING_BLOBS_MAX, Leaning, Leaving};
use super::report::Report;
use super::saying::{Asked, Hearing, Said, Standing};
use super::status::{ClusterStatus, NodeStatus, to_vote};
use crate::base::Clock;
use crate::metadata::{format_level, state_hash};
use crate::peer::{Calls, Fingerprint, JoinToken, PeerNode, Service};
use crate::raft::{Handle, Member, MembersError};
use crate::runtime::sleep;

/// A join token admits nobody after this: long enough to walk to another machine.
const TOKEN_LIFE: Duration = Duration::from_secs(60 * 60);
/// A node that does not report within this time is shown as unreachable.
const REPORT_LIMIT: Duration = Duration::from_secs(2);

/// Nodes are asked so often whether the state knows all that they hold …
const SAID_LOOK_PERIOD: Duration = Duration::from_millis(250);
/// … and for so long: an entry about holders follows a push within a second, and waits
/// for a leader like every other.
const SAID_LIMIT: Duration = Duration::from_secs(15);
/// Blobs are counted anew after this.
const COUNT_LIFE: Duration = Duration::from_secs(2);

/// Why an operator's wish was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum OperationError {
    /// The node runs alone.
    #[error("this node runs alone; `windlass init` makes it the first of a cluster")]
    Alone,
    /// Blobs lean on a node that is to go.
    #[error(
        "node {node} holds {left} blobs that a majority of the other voters does not hold, {sole} \
         of them nowhere else: `windlass cluster drain {node}` waits for copies, and \
         `windlass cluster remove {node} --force` gives up what is nowhere else"
    )]
    Leaned {
        /// The node.
        node: u64,
        /// Blobs that fewer than a majority of the voters that stay hold.
        left: u64,
        /// Blobs that no node holds which stays.
        sole: u64,
    },
    /// A node that is to go does not answer, and nobody else holds what it held.
    #[error(
        "node {node} does not answer, and {sole} blobs are nowhere else: start it again and \
         `windlass cluster drain {node}`, or give them up with \
         `windlass cluster remove {node} --force`"
    )]
    Lost {
        /// The node.
        node: u64,
        /// Blobs that no node is known to hold which stays.
        sole: u64,
    },
    /// Of some blobs nobody knows where they are, and a node that is to go has not said
    /// yet all that it holds.
    #[error(
        "{blobs} blobs may be on node {node} only, which has not said yet all that it holds: try \
         again, or give them up with `windlass cluster remove {node} --force`"
    )]
    Unsaid {
        /// The node.
        node: u64,
        /// Blobs that no node is known to hold.
        blobs: u64,
    },
    /// Leadership was not taken over in time.
    #[error(
        "node {leader} leads still, or instead: `windlass cluster status` shows which voters \
         answer and lack little of the journal; ask again, and name one of those"
    )]
    NotHandedOver {
        /// Who leads.
        leader: u64,
    },
    /// Leadership was given up, and nobody has taken it yet.
    #[error(
        "no node says yet that it leads: `windlass cluster status` shows which one does before \
         anything else is done"
    )]
    Leaderless,
    /// The cluster refused, or cannot decide now.
    #[error(transparent)]
    Members(#[from] MembersError),
}

/// Serves operators' wishes. Lives on the shard with the operators' door.
#[derive(Clone)]
pub struct Operations {
    journal: Handle,
    network: Option<Rc<Network>>,
    report: Rc<dyn Fn() -> Report>,
    /// How many blobs there were, and when that was counted.
    counted: Rc<Cell<Option<(Instant, u64)>>>,
}

/// How this node reaches the others, and what its tokens vouch for.
struct Network {
    calls: Calls,
    authority: Fingerprint,
}

impl fmt::Debug for Operations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operations").finish_non_exhaustive()
    }
}

impl Operations {
    /// Of a node that runs alone.
    #[must_use]
    pub fn alone(journal: Handle, report: impl Fn() -> Report + 'static) -> Self {
        Self {
            journal,
            network: None,
            report: Rc::new(report),
            counted: Rc::default(),
        }
    }

    /// Of a member, whose tokens name the authority of its cluster.
    #[must_use]
    pub fn member(self, calls: Calls, authority: Fingerprint) -> Self {
        let network = Network { calls, authority };
        Self {
            network: Some(Rc::new(network)),
            ..self
        }
    }

    /// Every node: its place, and what it says about itself.
    pub async fn status(&self) -> ClusterStatus {
        let confirmed = self.journal.members().await;
        let is_confirmed = confirmed.is_ok();
        let members = confirmed.unwrap_or_else(|_| (*self.journal.membership()).clone());
        let node = self.journal.status().node;
        let to_vote = &to_vote(&self.journal.view());
        let asked = members.nodes.into_iter().map(|member| async move {
            let last = members.last_index;
            let lag = last.zip(member.matched_index);
            NodeStatus {
                report: self.report_of(node, &member).await,
                lag: lag.map(|(last, matched)| last.saturating_sub(matched)),
                is_to_vote: to_vote.contains(&member.node),
                member,
            }
        });
        ClusterStatus {
            node,
            is_confirmed,
            is_changing: members.is_changing,
            term: members.term,
            format_level: format_level(&self.journal.view()).unwrap_or_default(),
            state: self.state(),
            blobs: self.blobs().await,
            nodes: join_all(asked).await,
        }
    }

    /// The state here; `None` when it cannot be read, or nothing has happened yet.
    fn state(&self) -> Option<(u64, [u8; 32])> {
        let view = self.journal.view();
        Some((view.applied_index()?, state_hash(&view).ok()?))
    }

    /// The answer to a node that asks how this one is.
    #[must_use]
    pub fn reported(&self, question: &[u8]) -> Bytes {
        (self.report)().answer(question)
    }

    async fn report_of(&self, me: u64, member: &Member) -> Option<Report> {
        if member.node == me {
            return Some((self.report)());
        }
        let network = self.network.as_ref()?;
        let peer = PeerNode {
            id: member.node,
            address: member.address.clone(),
        };
        let call = network
            .calls
            .call(&peer, Service::Report, Report::question(), REPORT_LIMIT);
        Report::decode(&call.await.ok()?).ok()
    }

    /// A token with which one more machine may join.
    pub async fn add(&self) -> Result<JoinToken, OperationError> {
        let network = self.network.as_ref().ok_or(OperationError::Alone)?;
        let token = JoinToken::random(network.authority);
        let life_ms = u64::try_from(TOKEN_LIFE.as_millis()).unwrap_or(u64::MAX);
        let expires_ms = Clock::system().unix_ms().saturating_add(life_ms);
        let hash = JoinToken::hash(token.secret());
        self.journal.add_join_token(hash, expires_ms).await?;
        Ok(token)
    }

    /// Lets a node vote once it holds everything, or, when it is forced, at once; says
    /// whether it votes. If not it will by itself.
    pub async fn promote(&self, node: u64, is_forced: bool) -> Result<bool, OperationError> {
        self.check_member()?;
        let promoted = if is_forced {
            self.journal.promote_unfilled(node).await
        } else {
            self.journal.promote(node).await
        };
        match promoted {
            Ok(()) => Ok(true),
            Err(MembersError::Pending) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes a node's vote.
    pub async fn demote(&self, node: u64) -> Result<(), OperationError> {
        self.check_member()?;
        Ok(self.journal.demote(node).await?)
    }

    /// Takes a node out of the cluster for good.
    ///
    /// - Errors: `Leaned`, unless it is forced, while blobs would lose with it what keeps
    ///   them: its only copy, or, when it can still be copied off the node, a majority.
    pub async fn remove(&self, node: u64, is_forced: bool) -> Result<(), OperationError> {
        self.check_member()?;
        if !is_forced {
            self.check_spared(node).await?;
        }
        Ok(self.journal.remove(node).await?)
    }

    async fn check_spared(&self, node: u64) -> Result<(), OperationError> {
        let members = self.journal.members().await?.nodes;
        if !members.iter().any(|member| member.node == node) {
            // Whether there was such a node is for the state to say.
            return Ok(());
        }
        let leaving = Leaving::of(&members, node);
        let nodes = members.iter().map(|member| member.node);
        let mut hearing = Hearing::new(nodes, Clock::system().now());
        let said = self.until_said(&members, &mut hearing).await?;
        let found = census::leaning(&self.journal, leaving.clone()).await;
        let mut found = found.ok_or(MembersError::Unreadable)?;
        let mut standing = said.of(node);
        if !found.blobs.is_empty() {
            // Of what was pushed meanwhile the state may know too few holders.
            let said = self.until_said(&members, &mut hearing).await?;
            standing = said.of(node);
            let again = if found.blobs.len() < LEANING_BLOBS_MAX {
                census::still_leaning(&self.journal, leaving, found.blobs).await
            } else {
                census::leaning(&self.journal, leaving).await
            };
            found = again.ok_or(MembersError::Unreadable)?;
        }
        judge(node, standing, &found)
    }

    /// Waits until the state here knows what every node holds that answers; says how it
    /// went with each. What a node does not hold by then came later.
    async fn until_said(
        &self,
        members: &[Member],
        hearing: &mut Hearing,
    ) -> Result<Said, OperationError> {
        let clock = Clock::system();
        let began = clock.now();
        let me = self.journal.status().node;
        let confirmed = self.journal.read_index().await;
        confirmed.map_err(|_| MembersError::NoLeader)?;
        let index = self.journal.view().applied_index().unwrap_or_default();
        hearing.begin(clock.now());
        loop {
            let reports = members.iter().map(|member| self.report_of(me, member));
            let reports = join_all(reports).await;
            let now = clock.now();
            let waited = now.duration_since(began);
            let said = hearing.take(&reports, Asked { index, waited }, now);
            if said.is_final() || waited >= SAID_LIMIT {
                let confirmed = self.journal.read_index().await;
                confirmed.map_err(|_| MembersError::NoLeader)?;
                return Ok(said);
            }
            sleep(SAID_LOOK_PERIOD).await;
        }
    }

    /// Takes leadership and vote from a node, and counts what still leans on it. Asking
    /// again goes on.
    ///
    /// - Errors: `NotHandedOver` while another node cannot lead in its place, `Pending`
    ///   while the vote is still there.
    pub async fn drain(&self, node: u64) -> Result<Census, OperationError> {
        self.check_member()?;
        self.leave_leadership(node).await?;
        self.journal.demote(node).await?;
        let confirmed = self.journal.read_index().await;
        confirmed.map_err(|_| MembersError::NoLeader)?;
        let members = self.journal.members().await?.nodes;
        let said = self.has_said(&members, node).await;
        let confirmed = self.journal.read_index().await;
        confirmed.map_err(|_| MembersError::NoLeader)?;
        let leaving = Leaving::of(&members, node);
        let census = census::take(&self.journal, Some(leaving)).await;
        let mut census = census.ok_or(MembersError::Unreadable)?;
        if !said {
            // They may be on it.
            census.left += census.unheld;
            census.sole += census.unheld;
        }
        Ok(census)
    }

    /// Whether the state here knows all that a node holds, as far as it says so now.
    async fn has_said(&self, members: &[Member], node: u64) -> bool {
        let Some(member) = members.iter().find(|member| member.node == node) else {
            return false;
        };
        let index = self.journal.view().applied_index().unwrap_or_default();
        let report = self.report_of(self.journal.status().node, member).await;
        let asked = Asked {
            index,
            waited: Duration::ZERO,
        };
        let now = Clock::system().now();
        let said = Hearing::new([node].into_iter(), now).take(&[report], asked, now);
        said.of(node) == Standing::Said
    }

    /// Blobs in the state, counted now and then: it means reading all of them.
    async fn blobs(&self) -> u64 {
        let now = Clock::system().now();
        let known = self.counted.get();
        let is_fresh = |(counted, _): &(Instant, u64)| now.duration_since(*counted) < COUNT_LIFE;
        if let Some((_, blobs)) = known.filter(is_fresh) {
            return blobs;
        }
        let census = census::take(&self.journal, None).await.unwrap_or_default();
        self.counted
            .set(Some((Clock::system().now(), census.blobs)));
        census.blobs
    }

    /// The way to consensus.
    pub(super) const fn journal(&self) -> &Handle {
        &self.journal
    }

    pub(super) fn check_member(&self) -> Result<(), OperationError> {
        self.network
            .is_some()
            .then_some(())
            .ok_or(OperationError::Alone)
    }
}

/// Whether a node may go: with it goes no only copy, and, when it can still be copied
/// off the node, nothing that a majority of the others lacks.
fn judge(node: u64, standing: Standing, found: &Leaning) -> Result<(), OperationError> {
    let Leaning {
        left, sole, unheld, ..
    } = *found;
    match standing {
        Standing::Away if sole + unheld > 0 => Err(OperationError::Lost {
            node,
            sole: sole + unheld,
        }),
        Standing::Saying if unheld > 0 => Err(OperationError::Unsaid {
            node,
            blobs: unheld,
        }),
        Standing::Said | Standing::Saying if left > 0 => {
            Err(OperationError::Leaned { node, left, sole })
        }
        Standing::Said | Standing::Saying | Standing::Away => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(standing: Standing, (left, sole, unheld): (u64, u64, u64)) -> &'static str {
        let found = Leaning {
            left,
            sole,
            unheld,
            blobs: Vec::new(),
        };
        match judge(7, standing, &found) {
            Ok(()) => "goes",
            Err(OperationError::Leaned { .. }) => "leaned",
            Err(OperationError::Lost { .. }) => "lost",
            Err(OperationError::Unsaid { .. }) => "unsaid",
            Err(_) => "other",
        }
    }

    #[test]
    fn a_node_goes_when_nothing_goes_with_it() {
        use Standing::{Away, Said, Saying};
        let nothing = [Said, Saying, Away].map(|standing| verdict(standing, (0, 0, 0)));
        assert_eq!(nothing, ["goes"; 3]);
        // What a majority of the others lacks can be copied off it while it is there.
        assert_eq!(verdict(Said, (2, 0, 0)), "leaned");
        assert_eq!(verdict(Away, (2, 0, 0)), "goes");
        assert_eq!(verdict(Away, (2, 1, 0)), "lost");
        // What nobody is known to hold may be on it, unless it has said what is.
        assert_eq!(verdict(Said, (0, 0, 3)), "goes");
        assert_eq!(verdict(Saying, (0, 0, 3)), "unsaid");
        assert_eq!(verdict(Away, (0, 0, 3)), "lost");
    }
}
