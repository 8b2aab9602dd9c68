//! What a node of the version after this one does beside; see `base::tomorrow`.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use crate::base::tomorrow;
use crate::metadata::{self, Command, FORMAT_LEVEL};
use crate::peer::Service;

use super::say;
use crate::raft::core::Core;
use crate::raft::message_request::ClusterRequest;
use crate::raft::peers::Question;
use crate::raft::view::StateView;

/// An answer to a greeting comes from memory.
const GREETING_LIMIT: Duration = Duration::from_secs(1);

/// A node's memory of what it did.
#[derive(Debug, Default)]
pub(in crate::raft) struct Tomorrow {
    greeted_last: u64,
    has_remarked: bool,
}

impl Tomorrow {
    /// Greets the next node, and makes the remark of this one when it may.
    pub(in crate::raft) async fn act(&mut self, core: &Rc<Core>) {
        if !tomorrow::is_on() {
            return;
        }
        self.greet(core).await;
        let level = metadata::format_level(&StateView(core.machine.view()));
        let may_remark = tomorrow::is_hasty() || level.is_ok_and(|level| level > FORMAT_LEVEL);
        if may_remark && !self.has_remarked {
            let node = core.peers.me();
            self.has_remarked = say(core, Command::Remark { node }).await.is_some();
        }
    }

    /// Asks what an older node does not know, on the connection that consensus uses: it
    /// does without where that is refused.
    async fn greet(&mut self, core: &Core) {
        let Some(next) = core.peers.next_after(self.greeted_last) else {
            return;
        };
        self.greeted_last = next;
        let questions = [
            (Service::Greeting, Bytes::new()),
            (Service::Cluster, ClusterRequest::Greeting.encode()),
        ];
        for (service, payload) in questions {
            let question = Question {
                service,
                payload,
                limit: GREETING_LIMIT,
            };
            if let Err(error) = core.peers.ask(next, question, |_| Ok(())).await {
                tracing::debug!(node = next, %error, "a node is not greeted");
            }
        }
    }
}
