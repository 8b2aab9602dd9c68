//! Tasks of one executor.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::FutureExt;

use super::executor::{Queue, context};
use super::fatal::end_process;
use super::handle::{Handle, start};

/// The task's code panicked; the executor goes on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a task panicked: {message}")]
pub struct Panicked {
    /// What the panic said.
    pub message: Box<str>,
}

/// A running task. Await it for its output; dropping it cancels the task at its
/// next await point; [`Task::detach`] lets it run on.
#[must_use = "dropping a task cancels it"]
pub struct Task<T> {
    handle: Handle<Result<T, Panicked>>,
    is_detached: bool,
}

/// Handle of a detached task. Await it for the output; dropping it changes nothing.
pub struct JoinHandle<T>(Handle<Result<T, Panicked>>);

/// Handle of a task of [`spawn_unguarded`]. Await it for the output; dropping it changes
/// nothing.
pub struct Unguarded<T>(Handle<T>);

/// Starts a task in the queue of the caller.
///
/// - Panics: outside of an executor. A panic of the task itself is caught and
///   handed to whoever awaits it; on an executor whose panics are fatal it ends
///   the process.
pub fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
    Task::of(start(caught(future), None))
}

/// As [`spawn`], for tasks whose panics nobody may outlive: one unwinds the executor.
pub fn spawn_unguarded<T: 'static>(future: impl Future<Output = T> + 'static) -> Unguarded<T> {
    Unguarded(start(future, None))
}

/// Starts a task in the bulk queue: work that may wait behind small requests.
pub fn spawn_bulk<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
    spawn_in(Queue::Bulk, future)
}

/// Starts a task in the prompt queue: work that somebody waits for right now.
pub fn spawn_prompt<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
    spawn_in(Queue::Prompt, future)
}

fn spawn_in<T: 'static>(queue: Queue, future: impl Future<Output = T> + 'static) -> Task<T> {
    let queue = context(|context| context.queue(queue));
    Task::of(start(caught(future), queue))
}

/// Gives the executor back when another queue or the kernel waits for it. Cheap
/// enough for every step of a loop.
pub async fn yield_if_needed() {
    glommio::yield_if_needed().await;
}

/// Gives the other tasks of the queue a turn, whatever time is left: for steps after
/// which others have waited long enough.
pub async fn yield_turn() {
    futures_lite::future::yield_now().await;
}

async fn caught<T>(future: impl Future<Output = T>) -> Result<T, Panicked> {
    match AssertUnwindSafe(future).catch_unwind().await {
        Ok(output) => Ok(output),
        Err(payload) => {
            let message = panic_message(payload.as_ref());
            let fatal = context(|context| context.is_panic_fatal.then(|| context.name.clone()));
            if let Some(name) = fatal.flatten() {
                end_process(&format!("executor {name}: a task panicked: {message}"));
            }
            tracing::error!(%message, "a task panicked");
            Err(Panicked { message })
        }
    }
}

/// The text of a panic, when it has one.
#[must_use]
pub fn panic_message(payload: &(dyn Any + Send)) -> Box<str> {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").into()
}

fn cancelled<T>() -> Result<T, Panicked> {
    Err(Panicked {
        message: "cancelled".into(),
    })
}

impl<T> Task<T> {
    const fn of(handle: Handle<Result<T, Panicked>>) -> Self {
        Self {
            handle,
            is_detached: false,
        }
    }

    /// Lets the task run to its end without anybody waiting for it.
    pub fn detach(mut self) -> JoinHandle<T> {
        self.is_detached = true;
        JoinHandle(self.handle.clone())
    }

    /// Stops the task at its next await point and waits until it is gone.
    /// Returns its output when it was already finished.
    pub async fn cancel(self) -> Option<Result<T, Panicked>> {
        let handle = self.handle.clone();
        drop(self);
        handle.await
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        if !self.is_detached {
            self.handle.cancel();
        }
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, Panicked>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let output = ready!(Pin::new(&mut self.handle).poll(context));
        Poll::Ready(output.unwrap_or_else(cancelled))
    }
}

impl<T> Future for Unguarded<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let output = ready!(Pin::new(&mut self.0).poll(context));
        Poll::Ready(output.expect("invariant: nobody cancels it, and it is awaited once"))
    }
}

impl<T> JoinHandle<T> {
    /// Asks the task to stop at its next await point.
    pub fn cancel(&self) {
        self.0.cancel();
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, Panicked>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let output = ready!(Pin::new(&mut self.0).poll(context));
        Poll::Ready(output.unwrap_or_else(cancelled))
    }
}
