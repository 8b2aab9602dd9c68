//! Tests of the budget: order, cancellation, nothing lost.

use super::*;

use std::collections::BTreeMap;
use std::task::Wake;

use proptest::prelude::*;

struct Quiet;

impl Wake for Quiet {
    fn wake(self: Arc<Self>) {}
}

fn poll(acquire: &mut Acquire) -> Option<Permit> {
    let waker = Waker::from(Arc::new(Quiet));
    let mut context = Context::from_waker(&waker);
    match Pin::new(acquire).poll(&mut context) {
        Poll::Ready(permit) => Some(permit),
        Poll::Pending => None,
    }
}

#[test]
fn a_small_request_does_not_overtake_a_large_one() {
    let budget = Budget::new(10);
    let held = budget.try_acquire(6).unwrap();
    let mut large = budget.acquire(8);
    let mut small = budget.acquire(1);
    assert!(poll(&mut large).is_none());
    assert!(poll(&mut small).is_none());
    assert!(budget.try_acquire(1).is_none(), "trying is not overtaking");
    drop(held);
    assert!(poll(&mut small).is_none(), "the large one is first");
    let large = poll(&mut large).unwrap();
    let small = poll(&mut small).unwrap();
    assert_eq!(budget.free_bytes(), 1);
    drop((large, small));
    assert_eq!((budget.free_bytes(), budget.waits()), (10, 2));
}

#[test]
fn a_cancelled_first_makes_room_for_the_second() {
    let budget = Budget::new(4);
    let held = budget.try_acquire(3).unwrap();
    let mut first = budget.acquire(4);
    let mut second = budget.acquire(1);
    assert!(poll(&mut first).is_none());
    assert!(poll(&mut second).is_none());
    drop(first);
    assert_eq!(poll(&mut second).unwrap().bytes(), 1);
    drop(held);
}

#[test]
#[should_panic(expected = "can never be met")]
fn a_request_beyond_the_budget_is_a_fault_of_the_caller() {
    drop(Budget::new(4).acquire(5));
}

proptest! {
    /// Requests are served in the order they were made, whatever happens between.
    #[test]
    fn requests_are_served_in_order(steps in prop::collection::vec((0_u8..4, 1_u64..9), 1..80)) {
        let budget = Budget::new(8);
        let mut waiting: BTreeMap<u64, Acquire> = BTreeMap::new();
        let mut held: Vec<Permit> = Vec::new();
        let mut next = 0_u64;
        for (kind, bytes) in steps {
            match kind {
                0 | 1 => {
                    let mut acquire = budget.acquire(bytes.min(8));
                    match poll(&mut acquire) {
                        Some(permit) => {
                            prop_assert!(waiting.is_empty(), "overtook {:?}", waiting.keys());
                            held.push(permit);
                        }
                        None => drop(waiting.insert(next, acquire)),
                    }
                    next += 1;
                }
                2 => drop(held.pop()),
                _ => {
                    let middle = waiting.keys().nth(waiting.len() / 2).copied();
                    drop(middle.and_then(|key| waiting.remove(&key)));
                }
            }
            while let Some(mut first) = waiting.first_entry() {
                match poll(first.get_mut()) {
                    Some(permit) => {
                        held.push(permit);
                        drop(first.remove());
                    }
                    None => break,
                }
            }
            let in_use: u64 = held.iter().map(Permit::bytes).sum();
            prop_assert_eq!(in_use + budget.free_bytes(), 8);
        }
        waiting.clear();
        held.clear();
        prop_assert_eq!(budget.free_bytes(), 8);
        prop_assert!(budget.try_acquire(8).is_some());
    }
}
