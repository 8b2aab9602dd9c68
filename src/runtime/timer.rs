//! Waiting for time on an executor.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use glommio::timer::Timer;
use pin_project_lite::pin_project;

/// The time was up before the future was ready; the future is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not finished within {limit:?}")]
pub struct Elapsed {
    /// How long it was given.
    pub limit: Duration,
}

/// Waits; the executor serves others meanwhile.
pub async fn sleep(duration: Duration) {
    Timer::new(duration).await;
}

/// Gives `future` at most `limit`.
///
/// The timer is armed when the future first has to wait, so that a future that is
/// ready at once costs nothing.
///
/// - Errors: `Elapsed`, with the future dropped.
pub fn timeout<F: Future>(limit: Duration, future: F) -> Timeout<F> {
    Timeout {
        future,
        timer: None,
        limit,
    }
}

pin_project! {
    /// See [`timeout`].
    #[must_use = "futures do nothing unless awaited"]
    pub struct Timeout<F> {
        #[pin]
        future: F,
        timer: Option<Timer>,
        limit: Duration,
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(context) {
            return Poll::Ready(Ok(output));
        }
        let timer = this.timer.get_or_insert_with(|| Timer::new(*this.limit));
        Pin::new(timer)
            .poll(context)
            .map(|_| Err(Elapsed { limit: *this.limit }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Clock;
    use crate::runtime::run_alone;

    #[test]
    fn timeout_lets_a_ready_future_through_and_cuts_a_waiting_one() {
        run_alone(|| async {
            let limit = Duration::from_millis(20);
            assert_eq!(timeout(limit, async { 7 }).await, Ok(7));
            let before = Clock::system().now();
            let cut = timeout(limit, std::future::pending::<()>()).await;
            assert_eq!(cut, Err(Elapsed { limit }));
            assert!(before.elapsed() >= limit);
        });
    }

    #[test]
    fn sleep_takes_at_least_its_time() {
        run_alone(|| async {
            let before = Clock::system().now();
            sleep(Duration::from_millis(15)).await;
            assert!(before.elapsed() >= Duration::from_millis(15));
        });
    }
}
