//! What a machine that waits for a cluster does next. Pure.
//!
//! One list of nodes never makes two clusters:
//! - only one machine of it may begin the cluster, the founder;
//! - it does so only when every machine that is expected has said, in one round of
//!   questions, that it is empty and waits with the same list: had one of them belonged
//!   to a cluster, or not been heard, it would wait on;
//! - whoever hears of a cluster joins that one, and of two clusters neither.
//!
//! So a founder that lost its data is a machine like any other: it finds the members.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::peer::{ClusterId, Fingerprint, Standing};

/// What one machine is told before it looks for the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Names this machine.
    pub machine: [u8; 16],
    /// Stands for the list that all of them must have.
    pub list: [u8; 32],
    /// Machines that begin the cluster together, this one included.
    pub expected: usize,
    /// Whether this is the one that begins it.
    pub is_founder: bool,
}

/// What one round of questions brought.
#[derive(Debug, Clone, Default)]
pub(super) struct Round {
    /// Who said what.
    pub(super) heard: Vec<(SocketAddr, Standing)>,
    /// Who did not, and why not.
    pub(super) silent: Vec<String>,
}

/// What follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// This machine begins the cluster.
    Begin,
    /// It asks a member to be let in.
    Join {
        address: SocketAddr,
        cluster: ClusterId,
        authority: Fingerprint,
    },
    /// It goes on waiting.
    Wait(Waiting),
}

/// What a machine waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Waiting {
    /// So many machines have been heard of those expected.
    Machines { heard: usize, expected: usize },
    /// More machines wait than are expected: others may be members of a cluster that
    /// nobody here hears of.
    Surplus { heard: usize, expected: usize },
    /// The founder, which has not begun yet.
    Founder,
    /// Machines with another list wait, too.
    OtherList { address: SocketAddr },
    /// Two machines would begin.
    TwoFounders { address: SocketAddr },
    /// The machines belong to more than one cluster.
    TwoClusters { first: ClusterId, second: ClusterId },
}

impl Plan {
    /// Decides what follows from a round.
    pub(super) fn decide(&self, round: &Round) -> Decision {
        if let Some(decision) = find_members(round) {
            return decision;
        }
        let mut machines = BTreeSet::from([self.machine]);
        for (address, standing) in &round.heard {
            let Standing::Waits {
                machine,
                plan,
                is_founder,
            } = standing
            else {
                continue;
            };
            let address = *address;
            if *plan != self.list {
                return Decision::Wait(Waiting::OtherList { address });
            }
            if *is_founder && self.is_founder && *machine != self.machine {
                return Decision::Wait(Waiting::TwoFounders { address });
            }
            machines.insert(*machine);
        }
        let (heard, expected) = (machines.len(), self.expected);
        if heard < expected || !round.silent.is_empty() {
            return Decision::Wait(Waiting::Machines { heard, expected });
        }
        if heard > expected {
            return Decision::Wait(Waiting::Surplus { heard, expected });
        }
        if self.is_founder {
            Decision::Begin
        } else {
            Decision::Wait(Waiting::Founder)
        }
    }
}

/// What members that were heard make of it.
fn find_members(round: &Round) -> Option<Decision> {
    let mut clusters = BTreeMap::new();
    for (address, standing) in &round.heard {
        if let Standing::Member { cluster, authority } = standing {
            let name = *cluster.as_bytes();
            clusters
                .entry(name)
                .or_insert((*address, *cluster, *authority));
        }
    }
    let mut clusters = clusters.into_values();
    let (address, cluster, authority) = clusters.next()?;
    Some(match clusters.next() {
        Some((_, second, _)) => Decision::Wait(Waiting::TwoClusters {
            first: cluster,
            second,
        }),
        None => Decision::Join {
            address,
            cluster,
            authority,
        },
    })
}

/// The number at the end of a `name-N` hostname.
#[must_use]
pub fn ordinal_of(hostname: &str) -> Option<u64> {
    let label = hostname.split('.').next().unwrap_or_default();
    let (name, digits) = label.rsplit_once('-')?;
    let number: u64 = digits.parse().ok()?;
    (!name.is_empty() && number.to_string() == digits).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: [u8; 32] = [5; 32];

    fn plan(is_founder: bool) -> Plan {
        Plan {
            machine: [1; 16],
            list: LIST,
            expected: 3,
            is_founder,
        }
    }

    fn at(host: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, host], 5002))
    }

    fn waits(machine: u8) -> (SocketAddr, Standing) {
        let standing = Standing::Waits {
            machine: [machine; 16],
            plan: LIST,
            is_founder: machine == 1,
        };
        (at(machine), standing)
    }

    fn member(host: u8, cluster: &str) -> (SocketAddr, Standing) {
        let standing = Standing::Member {
            cluster: ClusterId::parse(&cluster.repeat(32)).unwrap(),
            authority: Fingerprint::of(b"authority"),
        };
        (at(host), standing)
    }

    fn decide(is_founder: bool, heard: &[(SocketAddr, Standing)]) -> Decision {
        let round = Round {
            heard: heard.to_vec(),
            silent: Vec::new(),
        };
        plan(is_founder).decide(&round)
    }

    #[test]
    fn the_founder_begins_when_everybody_waits_and_nobody_else_ever_does() {
        let all = [waits(1), waits(2), waits(3)];
        assert_eq!(decide(true, &all), Decision::Begin);
        assert_eq!(decide(false, &all), Decision::Wait(Waiting::Founder));
        let missing = Waiting::Machines {
            heard: 2,
            expected: 3,
        };
        assert_eq!(decide(true, &all[..2]), Decision::Wait(missing));
        // The same machine twice is one machine.
        let twice = [waits(1), waits(2), (at(9), waits(2).1)];
        assert!(matches!(decide(true, &twice), Decision::Wait(_)));
        let round = Round {
            heard: all.to_vec(),
            silent: vec!["d:1".to_owned()],
        };
        assert!(matches!(plan(true).decide(&round), Decision::Wait(_)));
    }

    #[test]
    fn nobody_begins_with_more_machines_than_there_are_said_to_be() {
        let surplus = Waiting::Surplus {
            heard: 4,
            expected: 3,
        };
        let all = [waits(1), waits(2), waits(3), waits(4)];
        assert_eq!(decide(true, &all), Decision::Wait(surplus));
        // A cluster is joined by as many as like to.
        let late = [waits(1), waits(2), waits(3), waits(4), member(5, "a")];
        assert!(matches!(decide(true, &late), Decision::Join { .. }));
    }

    #[test]
    fn whoever_hears_of_a_cluster_joins_it_and_of_two_neither() {
        let emptied = [waits(1), waits(3), member(2, "a")];
        assert!(matches!(
            decide(true, &emptied),
            Decision::Join { address, .. } if address == at(2)
        ));
        let torn = [waits(1), member(2, "a"), member(3, "b")];
        let decision = decide(true, &torn);
        assert!(matches!(
            decision,
            Decision::Wait(Waiting::TwoClusters { .. })
        ));
        let whole = [waits(1), member(2, "a"), member(3, "a")];
        assert!(matches!(decide(true, &whole), Decision::Join { .. }));
    }

    #[test]
    fn another_list_and_a_second_founder_are_waited_out() {
        let other = Standing::Waits {
            machine: [3; 16],
            plan: [6; 32],
            is_founder: false,
        };
        let decision = decide(true, &[waits(1), waits(2), (at(3), other)]);
        let expected = Waiting::OtherList { address: at(3) };
        assert_eq!(decision, Decision::Wait(expected));
        let second = Standing::Waits {
            machine: [3; 16],
            plan: LIST,
            is_founder: true,
        };
        let decision = decide(true, &[waits(1), waits(2), (at(3), second)]);
        let expected = Waiting::TwoFounders { address: at(3) };
        assert_eq!(decision, Decision::Wait(expected));
    }

    #[test]
    fn an_ordinal_stands_behind_the_last_dash_of_the_first_label() {
        assert_eq!(ordinal_of("windlass-0"), Some(0));
        assert_eq!(ordinal_of("my-windlass-12.windlass.svc"), Some(12));
        for none in ["windlass", "windlass-", "-1", "w-01", "w-+1", "w-x", ""] {
            assert_eq!(ordinal_of(none), None, "{none}");
        }
    }
}
