//! A node's own part in belonging to a cluster: it says who and where it is, and
//! it notices that it was removed.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use crate::metadata::{
    self, Command, NodeAddress, NodeCommand, NodeState, NodeUuid, Outcome, Proposal, Refusal,
    Repeat,
};
use crate::peer::Service;
use crate::runtime;

use super::carry;
use super::core::{Core, Route};
use super::message_request::{ClusterRequest, read_hello};
use super::peers::Question;
use super::proposal::{Submitted, Waiter};
use super::view::StateView;

#[cfg(feature = "mutants")]
#[path = "tomorrow.rs"]
mod tomorrow;

/// How often a node looks whether anything is to be said or asked.
const LOOK_PERIOD: Duration = Duration::from_millis(250);
/// A node that no leader has spoken to for this long asks others whether it
/// still belongs to them. A removed voter learns it from its first pre-vote.
const UNLED_MAX: Duration = Duration::from_secs(3);
/// Such a question is answered from memory.
const ASK_LIMIT: Duration = Duration::from_secs(1);

/// What a node tells the cluster about itself.
#[derive(Debug, Clone)]
pub(super) struct Told {
    /// Names the machine.
    pub node_uuid: NodeUuid,
    /// Where it is reached; `None` for a node that runs alone.
    pub address: Option<NodeAddress>,
}

/// Keeps a node in the cluster's books until the core drops it.
pub(super) async fn belong(core: Rc<Core>, told: Told) {
    let mut is_described = told.address.is_none();
    let mut is_leveled = false;
    let mut asked_last = 0;
    #[cfg(feature = "mutants")]
    let mut tomorrow = tomorrow::Tomorrow::default();
    loop {
        // A node that has moved is not found by its leader until it says so.
        if !is_described && (core.is_recovered() || core.is_cut_off(UNLED_MAX)) {
            is_described = describe(&core, &told).await;
        }
        if !is_leveled && is_described && core.is_recovered() {
            is_leveled = tell_level(&core).await;
        }
        if core.is_cut_off(UNLED_MAX) && !matches!(core.route(), Route::Here) {
            asked_last = ask_around(&core, asked_last).await;
        }
        #[cfg(feature = "mutants")]
        tomorrow.act(&core).await;
        runtime::sleep(LOOK_PERIOD).await;
    }
}

/// Says who this node is, unless the state knows it. Returns whether that is
/// settled.
async fn describe(core: &Rc<Core>, told: &Told) -> bool {
    let (me, Some(address)) = (core.peers.me(), told.address.clone()) else {
        return true;
    };
    let known = metadata::node(&StateView(core.machine.view()), me);
    let is_known = known.is_ok_and(|record| {
        record.is_some_and(|record| {
            let is_same = record.node_uuid == told.node_uuid && record.address == address;
            is_same && record.state == NodeState::Member
        })
    });
    if is_known {
        return true;
    }
    let describing = NodeCommand::Describe {
        node: me,
        node_uuid: told.node_uuid,
        address,
    };
    match say(core, Command::Node(describing)).await {
        // A node that was removed has nothing to say; it will be told.
        Some(Outcome::Applied | Outcome::Refused(Refusal::NodeRemoved)) => true,
        Some(outcome) => {
            tracing::error!(
                ?outcome,
                node = me,
                "the cluster does not take this node for node {me}: was its data directory copied?"
            );
            true
        }
        // The next look tries again.
        None => false,
    }
}

/// Says which formats this node knows, unless the state knows it. Returns whether
/// that is settled.
async fn tell_level(core: &Rc<Core>) -> bool {
    let (me, level) = (core.peers.me(), core.options.format_level);
    let known = metadata::node_level(&StateView(core.machine.view()), me);
    if known.is_ok_and(|known| known == level) {
        return true;
    }
    let telling = NodeCommand::SetLevel { node: me, level };
    say(core, Command::Node(telling)).await.is_some()
}

/// Commits what this node says about itself; `None` when that did not succeed.
pub(super) async fn say(core: &Rc<Core>, command: Command) -> Option<Outcome> {
    let proposal = Proposal {
        time_ms: core.clock.unix_ms(),
        command,
    };
    let (waiter, answered) = Waiter::new(None);
    let submitted = Submitted {
        change: Bytes::from(proposal.encode()),
        deadline: core.clock.now() + core.options.propose_timeout,
        // It looks again by itself.
        repeat: Repeat::Never,
        waiter,
    };
    carry::propose(core, submitted).await;
    Some(answered.await.ok()?.ok()?.outcome)
}

/// Asks the next node after `asked_last` who leads, and whether this one still
/// belongs to the cluster; `Peers` hears of it when it does not.
async fn ask_around(core: &Core, asked_last: u64) -> u64 {
    let Some(next) = core.peers.next_after(asked_last) else {
        return 0;
    };
    let question = Question {
        service: Service::Cluster,
        payload: ClusterRequest::Hello.encode(),
        limit: ASK_LIMIT,
    };
    let asked = core.ask_about_leader();
    match core.peers.ask(next, question, read_hello).await {
        Ok(hello) if hello.leader != Some(core.peers.me()) => {
            core.hearsay.take(&asked, hello.leader);
        }
        Ok(_) => {}
        Err(error) => {
            tracing::debug!(node = next, %error, "a node that was asked did not answer");
        }
    }
    next
}
