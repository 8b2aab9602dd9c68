//! Which executor runs on which CPU: pure rules over a [`Topology`].

use std::fmt;

use super::topology::Topology;

/// From this many CPUs on, one of them is given to consensus alone.
const DEDICATED_RAFT_CPUS_MIN: usize = 4;

/// What the operator asked for; `None` leaves it to the rules.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Data shards.
    pub shards: Option<usize>,
    /// CPU of the raft core.
    pub raft_cpu: Option<usize>,
}

/// Where one executor runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On this CPU only.
    Cpu(usize),
    /// Wherever the kernel likes, within the CPUs of the process.
    Anywhere,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu(cpu) => write!(f, "CPU {cpu}"),
            Self::Anywhere => f.write_str("any CPU"),
        }
    }
}

/// Why a wish cannot be met.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A node without shards serves nobody.
    #[error("runtime.shards is 0; ask for at least 1, or leave it out")]
    NoShards,
    /// Two shards on one CPU only take turns.
    #[error("runtime.shards is {shards}, but this process may use only {cpus} CPUs")]
    TooManyShards {
        /// Shards asked for.
        shards: usize,
        /// CPUs there are.
        cpus: usize,
    },
    /// The CPU for consensus is outside of the affinity mask.
    #[error("runtime.raft_cpu is {cpu}, but this process may only use the CPUs {allowed:?}")]
    ForeignCpu {
        /// CPU asked for.
        cpu: usize,
        /// CPUs there are.
        allowed: Vec<usize>,
    },
}

/// One place per executor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardPlan {
    /// One entry per data shard, in shard order.
    pub shards: Vec<Place>,
    /// The raft core.
    pub raft: Place,
    /// CPUs of the threads that block: the journal, fjall's workers, off-shard
    /// work. Those without a shard when there are any, else all.
    pub background_cpus: Vec<usize>,
}

impl ShardPlan {
    /// Places every executor.
    ///
    /// With `DEDICATED_RAFT_CPUS_MIN` usable CPUs one is dedicated to the raft
    /// core and each other one gets a shard; with fewer every CPU gets a shard
    /// and the raft core floats over all of them. A wish overrides either half.
    /// When a quota grants less than the CPUs we see, nothing is pinned.
    ///
    /// - Errors: a wish that this machine cannot meet.
    pub fn of(topology: &Topology, wishes: Wishes) -> Result<Self, PlanError> {
        let usable = topology.usable_cpus();
        let shards = match wishes.shards {
            Some(0) => return Err(PlanError::NoShards),
            Some(shards) if shards > topology.cpus.len() => {
                return Err(PlanError::TooManyShards {
                    shards,
                    cpus: topology.cpus.len(),
                });
            }
            Some(shards) => shards,
            None if usable >= DEDICATED_RAFT_CPUS_MIN => usable - 1,
            None => usable.max(1),
        };
        if let Some(cpu) = wishes.raft_cpu
            && !topology.cpus.contains(&cpu)
        {
            return Err(PlanError::ForeignCpu {
                cpu,
                allowed: topology.cpus.clone(),
            });
        }
        if topology.is_shared() && wishes.raft_cpu.is_none() {
            return Ok(Self::floating(topology, shards));
        }
        Ok(Self::pinned(topology, shards, wishes.raft_cpu))
    }

    fn floating(topology: &Topology, shards: usize) -> Self {
        Self {
            shards: vec![Place::Anywhere; shards],
            raft: Place::Anywhere,
            background_cpus: topology.cpus.clone(),
        }
    }

    fn pinned(topology: &Topology, shards: usize, raft_wish: Option<usize>) -> Self {
        let has_spare = shards < topology.cpus.len();
        let raft_cpu = raft_wish.or_else(|| topology.cpus.last().copied().filter(|_| has_spare));
        // The shards keep off the raft core while there are CPUs enough.
        let is_for_shards = |cpu: &usize| !has_spare || Some(*cpu) != raft_cpu;
        let cpus: Vec<usize> = topology
            .cpus
            .iter()
            .copied()
            .filter(is_for_shards)
            .collect();
        let shard_cpus: Vec<usize> = cpus.into_iter().take(shards).collect();
        let without_shard: Vec<usize> = topology
            .cpus
            .iter()
            .copied()
            .filter(|cpu| !shard_cpus.contains(cpu))
            .collect();
        Self {
            raft: raft_cpu.map_or(Place::Anywhere, Place::Cpu),
            background_cpus: if without_shard.is_empty() {
                topology.cpus.clone()
            } else {
                without_shard
            },
            shards: shard_cpus.into_iter().map(Place::Cpu).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Place::{Anywhere, Cpu};
    use super::*;

    fn plan(cpus: &[usize], quota_percent: Option<u64>, wishes: Wishes) -> ShardPlan {
        let topology = Topology {
            cpus: cpus.to_vec(),
            quota_percent,
        };
        ShardPlan::of(&topology, wishes).unwrap()
    }

    fn expected(shards: &[Place], raft: Place, background_cpus: &[usize]) -> ShardPlan {
        ShardPlan {
            shards: shards.to_vec(),
            raft,
            background_cpus: background_cpus.to_vec(),
        }
    }

    #[test]
    fn the_default_dedicates_a_raft_cpu_from_four_on() {
        let none = Wishes::default();
        assert_eq!(plan(&[0], None, none), expected(&[Cpu(0)], Anywhere, &[0]));
        assert_eq!(
            plan(&[0, 1], None, none),
            expected(&[Cpu(0), Cpu(1)], Anywhere, &[0, 1])
        );
        assert_eq!(
            plan(&[0, 1, 2], None, none),
            expected(&[Cpu(0), Cpu(1), Cpu(2)], Anywhere, &[0, 1, 2])
        );
        assert_eq!(
            plan(&[0, 1, 2, 3], None, none),
            expected(&[Cpu(0), Cpu(1), Cpu(2)], Cpu(3), &[3])
        );
    }

    #[test]
    fn a_cpuset_with_holes_is_used_as_it_is() {
        assert_eq!(
            plan(&[3, 5, 9, 11], None, Wishes::default()),
            expected(&[Cpu(3), Cpu(5), Cpu(9)], Cpu(11), &[11])
        );
    }

    #[test]
    fn a_quota_below_the_cpus_unpins_everything() {
        assert_eq!(
            plan(&[0, 1, 2, 3], Some(150), Wishes::default()),
            expected(&[Anywhere, Anywhere], Anywhere, &[0, 1, 2, 3])
        );
    }

    #[test]
    fn wishes_override_either_half() {
        let one_shard = Wishes {
            shards: Some(1),
            raft_cpu: None,
        };
        assert_eq!(
            plan(&[0, 1], None, one_shard),
            expected(&[Cpu(0)], Cpu(1), &[1])
        );
        let raft_first = Wishes {
            shards: Some(1),
            raft_cpu: Some(0),
        };
        assert_eq!(
            plan(&[0, 1], None, raft_first),
            expected(&[Cpu(1)], Cpu(0), &[0])
        );
        let all_shards = Wishes {
            shards: Some(4),
            raft_cpu: Some(2),
        };
        assert_eq!(
            plan(&[0, 1, 2, 3], None, all_shards),
            expected(&[Cpu(0), Cpu(1), Cpu(2), Cpu(3)], Cpu(2), &[0, 1, 2, 3])
        );
    }

    #[test]
    fn a_wish_the_machine_cannot_meet_is_refused() {
        let topology = Topology {
            cpus: vec![0, 1],
            quota_percent: None,
        };
        let refuse = |shards, raft_cpu| {
            ShardPlan::of(&topology, Wishes { shards, raft_cpu }).expect_err("must be refused")
        };
        assert_eq!(refuse(Some(0), None), PlanError::NoShards);
        assert_eq!(
            refuse(Some(3), None),
            PlanError::TooManyShards { shards: 3, cpus: 2 }
        );
        assert_eq!(
            refuse(None, Some(7)),
            PlanError::ForeignCpu {
                cpu: 7,
                allowed: vec![0, 1]
            }
        );
    }
}
