//! Handles of tasks, apart from those of glommio.
//!
//! Other threads hold wakers of tasks and drop them when they like. In glommio 0.9.0 such
//! a drop takes the last reference away and then clones the waker, to have the task's own
//! thread free it. Between the two a handle that is dropped by that thread finds no
//! reference left, and frees the task as well: a loop like that of the test below ended by
//! SIGSEGV with glommio's handles, and a node under load once by a double free. A task whose handle has
//! gone has one end only, whoever drops what. So glommio's handle goes as soon as the task
//! is started, and what it is for is done here.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use glommio::TaskQueueHandle;

/// What the handles of a task share. The task only knows where it is: the waker in it
/// keeps the task, which would keep itself otherwise.
struct Shared<T> {
    output: RefCell<Option<T>>,
    is_over: Cell<bool>,
    /// Whether glommio's handle has gone. It is there during the first poll.
    is_alone: Cell<bool>,
    /// Has the task look whether it is cancelled.
    task: RefCell<Option<Waker>>,
    waiting: RefCell<Option<Waker>>,
}

/// A handle of a task. Await it for its output, once; `None` when it was cancelled.
/// Dropping it changes nothing.
pub(super) struct Handle<T> {
    shared: Rc<Shared<T>>,
    is_cancelled: Rc<Cell<bool>>,
}

/// Starts a task in a queue, or in that of the caller.
///
/// - Panics: outside of an executor.
pub(super) fn start<F>(future: F, queue: Option<TaskQueueHandle>) -> Handle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let shared = Rc::new(Shared {
        output: RefCell::new(None),
        is_over: Cell::new(false),
        is_alone: Cell::new(false),
        task: RefCell::new(None),
        waiting: RefCell::new(None),
    });
    let is_cancelled = Rc::new(Cell::new(false));
    let work = Work {
        future: Some(future),
        is_cancelled: Rc::clone(&is_cancelled),
        ending: Ending(Rc::downgrade(&shared)),
    };
    let task = match queue {
        None => glommio::spawn_local(work),
        Some(queue) => glommio::spawn_local_into(work, queue)
            .expect("invariant: an executor keeps its queues as long as it runs"),
    };
    drop(task.detach());
    shared.is_alone.set(true);
    if shared.is_over.get() {
        drop(shared.task.take());
    }
    Handle {
        shared,
        is_cancelled,
    }
}

impl<T> Handle<T> {
    /// Has the task's future dropped the next time it would be polled.
    pub(super) fn cancel(&self) {
        self.is_cancelled.set(true);
        // One that was never polled is going to be, and one that has ended has no waker.
        let task = self.shared.task.borrow().clone();
        if let Some(task) = task {
            task.wake();
        }
    }
}

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        Self {
            shared: Rc::clone(&self.shared),
            is_cancelled: Rc::clone(&self.is_cancelled),
        }
    }
}

impl<T> Future for Handle<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        if self.shared.is_over.get() {
            return Poll::Ready(self.shared.output.take());
        }
        keep(&self.shared.waiting, context.waker());
        Poll::Pending
    }
}

fn keep(kept: &RefCell<Option<Waker>>, waker: &Waker) {
    let is_kept = kept
        .borrow()
        .as_ref()
        .is_some_and(|kept| kept.will_wake(waker));
    if !is_kept {
        // What was kept may end something when it is dropped: not while it is borrowed.
        drop(kept.replace(Some(waker.clone())));
    }
}

pin_project_lite::pin_project! {
    /// What glommio runs.
    struct Work<F: Future> {
        #[pin]
        future: Option<F>,
        is_cancelled: Rc<Cell<bool>>,
        ending: Ending<F::Output>,
    }
}

impl<F: Future> Future for Work<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        if let Some(shared) = this.ending.0.upgrade() {
            // Before anybody else has one: with it glommio's handle is not the last to go,
            // when the first poll is the only one.
            keep(&shared.task, context.waker());
        }
        let polled = match this.future.as_mut().as_pin_mut() {
            Some(future) if !this.is_cancelled.get() => future.poll(context).map(Some),
            Some(_) | None => Poll::Ready(None),
        };
        match polled {
            Poll::Ready(output) => {
                this.future.set(None);
                this.ending.end(output);
                Poll::Ready(())
            }
            Poll::Pending => {
                if this.is_cancelled.get() {
                    // It was cancelled while it ran.
                    context.waker().wake_by_ref();
                }
                Poll::Pending
            }
        }
    }
}

/// Tells whoever waits, also when the executor ends before the task.
struct Ending<T>(Weak<Shared<T>>);

impl<T> Ending<T> {
    fn end(&self, output: Option<T>) {
        let Some(shared) = self.0.upgrade() else {
            return;
        };
        if shared.is_over.replace(true) {
            return;
        }
        drop(shared.output.replace(output));
        if shared.is_alone.get() {
            drop(shared.task.take());
        }
        if let Some(waiting) = shared.waiting.take() {
            waiting.wake();
        }
    }
}

impl<T> Drop for Ending<T> {
    fn drop(&mut self) {
        self.end(None);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::runtime::{run_alone, sleep};

    /// Says when it is dropped.
    struct Guard(Rc<Cell<bool>>);

    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }

    #[test]
    fn an_output_reaches_whoever_waits_before_or_after_the_end() {
        run_alone(|| async {
            let early = start(async { 1 }, None);
            assert_eq!(early.await, Some(1));
            let late = start(async { 2 }, None);
            sleep(Duration::from_millis(1)).await;
            assert!(late.shared.is_over.get());
            assert_eq!(late.await, Some(2));
        });
    }

    #[test]
    fn a_cancelled_task_is_dropped_and_has_no_output() {
        run_alone(|| async {
            let is_dropped = Rc::new(Cell::new(false));
            let guard = Guard(Rc::clone(&is_dropped));
            let waiting = start(
                async move {
                    let _guard = guard;
                    std::future::pending::<()>().await;
                },
                None,
            );
            sleep(Duration::from_millis(1)).await;
            assert!(!is_dropped.get());
            waiting.cancel();
            assert_eq!(waiting.clone().await, None);
            assert!(is_dropped.get());
            let ended = start(async { 4 }, None);
            sleep(Duration::from_millis(1)).await;
            ended.cancel();
            assert_eq!(ended.await, Some(4));
        });
    }

    #[test]
    fn a_task_may_cancel_itself() {
        run_alone(|| async {
            let own: Rc<RefCell<Option<Handle<()>>>> = Rc::default();
            let me = Rc::clone(&own);
            let task = start(
                async move {
                    sleep(Duration::from_millis(1)).await;
                    me.borrow().as_ref().unwrap().cancel();
                    std::future::pending::<()>().await;
                },
                None,
            );
            *own.borrow_mut() = Some(task.clone());
            assert_eq!(task.await, None);
        });
    }

    #[test]
    fn wakers_that_other_threads_drop_as_tasks_end_free_nothing_twice() {
        const TASKS: usize = 300_000;
        let (sender, wakers) = flume::bounded::<Waker>(64);
        // It does not sleep, so that wakers go while their tasks end.
        let dropping = std::thread::spawn(move || {
            while !matches!(wakers.try_recv(), Err(flume::TryRecvError::Disconnected)) {
                std::hint::spin_loop();
            }
        });
        run_alone(move || async move {
            for number in 0..TASKS {
                let sender = sender.clone();
                let task = start(
                    std::future::poll_fn(move |context| {
                        sender.send(context.waker().clone()).unwrap();
                        (0..number % 64).for_each(|_| std::hint::spin_loop());
                        Poll::Ready(number)
                    }),
                    None,
                );
                assert_eq!(task.await, Some(number));
            }
        });
        dropping.join().unwrap();
    }
}
