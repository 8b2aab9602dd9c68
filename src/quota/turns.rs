//! Turns at what only so many may have at a time, such as a password checked or a wait
//! for keys: a few for each client, so that no single one takes those of the others.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A place that nobody has; no client is called so.
const FREE_ID: u64 = 0;
/// Set in front of an IPv4 address. As the upper half of an IPv6 address it is
/// reserved, so that nobody else is called so. Source: RFC 4291, section 2.4.
const V4_NAMES: u64 = 1 << 32;

/// Who has a turn. Shared by all shards: each place holds the name of the client that
/// has it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Turns {
    places: Arc<[AtomicU64]>,
    /// As many may be of one client.
    client_max: usize,
}

/// The place of one turn, given back when this is dropped.
#[derive(Debug)]
pub struct Turn {
    turns: Turns,
    place: usize,
}

impl Turns {
    /// `places` in all, `client_max` of them for one client.
    #[must_use]
    pub fn new(places: usize, client_max: usize) -> Self {
        let free = std::iter::repeat_with(|| AtomicU64::new(FREE_ID));
        Self {
            places: free.take(places).collect(),
            client_max,
        }
    }

    /// A turn for a client; `None` when it has all that it may have, or all are taken.
    ///
    /// - Shape: takes a place first and counts then, so that of several that come at
    ///   once too many may be refused, and never too many let in.
    #[must_use]
    pub fn take(&self, client: IpAddr) -> Option<Turn> {
        let name = name_of(client);
        if self.count(name) >= self.client_max {
            return None;
        }
        let is_taken = |place: &AtomicU64| {
            let taken = place.compare_exchange(FREE_ID, name, Ordering::SeqCst, Ordering::SeqCst);
            taken.is_ok()
        };
        let turn = Turn {
            place: self.places.iter().position(is_taken)?,
            turns: self.clone(),
        };
        (self.count(name) <= self.client_max).then_some(turn)
    }

    fn count(&self, name: u64) -> usize {
        let is_theirs = |place: &&AtomicU64| place.load(Ordering::SeqCst) == name;
        self.places.iter().filter(is_theirs).count()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(place) = self.turns.places.get(self.place) {
            place.store(FREE_ID, Ordering::SeqCst);
        }
    }
}

/// What a client is counted under: its IPv4 address, or the upper half of its IPv6
/// address, because a single customer is given all of the lower half.
fn name_of(client: IpAddr) -> u64 {
    match client.to_canonical() {
        IpAddr::V4(address) => V4_NAMES | u64::from(address.to_bits()),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments().map(u64::from);
            // The machine itself has only zeros there.
            (a << 48 | b << 32 | c << 16 | d).max(FREE_ID + 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::base::limits::{CLIENT_LOGINS_MAX, WAITING_LOGINS_MAX};

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_client_has_a_few_turns_and_leaves_the_others_theirs() {
        let turns = Turns::new(WAITING_LOGINS_MAX, CLIENT_LOGINS_MAX);
        let guesser = address("10.0.0.1");
        let taken: Vec<_> = (0..CLIENT_LOGINS_MAX)
            .map(|_| turns.take(guesser).unwrap())
            .collect();
        for _ in 0..100 {
            assert!(turns.take(guesser).is_none());
        }
        assert!(turns.take(address("::ffff:10.0.0.1")).is_none());
        let other = turns.take(address("10.0.0.2")).unwrap();
        drop(taken);
        assert!(turns.take(guesser).is_some());
        drop(other);
        assert_eq!(turns.count(FREE_ID), WAITING_LOGINS_MAX);
    }

    #[test]
    fn addresses_of_one_network_are_one_client() {
        let same = [
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true),
            ("2001:db8:1:2::1", "2001:db8:1:3::1", false),
            ("2001:db8:1:2::1", "2001:db9:1:2::1", false),
            ("10.0.0.1", "10.0.0.2", false),
            ("10.0.0.1", "::ffff:10.0.0.1", true),
            ("0.0.0.0", "::1", false),
        ];
        for (left, right, expected) in same {
            let (left, right) = (name_of(address(left)), name_of(address(right)));
            assert_eq!(left == right, expected, "{left:x} {right:x}");
            assert!(left != FREE_ID && right != FREE_ID);
        }
    }

    #[test]
    fn all_places_may_be_taken() {
        let turns = Turns::new(WAITING_LOGINS_MAX, CLIENT_LOGINS_MAX);
        let take = |number: usize| {
            let number = u32::try_from(number).unwrap();
            turns.take(IpAddr::V4((0x0a00_0000 + number).into()))
        };
        let taken: Vec<_> = (0..WAITING_LOGINS_MAX).map_while(take).collect();
        assert_eq!(taken.len(), WAITING_LOGINS_MAX);
        assert!(take(WAITING_LOGINS_MAX).is_none());
        drop(taken);
        assert!(take(WAITING_LOGINS_MAX).is_some());
    }

    #[test]
    fn many_threads_never_take_more_than_a_clients_share() {
        let turns = Turns::new(WAITING_LOGINS_MAX, CLIENT_LOGINS_MAX);
        let client = address("10.0.0.1");
        let taken = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let held: Vec<_> = (0..3).filter_map(|_| turns.take(client)).collect();
                        let before = taken.fetch_add(held.len(), Ordering::SeqCst);
                        assert!(before + held.len() <= CLIENT_LOGINS_MAX);
                        taken.fetch_sub(held.len(), Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(turns.count(FREE_ID), WAITING_LOGINS_MAX);
    }
}
