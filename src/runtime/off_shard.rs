//! Blocking calls, on threads beside the shard.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::task::panic_message;

/// The closure panicked on its off-shard thread; the thread lives on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("off-shard work panicked: {message}")]
pub struct OffShardPanic {
    /// What the panic said.
    pub message: Box<str>,
}

/// Runs `work` on one of this executor's `OFF_SHARD_THREADS`; the shard serves
/// others meanwhile. Costs about 10 µs.
///
/// A panic may not escape on that thread: glommio would lose the thread, hang this
/// future and panic the shard at its next rename. The result travels by a channel,
/// because glommio leaks the result of a future that was dropped.
///
/// - Errors: the closure panicked.
/// - Cancel: the closure may still run to its end; its result is then dropped.
pub async fn off_shard<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, OffShardPanic> {
    let (sender, receiver) = flume::bounded(1);
    let guarded = move || {
        let outcome = catch_unwind(AssertUnwindSafe(work)).map_err(|payload| OffShardPanic {
            message: panic_message(payload.as_ref()),
        });
        // Nobody receives when the future was dropped; the result goes with it.
        drop(sender.send(outcome));
    };
    glommio::executor().spawn_blocking(guarded).await;
    receiver
        .try_recv()
        .expect("invariant: the closure has sent before its call finished")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    use crate::runtime::{run_alone, sleep, timeout};

    #[test]
    fn off_shard_survives_more_panics_than_it_has_threads() {
        run_alone(|| async {
            for _ in 0..8 {
                let panicked = off_shard(|| -> () { panic!("on purpose") }).await;
                assert_eq!(panicked.unwrap_err().message.as_ref(), "on purpose");
            }
            assert_eq!(off_shard(|| 7).await, Ok(7));
        });
    }

    #[test]
    fn off_shard_drops_the_result_of_a_cancelled_call() {
        run_alone(|| async {
            let witness = Arc::new(());
            let (open, gate) = flume::bounded::<()>(1);
            let held = Arc::clone(&witness);
            let call = off_shard(move || {
                let _ = gate.recv();
                held
            });
            assert!(timeout(Duration::from_millis(5), call).await.is_err());
            drop(open);
            for _ in 0..1000 {
                if Arc::strong_count(&witness) == 1 {
                    return;
                }
                sleep(Duration::from_millis(5)).await;
            }
            panic!("the result of a cancelled call is still held");
        });
    }
}
