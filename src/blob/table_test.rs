//! Tests of the session table: exclusive, in order, nothing comes back to life.

use super::*;
use crate::blob::upload_id::Minter;
use crate::oci::Repository;
use proptest::prelude::*;

fn id(created_s: u32) -> UploadId {
    let repository = Repository::parse("a").unwrap();
    Minter::new([1; 32], 0, 1).mint(Some(&repository), 0, created_s)
}

const EMPTY: Standing = Standing {
    held_bytes: 0,
    algorithm: Algorithm::Sha256,
};

fn granted(answer: CheckOut<u32>) -> Grant {
    match answer {
        CheckOut::Granted(grant, _) => grant,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_session_is_out_once_and_waiters_come_in_order() {
    let (mut table, one) = (Table::new(), id(1));
    table.enter(one, EMPTY, 0).unwrap();
    let first = granted(table.check_out(&one, 0, 1));
    for waiter in 1..=4 {
        assert_eq!(table.check_out(&one, waiter, 1), CheckOut::Waiting);
    }
    assert_eq!(table.check_out(&one, 5, 1), CheckOut::Busy(5));
    let Next::Granted(second, 1) = table.check_in(&one, first.ticket, Return::Held(9), 2) else {
        panic!("the first waiter is next");
    };
    assert_eq!(second.standing.held_bytes, 9);
    let stale = table.check_in(&one, first.ticket, Return::Ended, 3);
    assert_eq!(stale, Next::Nobody);
    assert_eq!(table.held_bytes(&one, 3), Some(9));
    let Next::Granted(third, 2) = table.check_in(&one, second.ticket, Return::Unchanged, 3) else {
        panic!("the second waiter is next");
    };
    assert_eq!(third.standing.held_bytes, 9);
    let gone = table.check_in(&one, third.ticket, Return::Ended, 3);
    assert_eq!(gone, Next::Gone(VecDeque::from([3, 4])));
    assert_eq!(table.check_out(&one, 6, 4), CheckOut::Unknown(6));
}

#[test]
fn an_ended_session_of_an_earlier_boot_is_not_revived() {
    let mut table = Table::new();
    let (ended, purged, fresh) = (id(1), id(2), id(3));
    for one in [ended, purged] {
        table.revive(one, 5);
    }
    let grant = granted(table.check_out(&ended, 0, 5));
    table.check_in(&ended, grant.ticket, Return::Ended, 5);
    assert_eq!(table.purge(6), [purged]);
    for one in [ended, purged, fresh] {
        table.revive(one, 7);
    }
    assert_eq!(table.held_bytes(&ended, 7), None);
    assert_eq!(table.held_bytes(&purged, 7), None);
    assert_eq!(table.held_bytes(&fresh, 7), Some(0));
}

#[test]
fn purge_spares_sessions_in_use_and_sessions_just_used() {
    let mut table = Table::new();
    let (idle, used, out) = (id(1), id(2), id(3));
    for one in [idle, used, out] {
        table.enter(one, EMPTY, 10).unwrap();
    }
    granted(table.check_out(&out, 0, 10));
    table.held_bytes(&used, 20);
    assert_eq!(table.purge(20), [idle]);
    assert_eq!(table.count(), 2);
}

#[test]
fn a_full_table_refuses_and_forgets_nobody() {
    let mut table: Table<()> = Table::new();
    let first = id(0);
    table.enter(first, EMPTY, 0).unwrap();
    for created_s in 1..u32::try_from(SESSIONS_MAX).unwrap() {
        table
            .enter(UploadId::from_bytes(unique(created_s)), EMPTY, 0)
            .unwrap();
    }
    assert_eq!(table.enter(id(1), EMPTY, 0), Err(TableFull));
    assert_eq!(table.held_bytes(&first, 0), Some(0));
}

fn unique(number: u32) -> [u8; 40] {
    let mut bytes = [0; 40];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    bytes
}

#[derive(Debug, Clone)]
enum Step {
    CheckOut,
    CheckIn(Return),
    StaleCheckIn,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::CheckOut),
        2 => (0_u64..100).prop_map(|held| Step::CheckIn(Return::Held(held))),
        2 => Just(Step::CheckIn(Return::Unchanged)),
        1 => Just(Step::CheckIn(Return::Ended)),
        1 => Just(Step::StaleCheckIn),
    ]
}

proptest! {
    /// The model: a queue of who asked, the first of which has the session.
    #[test]
    fn the_table_is_a_queue(steps in prop::collection::vec(step(), 1..60)) {
        let (mut table, one) = (Table::new(), id(1));
        table.enter(one, EMPTY, 0).unwrap();
        let (mut queue, mut held, mut is_alive) = (VecDeque::<u32>::new(), 0, true);
        let (mut current, mut asked): (Option<Grant>, u32) = (None, 0);
        for step in steps {
            match step {
                Step::CheckOut => {
                    asked += 1;
                    match table.check_out(&one, asked, 0) {
                        CheckOut::Granted(grant, who) => {
                            prop_assert!(is_alive && queue.is_empty() && who == asked);
                            prop_assert_eq!(grant.standing.held_bytes, held);
                            current = Some(grant);
                            queue.push_back(who);
                        }
                        CheckOut::Waiting => {
                            prop_assert!(is_alive && (1..=WAITERS_MAX).contains(&queue.len()));
                            queue.push_back(asked);
                        }
                        CheckOut::Busy(_) => prop_assert_eq!(queue.len(), WAITERS_MAX + 1),
                        CheckOut::Unknown(_) => prop_assert!(!is_alive),
                    }
                }
                Step::CheckIn(how) => {
                    let Some(grant) = current.take() else { continue };
                    queue.pop_front();
                    if let Return::Held(bytes) = how {
                        held = bytes;
                    }
                    match table.check_in(&one, grant.ticket, how, 0) {
                        Next::Nobody => prop_assert!(queue.is_empty()),
                        Next::Granted(grant, who) => {
                            prop_assert_eq!(Some(&who), queue.front());
                            prop_assert_eq!(grant.standing.held_bytes, held);
                            current = Some(grant);
                        }
                        Next::Gone(waiters) => {
                            prop_assert_eq!(how, Return::Ended);
                            prop_assert_eq!(&waiters, &queue);
                            queue.clear();
                            is_alive = false;
                        }
                    }
                }
                Step::StaleCheckIn => {
                    let before = table.held_bytes(&one, 0);
                    prop_assert_eq!(table.check_in(&one, 0, Return::Ended, 0), Next::Nobody);
                    prop_assert_eq!(table.held_bytes(&one, 0), before);
                }
            }
        }
    }
}
