//! openraft's runtime on a glommio executor: tasks, time, and its channels.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use glommio::timer::Timer;
use openraft_rt::OptionalSend;

use crate::runtime;

use super::channels::{MpscChannels, Mutex, OneshotChannels, WatchChannels};

/// The runtime. Every task stays in the task queue it was started from.
#[derive(Debug)]
pub(super) struct GlommioRuntime {
    executor: glommio::LocalExecutor,
}

/// Handle of a running task. Dropping it changes nothing: openraft drops handles.
pub(super) struct JoinHandle<T>(runtime::Unguarded<T>);

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").finish_non_exhaustive()
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let output = Pin::new(&mut self.0).poll(context);
        output.map(Ok)
    }
}

/// A timer that openraft waits for.
#[derive(Debug)]
pub(super) struct Sleep(Timer);

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(context).map(drop)
    }
}

/// The deadline passed first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("deadline elapsed")]
pub(super) struct Elapsed;

pin_project_lite::pin_project! {
    /// A future with a deadline; a future that is ready wins over the deadline.
    pub(super) struct Timeout<F> {
        #[pin]
        future: F,
        sleep: Sleep,
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(context) {
            return Poll::Ready(Ok(output));
        }
        Pin::new(this.sleep).poll(context).map(|()| Err(Elapsed))
    }
}

impl<F> fmt::Debug for Timeout<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeout").finish_non_exhaustive()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "openraft names std's clock as its runtime's clock"
)]
fn now() -> Instant {
    Instant::now()
}

impl openraft_rt::AsyncRuntime for GlommioRuntime {
    type JoinError = Infallible;
    type JoinHandle<T: OptionalSend + 'static> = JoinHandle<T>;
    type Sleep = Sleep;
    type Instant = Instant;
    type TimeoutError = Elapsed;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = Timeout<T>;
    type ThreadLocalRng = rand::rngs::ThreadRng;
    type Mpsc = MpscChannels;
    type Watch = WatchChannels;
    type Oneshot = OneshotChannels;
    type Mutex<T: OptionalSend + 'static> = Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        JoinHandle(runtime::spawn_unguarded(future))
    }

    fn sleep(duration: Duration) -> Sleep {
        Sleep(Timer::new(duration))
    }

    fn sleep_until(deadline: Instant) -> Sleep {
        Sleep(Timer::new(deadline.saturating_duration_since(now())))
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Timeout<F> {
        Timeout {
            future,
            sleep: Self::sleep(duration),
        }
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: Instant,
        future: F,
    ) -> Timeout<F> {
        Timeout {
            future,
            sleep: Self::sleep_until(deadline),
        }
    }

    /// A panic unwinds through the executor and never becomes a join error.
    fn is_panic(_: &Self::JoinError) -> bool {
        false
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        rand::rng()
    }

    fn new(_threads: usize) -> Self {
        let executor = glommio::LocalExecutorBuilder::default().make();
        Self {
            executor: executor.expect("invariant: a process that may use io_uring has executors"),
        }
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.executor.run(future)
    }

    /// A thread per call: openraft wants a `Send` future and uses it rarely.
    fn spawn_blocking<F, T>(call: F) -> impl Future<Output = Result<T, io::Error>> + Send
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || drop(sender.send(call())));
        async { receiver.await.map_err(io::Error::other) }
    }
}

#[cfg(test)]
mod tests {
    use super::GlommioRuntime;

    #[test]
    fn the_runtime_passes_the_suite_of_openraft() {
        openraft_rt::testing::Suite::<GlommioRuntime>::test_all();
    }
}
