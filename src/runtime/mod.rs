//! Where code runs: executors and their CPUs, tasks, timers, off-shard work,
//! and how the process starts, is watched and stops.
//!
//! One executor per shard and one for consensus, each a thread of its own with
//! a glommio loop. Nothing here is `Send` unless it says so. The known faults of
//! glommio 0.9 are worked round here: a keep-alive timer on every executor, the
//! probe that fixes how a device is polled, panics that never leave a task, and
//! blocking calls whose panic never kills their thread.
//!
//! Floor: machinery.
//! Uses: base, telemetry
//! Crates: glommio, io_uring, rustix, tokio

mod background;
mod core_dumps;
mod executor;
mod fatal;
mod handle;
mod hostname;
mod in_flight;
mod notify;
mod off_shard;
mod plan;
mod preflight;
mod probe;
mod shutdown;
mod signals;
mod task;
mod timer;
mod topology;
mod watchdog;

pub use background::{Background, BackgroundError};
pub use core_dumps::{CoreDumpsError, allow_core_dumps};
pub use executor::{ExecutorError, ExecutorHandle, ExecutorOptions, run_alone, spawn_executor};
pub use fatal::{EXIT_FAULT_STATUS, end_process, end_unfit};
pub use hostname::hostname;
pub use in_flight::{InFlight, InFlightGuard};
pub use notify::{notify_ready, notify_stopping, notify_watchdog_period};
pub use off_shard::{OffShardPanic, off_shard};
pub use plan::{Place, PlanError, ShardPlan, Wishes};
pub use preflight::{EXIT_CONFIGURATION_STATUS, Preflight, PreflightError, preflight};
pub use shutdown::Shutdown;
pub use signals::{Signals, SignalsError};
pub use task::{
    JoinHandle, Panicked, Task, Unguarded, panic_message, spawn, spawn_bulk, spawn_prompt,
    spawn_unguarded, yield_if_needed, yield_turn,
};
pub use timer::{Elapsed, sleep, timeout};
pub use topology::{Topology, TopologyError};
pub use watchdog::{Beat, Watchdog};

#[cfg(test)]
#[path = "process_test.rs"]
mod process_tests;
