//! One thread for work that would hold an executor up: applying many entries or large
//! ones, syncs of the state, snapshots.

use std::thread;

/// Calls waiting for the worker; further callers wait, which only the few tasks of the
/// one raft core can be.
const QUEUE_CALLS_MAX: usize = 64;

type Call = Box<dyn FnOnce() + Send>;

/// Handle of the worker. The thread ends when the last clone is dropped.
#[derive(Clone, Debug)]
pub(super) struct Worker(flume::Sender<Call>);

impl Worker {
    /// Starts the thread with the CPUs of the caller.
    pub(super) fn spawn() -> std::io::Result<Self> {
        let (sender, receiver) = flume::bounded::<Call>(QUEUE_CALLS_MAX);
        let name = "state-worker".to_owned();
        let thread = thread::Builder::new().name(name).spawn(move || {
            while let Ok(call) = receiver.recv() {
                call();
            }
        })?;
        // Detached: it owns nothing that outlives its queue.
        drop(thread);
        Ok(Self(sender))
    }

    /// Runs `call` there and returns what it returned; `None` when it panicked.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = flume::bounded(1);
        let guarded = move || {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(call));
            if let Ok(value) = result {
                drop(answer.send(value));
            }
        };
        self.0.send_async(Box::new(guarded)).await.ok()?;
        answered.recv_async().await.ok()
    }
}
