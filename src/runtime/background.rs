//! Threads that block, kept off the shards' CPUs.

use std::io;
use std::thread::{Builder, JoinHandle};

use rustix::thread::{CpuSet, sched_setaffinity};

use super::plan::ShardPlan;

/// Where blocking threads run. Cheap to clone; crosses threads.
#[derive(Debug, Clone)]
pub struct Background {
    cpus: Vec<usize>,
}

/// A blocking thread could not be started.
#[derive(Debug, thiserror::Error)]
#[error("start thread {name}")]
pub struct BackgroundError {
    name: String,
    source: io::Error,
}

impl Background {
    /// The background CPUs of `plan`.
    #[must_use]
    pub fn new(plan: &ShardPlan) -> Self {
        Self {
            cpus: plan.background_cpus.clone(),
        }
    }

    /// Starts a thread on the background CPUs. Threads that `work` starts in turn
    /// inherit the CPUs, which is how fjall's workers get there: open it in here.
    pub fn spawn<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<T>, BackgroundError> {
        let mut set = CpuSet::new();
        for cpu in &self.cpus {
            set.set(*cpu);
        }
        Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                // Only a matter of speed: a kernel that refuses leaves us everywhere.
                if let Err(error) = sched_setaffinity(None, &set) {
                    tracing::debug!(%error, "a background thread keeps all CPUs");
                }
                work()
            })
            .map_err(|source| BackgroundError {
                name: name.to_owned(),
                source,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{Topology, Wishes};

    #[test]
    fn a_background_thread_and_its_children_stay_on_its_cpus() {
        let topology = Topology::detect().unwrap();
        let mut plan = ShardPlan::of(&topology, Wishes::default()).unwrap();
        plan.background_cpus = topology.cpus.iter().copied().take(1).collect();
        let seen = Background::new(&plan)
            .spawn("test", || {
                let child = std::thread::spawn(|| Topology::detect().unwrap().cpus);
                child.join().unwrap()
            })
            .unwrap();
        assert_eq!(seen.join().unwrap(), plan.background_cpus);
    }
}
