//! An operation that the kernel already works on.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::error::Error;
use crate::runtime::{JoinHandle, spawn};

/// A disk operation under way since it was asked for. Await it for its outcome.
///
/// Dropping it forgets the outcome only: the operation goes on, with its memory
/// and its share of the pool, until the kernel is done.
#[must_use = "the outcome of a disk operation must be looked at"]
pub struct Pending<T> {
    task: JoinHandle<Result<T, Error>>,
    operation: &'static str,
    path: PathBuf,
}

impl<T: 'static> Pending<T> {
    pub(super) fn start(
        operation: &'static str,
        path: PathBuf,
        work: impl Future<Output = Result<T, Error>> + 'static,
    ) -> Self {
        Self {
            task: spawn(work).detach(),
            operation,
            path,
        }
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(Pin::new(&mut self.task).poll(context));
        Poll::Ready(
            outcome.unwrap_or_else(|panic| Err(Error::of_task(self.operation, &self.path, &panic))),
        )
    }
}
