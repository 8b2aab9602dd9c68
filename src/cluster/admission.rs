//! Lets machines in that bring a token. Any member can, whoever leads.

use bytes::Bytes;

use super::join_message::{JoinReply, JoinRequest};
use crate::base::Clock;
use crate::metadata::Refusal as Denied;
use crate::peer::{
    Authority, Call, ClusterId, Credentials, JoinSecret, JoinToken, Refusal, RefusalCode,
};
use crate::raft::{self, Handle, MembersError};

/// What a machine of a list proves admits it for ten minutes, and it asks at once.
const PROOF_LIFE_MS: u64 = 10 * 60 * 1000;

/// Admits nodes. One per node, on the raft core.
#[derive(Debug, Clone)]
pub struct Admitter {
    journal: Handle,
    cluster: ClusterId,
    authority: Option<Authority>,
    /// What machines of a list prove themselves with in place of a token.
    join_secret: Option<JoinSecret>,
    clock: Clock,
}

impl Admitter {
    /// Admits to `cluster`; without an authority its nodes trust each other by other
    /// means, and are given no certificates.
    #[must_use]
    pub const fn new(
        journal: Handle,
        cluster: ClusterId,
        authority: Option<Authority>,
        join_secret: Option<JoinSecret>,
        clock: Clock,
    ) -> Self {
        Self {
            journal,
            cluster,
            authority,
            join_secret,
            clock,
        }
    }

    /// Answers a node that wants to join: its number, and what it proves itself with
    /// from now on. Asking again with the same token and machine gives the same number.
    ///
    /// - Errors: the token does not admit it, or nobody can commit now.
    pub(super) async fn admit(&self, call: &Call) -> Result<Bytes, Refusal> {
        let request = JoinRequest::decode(&call.payload)
            .map_err(|error| Refusal::new(RefusalCode::Malformed, error.to_string()))?;
        let token = JoinToken::hash(&request.secret);
        if self.is_vouched_for(&request) {
            let expires_ms = self.clock.unix_ms().saturating_add(PROOF_LIFE_MS);
            let added = self.journal.add_join_token(token, expires_ms).await;
            added.map_err(|error| not_now(&error))?;
        }
        let admission = raft::Admission {
            node_uuid: request.node_uuid,
            address: request.address.clone(),
            is_voter: request.is_voter,
            token: Some(token),
        };
        let node = self
            .journal
            .admit(admission)
            .await
            .map_err(|error| match error {
                MembersError::Refused(denied) => refused(&denied),
                error => not_now(&error),
            })?;
        let credentials = self.credentials(node)?;
        tracing::info!(node, address = %request.address, "a node is admitted");
        let (authority, authority_key) = match &self.authority {
            Some(authority) => (
                authority.certificate().to_owned(),
                authority.key().to_owned(),
            ),
            None => Default::default(),
        };
        let reply = JoinReply {
            node,
            cluster: *self.cluster.as_bytes(),
            chain: credentials.chain.into(),
            key: credentials.key.into(),
            authority,
            authority_key,
        };
        Ok(reply.encode())
    }

    /// Whether the machine is of the list: it knows the secret.
    fn is_vouched_for(&self, request: &JoinRequest) -> bool {
        let secret = self.join_secret.as_ref();
        secret
            .is_some_and(|secret| secret.admits(self.cluster, &request.node_uuid, &request.secret))
    }

    fn credentials(&self, node: u64) -> Result<Credentials, Refusal> {
        let Some(authority) = &self.authority else {
            return Ok(Credentials {
                authorities: Vec::new(),
                chain: Vec::new(),
                key: Vec::new(),
            });
        };
        authority.issue(node, &self.clock).map_err(|error| {
            tracing::error!(%error, node, "no certificate can be made");
            Refusal::new(RefusalCode::Failed, "no certificate can be made")
        })
    }
}

fn not_now(error: &MembersError) -> Refusal {
    let reason = format!("the cluster cannot decide now, try again: {error}");
    Refusal::new(RefusalCode::Failed, reason)
}

fn refused(denied: &Denied) -> Refusal {
    tracing::warn!(?denied, "a node is not admitted");
    if let Denied::AddressTaken { node } = denied {
        let reason = format!(
            "node {node} has this address: if its data is lost, `windlass cluster remove {node}` on a member makes room for this machine"
        );
        return Refusal::new(RefusalCode::NotAllowed, reason);
    }
    let reason = match denied {
        Denied::TokenUnknown => "the token is not known here: make a new one",
        Denied::TokenUsed => "the token has admitted another machine: make a new one",
        Denied::TokenExpired => "the token has expired: make a new one",
        Denied::NodeKnown => "this machine is a member already",
        Denied::NodeRemoved => "this machine was removed: start with an empty data directory",
        _ => "the cluster does not admit this machine",
    };
    Refusal::new(RefusalCode::NotAllowed, reason)
}
