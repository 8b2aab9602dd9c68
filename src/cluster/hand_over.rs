//! Another node leads: asked for, then waited for, so that whoever asked knows.

use std::time::Duration;

use super::operations::{OperationError, Operations};
use crate::base::Clock;
use crate::raft::MembersError;
use crate::runtime::sleep;

/// A change of leader is looked for so often …
const LOOK_PERIOD: Duration = Duration::from_millis(100);
/// … and for so long: some elections, on a machine that has much else to do.
const LOOK_LIMIT: Duration = Duration::from_secs(10);

impl Operations {
    /// Lets another node lead, or the one that is named; returns who does by then.
    ///
    /// - Errors: `NotHandedOver` and `Leaderless` when it does not within seconds.
    pub async fn transfer_leader(&self, to: Option<u64>) -> Result<u64, OperationError> {
        self.check_member()?;
        let leader = self.leading().await?;
        if leader.is_some() && leader == to {
            return Ok(leader.unwrap_or_default());
        }
        self.hand_over(leader, to).await
    }

    /// Lets another node lead, if this one does.
    pub(super) async fn leave_leadership(&self, node: u64) -> Result<(), OperationError> {
        let members = self.journal().members().await?.nodes;
        let member = members.iter().find(|member| member.node == node);
        if !member.ok_or(MembersError::Unknown { node })?.is_leader {
            return Ok(());
        }
        self.hand_over(Some(node), None).await.map(drop)
    }

    /// Moves leadership off `from`, to `to` where it is named.
    async fn hand_over(&self, from: Option<u64>, to: Option<u64>) -> Result<u64, OperationError> {
        self.journal().transfer_leader(to).await?;
        let clock = Clock::system();
        let began = clock.now();
        let mut leader = None;
        while clock.now().duration_since(began) < LOOK_LIMIT {
            leader = self.leading().await.ok().flatten();
            let is_there = match to {
                Some(_) => leader == to,
                None => leader != from,
            };
            match leader.filter(|_| is_there) {
                Some(leader) => return Ok(leader),
                None => sleep(LOOK_PERIOD).await,
            }
        }
        Err(match leader {
            Some(leader) => OperationError::NotHandedOver { leader },
            None => OperationError::Leaderless,
        })
    }

    /// Who leads, as the leader says itself.
    async fn leading(&self) -> Result<Option<u64>, MembersError> {
        let members = self.journal().members().await?.nodes;
        let leader = members.iter().find(|member| member.is_leader);
        Ok(leader.map(|leader| leader.node))
    }
}
