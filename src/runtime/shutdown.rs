//! The wish to stop, known to every executor and thread.

use std::sync::Arc;

use tokio::sync::watch;

/// Says once, to everybody, that the process should stop. Cheap to clone; crosses
/// threads; a request is never taken back.
#[derive(Debug, Clone)]
pub struct Shutdown(Arc<watch::Sender<bool>>);

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// A token nobody has triggered.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// Asks everybody to stop. Asking again changes nothing.
    pub fn request(&self) {
        self.0.send_replace(true);
    }

    /// Whether somebody has asked.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until somebody asks; ready at once afterwards. Any number of tasks on
    /// any executor may wait.
    pub async fn wait(&self) {
        let mut receiver = self.0.subscribe();
        // The sender lives in `self`, so the channel cannot close meanwhile.
        drop(receiver.wait_for(|is_requested| *is_requested).await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{run_alone, spawn};

    #[test]
    fn a_request_from_another_thread_wakes_every_waiter() {
        run_alone(|| async {
            let shutdown = Shutdown::new();
            let waiters: Vec<_> = (0..3)
                .map(|_| {
                    let shutdown = shutdown.clone();
                    spawn(async move { shutdown.wait().await })
                })
                .collect();
            assert!(!shutdown.is_requested());
            let other = shutdown.clone();
            std::thread::spawn(move || other.request());
            for waiter in waiters {
                waiter.await.unwrap();
            }
            assert!(shutdown.is_requested());
            shutdown.wait().await;
        });
    }
}
