//! Tests of the machines of a cluster: numbers, tokens, roles, removal.

use super::*;
use crate::metadata::world::{HOUR_MS, World};
use crate::metadata::{Command, state_hash};

fn address(text: &str) -> NodeAddress {
    NodeAddress::parse(text).unwrap()
}

fn admit_with(uuid: u8, token: Option<u8>) -> Command {
    Command::Node(NodeCommand::Admit {
        node_uuid: [uuid; 16],
        address: address(&format!("a{uuid}:1")),
        is_voter: true,
        token: token.map(|token| [token; 32]),
    })
}

fn add_token(token: u8, expires_ms: u64) -> Command {
    Command::Node(NodeCommand::AddJoinToken {
        hash: [token; 32],
        expires_ms,
    })
}

fn describe(node: u64, uuid: u8) -> Command {
    Command::Node(NodeCommand::Describe {
        node,
        node_uuid: [uuid; 16],
        address: address(&format!("b{uuid}:2")),
    })
}

fn set_role(node: u64, is_voter: bool) -> Command {
    Command::Node(NodeCommand::SetRole { node, is_voter })
}

fn remove(node: u64) -> Command {
    Command::Node(NodeCommand::Remove { node })
}

fn admitted(outcome: &Outcome) -> u64 {
    match outcome {
        Outcome::NodeAdmitted { node } => *node,
        outcome => panic!("{outcome:?}"),
    }
}

/// A cluster whose first node has described itself.
fn founded() -> World {
    let mut world = World::default();
    assert_eq!(world.run(&describe(1, 1)), Outcome::Applied);
    world
}

#[test]
fn a_number_is_the_index_of_the_entry_that_gave_it() {
    let mut world = founded();
    world.index = 40;
    let number = admitted(&world.run(&admit_with(2, None)));
    assert_eq!(number, 41);
    let record = node(&world.view, number).unwrap().unwrap();
    assert_eq!(record.state, NodeState::Admitted);
    assert!(record.is_voter);
}

#[test]
fn a_token_admits_one_machine_once() {
    let mut world = founded();
    world.run(&add_token(7, HOUR_MS));
    let number = admitted(&world.run(&admit_with(2, Some(7))));
    let refused = Outcome::Refused(Refusal::TokenUsed);
    assert_eq!(world.run(&admit_with(3, Some(7))), refused);
    let refused = Outcome::Refused(Refusal::TokenUnknown);
    assert_eq!(world.run(&admit_with(3, Some(8))), refused);
    assert_eq!(nodes(&world.view).unwrap().len(), 2);
    assert!(node(&world.view, number).unwrap().is_some());
}

#[test]
fn an_ended_token_admits_nobody_and_is_forgotten() {
    let mut world = founded();
    world.run(&add_token(7, HOUR_MS));
    world.time_ms = HOUR_MS;
    let refused = Outcome::Refused(Refusal::TokenExpired);
    assert_eq!(world.run(&admit_with(2, Some(7))), refused);
    world.run(&add_token(8, 2 * HOUR_MS));
    let refused = Outcome::Refused(Refusal::TokenUnknown);
    assert_eq!(world.run(&admit_with(2, Some(7))), refused);
}

#[test]
fn tokens_are_bounded() {
    let mut world = founded();
    for token in 0..TOKENS_MAX {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&token.to_le_bytes());
        let command = NodeCommand::AddJoinToken {
            hash,
            expires_ms: HOUR_MS,
        };
        assert_eq!(world.run(&Command::Node(command)), Outcome::Applied);
    }
    let refused = Outcome::Refused(Refusal::TokensExhausted);
    assert_eq!(world.run(&add_token(7, HOUR_MS)), refused);
    world.time_ms = HOUR_MS;
    assert_eq!(world.run(&add_token(7, 2 * HOUR_MS)), Outcome::Applied);
}

#[test]
fn a_machine_that_asks_again_gets_its_number_even_with_an_ended_token() {
    let mut world = founded();
    world.run(&add_token(7, HOUR_MS));
    let number = admitted(&world.run(&admit_with(2, Some(7))));
    world.time_ms = 2 * HOUR_MS;
    assert_eq!(admitted(&world.run(&admit_with(2, Some(7)))), number);
    // Another token than the one that admitted it must be good.
    let refused = Outcome::Refused(Refusal::TokenUnknown);
    assert_eq!(world.run(&admit_with(2, Some(8))), refused);
    world.run(&add_token(8, 3 * HOUR_MS));
    assert_eq!(admitted(&world.run(&admit_with(2, Some(8)))), number);
}

#[test]
fn a_machine_that_runs_is_not_admitted_again() {
    let mut world = founded();
    let number = admitted(&world.run(&admit_with(2, None)));
    assert_eq!(world.run(&describe(number, 2)), Outcome::Applied);
    let record = node(&world.view, number).unwrap().unwrap();
    assert_eq!(
        (record.state, record.address),
        (NodeState::Member, address("b2:2"))
    );
    let refused = Outcome::Refused(Refusal::NodeKnown);
    assert_eq!(world.run(&admit_with(2, None)), refused);
    // Nor does another machine take its number.
    assert_eq!(world.run(&describe(number, 3)), refused);
}

#[test]
fn a_removed_machine_never_comes_back() {
    let mut world = founded();
    let number = admitted(&world.run(&admit_with(2, None)));
    assert_eq!(world.run(&remove(number)), Outcome::Applied);
    let refused = Outcome::Refused(Refusal::NodeRemoved);
    assert_eq!(world.run(&admit_with(2, None)), refused);
    assert_eq!(world.run(&describe(number, 2)), refused);
    assert_eq!(world.run(&set_role(number, true)), refused);
    assert_eq!(world.run(&remove(number)), Outcome::Applied);
    assert_eq!(world.run(&remove(99)), Outcome::NotFound(What::Node));
}

#[test]
fn somebody_must_vote() {
    let mut world = founded();
    let refused = Outcome::Refused(Refusal::LastVoter);
    assert_eq!(world.run(&remove(1)), refused);
    assert_eq!(world.run(&set_role(1, false)), refused);
    let number = admitted(&world.run(&admit_with(2, None)));
    assert_eq!(world.run(&set_role(1, false)), Outcome::Applied);
    assert_eq!(world.run(&remove(number)), refused);
    assert_eq!(world.run(&remove(1)), Outcome::Applied);
}

#[test]
fn what_was_refused_leaves_the_hash_alone() {
    let mut world = founded();
    let before = state_hash(&world.view).unwrap();
    world.run(&admit_with(2, Some(7)));
    world.run(&remove(1));
    assert_eq!(state_hash(&world.view).unwrap(), before);
}

#[test]
fn a_machine_without_its_data_does_not_stand_beside_its_old_number() {
    let mut world = founded();
    let at = |uuid: u8, place: &str| {
        Command::Node(NodeCommand::Admit {
            node_uuid: [uuid; 16],
            address: address(place),
            is_voter: true,
            token: None,
        })
    };
    let number = admitted(&world.run(&at(2, "c:1")));
    let refused = Outcome::Refused(Refusal::AddressTaken { node: number });
    assert_eq!(world.run(&at(3, "c:1")), refused);
    // The first node has an address, too; and one's own is one's own.
    let first = Outcome::Refused(Refusal::AddressTaken { node: 1 });
    assert_eq!(world.run(&at(3, "b1:2")), first);
    assert_eq!(admitted(&world.run(&at(2, "c:1"))), number);
    assert_eq!(world.run(&remove(number)), Outcome::Applied);
    assert!(admitted(&world.run(&at(3, "c:1"))) > number);
}

#[test]
fn a_token_that_ended_unused_may_be_added_again() {
    let mut world = founded();
    world.run(&add_token(7, HOUR_MS));
    world.time_ms = 2 * HOUR_MS;
    let ended = Outcome::Refused(Refusal::TokenExpired);
    assert_eq!(world.run(&admit_with(2, Some(7))), ended);
    assert_eq!(world.run(&add_token(7, 3 * HOUR_MS)), Outcome::Applied);
    let number = admitted(&world.run(&admit_with(2, Some(7))));
    // Once used it stays its machine's.
    world.time_ms = 4 * HOUR_MS;
    world.run(&add_token(7, 5 * HOUR_MS));
    assert_eq!(admitted(&world.run(&admit_with(2, Some(7)))), number);
    let used = Outcome::Refused(Refusal::TokenUsed);
    assert_eq!(world.run(&admit_with(3, Some(7))), used);
}
