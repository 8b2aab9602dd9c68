//! Machines of the cluster: admitted, described, in a role, removed.

use super::draft::Draft;
use super::key;
use super::level::{raise_without, set_level};
use super::node_address::NodeAddress;
use super::node_command::{JoinTokenHash, NodeCommand, NodeUuid};
use super::node_record::{NodeRecord, NodeState, TokenRecord, node, nodes};
use super::once::forget;
use super::outcome::{Outcome, Refusal, What};
use super::record::{StateError, read};
use super::view::View;

/// Join tokens that may wait at once; an operator hands them out one by one.
const TOKENS_MAX: usize = 256;

/// `Command::Node`
pub(super) fn change_node(
    draft: &mut Draft<'_>,
    command: &NodeCommand,
) -> Result<Outcome, StateError> {
    match command {
        NodeCommand::Admit {
            node_uuid,
            address,
            is_voter,
            token,
        } => {
            let admitted = NodeRecord {
                node_uuid: *node_uuid,
                state: NodeState::Admitted,
                is_voter: *is_voter,
                address: address.clone(),
                token: *token,
            };
            admit(draft, &admitted)
        }
        NodeCommand::Describe {
            node,
            node_uuid,
            address,
        } => describe(draft, *node, *node_uuid, address),
        NodeCommand::SetRole { node, is_voter } => set_role(draft, *node, *is_voter),
        NodeCommand::Remove { node } => remove(draft, *node),
        NodeCommand::SetLevel { node, level } => set_level(draft, *node, *level),
        NodeCommand::AddJoinToken { hash, expires_ms } => add_token(draft, hash, *expires_ms),
    }
}

/// Gives a machine its number. Whoever asks again before it has used the number
/// gets the same one: its first answer may have been lost.
fn admit(draft: &mut Draft<'_>, asked: &NodeRecord) -> Result<Outcome, StateError> {
    let machines = nodes(&draft.view)?;
    let known = machines
        .iter()
        .find(|(_, record)| record.node_uuid == asked.node_uuid);
    let (number, before) = match known.cloned() {
        None => (draft.index, None),
        Some((number, record)) if record.state == NodeState::Admitted => (number, Some(record)),
        Some((_, record)) if record.state == NodeState::Removed => {
            return Ok(Outcome::Refused(Refusal::NodeRemoved));
        }
        Some(_) => return Ok(Outcome::Refused(Refusal::NodeKnown)),
    };
    // A machine that lost its data must not stand beside itself: its old number goes first.
    let holder = machines.iter().find(|(other, record)| {
        let is_there = record.state != NodeState::Removed && record.address == asked.address;
        is_there && *other != number
    });
    if let Some((node, _)) = holder {
        return Ok(Outcome::Refused(Refusal::AddressTaken { node: *node }));
    }
    let is_redeemed = before
        .as_ref()
        .is_some_and(|record| record.token == asked.token);
    if let Some(token) = asked.token.filter(|_| !is_redeemed)
        && let Some(refusal) = redeem(draft, &token, number)?
    {
        return Ok(Outcome::Refused(refusal));
    }
    if before.as_ref() != Some(asked) {
        draft.put(key::node(number), asked.encode());
    }
    Ok(Outcome::NodeAdmitted { node: number })
}

/// Uses a token up for `number`, or says why not.
fn redeem(
    draft: &mut Draft<'_>,
    token: &JoinTokenHash,
    number: u64,
) -> Result<Option<Refusal>, StateError> {
    let record = match usable(&draft.view, token, number, draft.now_ms)? {
        Ok(record) => record,
        Err(refusal) => return Ok(Some(refusal)),
    };
    let used = TokenRecord {
        node: number,
        ..record
    };
    draft.put(key::token(token), used.encode());
    Ok(None)
}

/// A token that may admit the machine of this number, 0 for one without, or why not.
fn usable(
    view: &dyn View,
    token: &JoinTokenHash,
    number: u64,
    now_ms: u64,
) -> Result<Result<TokenRecord, Refusal>, StateError> {
    let Some(record) = read(view.value(&key::token(token))?, TokenRecord::decode)? else {
        return Ok(Err(Refusal::TokenUnknown));
    };
    if record.node != 0 && record.node != number {
        return Ok(Err(Refusal::TokenUsed));
    }
    if record.expires_ms <= now_ms {
        return Ok(Err(Refusal::TokenExpired));
    }
    Ok(Ok(record))
}

/// Why a token does not admit a machine, as far as this state tells: whoever has none
/// that could is refused without an entry of the journal. Where it tells nothing, the
/// entry decides.
pub fn token_fault(
    view: &dyn View,
    node_uuid: &NodeUuid,
    token: &JoinTokenHash,
    now_ms: u64,
) -> Result<Option<Refusal>, StateError> {
    let machines = nodes(view)?;
    let mut machines = machines.iter();
    let known = machines.find(|(_, record)| record.node_uuid == *node_uuid);
    if known.is_some_and(|(_, record)| record.token.as_ref() == Some(token)) {
        return Ok(None);
    }
    let number = known.map_or(0, |(number, _)| *number);
    Ok(usable(view, token, number, now_ms)?.err())
}

/// The first node of a cluster was admitted by nobody: its own word makes its record.
fn describe(
    draft: &mut Draft<'_>,
    number: u64,
    node_uuid: NodeUuid,
    address: &NodeAddress,
) -> Result<Outcome, StateError> {
    let before = node(&draft.view, number)?;
    let refusal = match &before {
        Some(record) if record.node_uuid != node_uuid => Some(Refusal::NodeKnown),
        Some(record) if record.state == NodeState::Removed => Some(Refusal::NodeRemoved),
        Some(_) | None => None,
    };
    if let Some(refusal) = refusal {
        return Ok(Outcome::Refused(refusal));
    }
    let described = NodeRecord {
        node_uuid,
        state: NodeState::Member,
        is_voter: before.as_ref().is_none_or(|record| record.is_voter),
        address: address.clone(),
        token: before.as_ref().and_then(|record| record.token),
    };
    if before.as_ref() != Some(&described) {
        draft.put(key::node(number), described.encode());
    }
    Ok(Outcome::Applied)
}

fn set_role(draft: &mut Draft<'_>, number: u64, is_voter: bool) -> Result<Outcome, StateError> {
    let Some(record) = node(&draft.view, number)? else {
        return Ok(Outcome::NotFound(What::Node));
    };
    if record.state == NodeState::Removed {
        return Ok(Outcome::Refused(Refusal::NodeRemoved));
    }
    if !is_voter && is_last_voter(draft, number)? {
        return Ok(Outcome::Refused(Refusal::LastVoter));
    }
    if record.is_voter != is_voter {
        let changed = NodeRecord { is_voter, ..record };
        draft.put(key::node(number), changed.encode());
    }
    Ok(Outcome::Applied)
}

fn remove(draft: &mut Draft<'_>, number: u64) -> Result<Outcome, StateError> {
    let Some(record) = node(&draft.view, number)? else {
        return Ok(Outcome::NotFound(What::Node));
    };
    if record.state == NodeState::Removed {
        return Ok(Outcome::Applied);
    }
    if is_last_voter(draft, number)? {
        return Ok(Outcome::Refused(Refusal::LastVoter));
    }
    let removed = NodeRecord {
        state: NodeState::Removed,
        is_voter: false,
        ..record
    };
    draft.put(key::node(number), removed.encode());
    raise_without(draft, number)?;
    forget(draft, number)?;
    Ok(Outcome::Applied)
}

/// Whether no other machine is to vote.
fn is_last_voter(draft: &Draft<'_>, number: u64) -> Result<bool, StateError> {
    let nodes = nodes(&draft.view)?;
    let mut others = nodes.iter().filter(|(other, _)| *other != number);
    Ok(!others.any(|(_, record)| record.is_voter))
}

/// Adds a token, and forgets those that have ended.
fn add_token(
    draft: &mut Draft<'_>,
    hash: &JoinTokenHash,
    expires_ms: u64,
) -> Result<Outcome, StateError> {
    let key = key::token(hash);
    let known = read(draft.view.value(&key)?, TokenRecord::decode)?;
    if known.is_some_and(|known| known.node != 0 || known.expires_ms > draft.now_ms) {
        return Ok(Outcome::Applied);
    }
    let tails = draft.tails(key::TOKENS)?;
    let mut waiting_count = tails.len();
    for tail in tails {
        let other = key::token(&tail);
        let record = read(draft.view.value(&other)?, TokenRecord::decode)?;
        if other == key {
            waiting_count -= 1;
        } else if record.is_some_and(|record| record.expires_ms <= draft.now_ms) {
            draft.delete(other);
            waiting_count -= 1;
        }
    }
    if waiting_count >= TOKENS_MAX {
        return Ok(Outcome::Refused(Refusal::TokensExhausted));
    }
    let added = TokenRecord {
        expires_ms,
        node: 0,
    };
    draft.put(key, added.encode());
    Ok(Outcome::Applied)
}

#[cfg(test)]
#[path = "apply_node_test.rs"]
mod tests;
