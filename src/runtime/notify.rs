//! What the service manager is told, when there is one.

use std::time::Duration;

use sd_notify::NotifyState;

/// Says that the node serves. Does nothing without `NOTIFY_SOCKET`.
pub fn notify_ready() {
    send(NotifyState::Ready);
}

/// Says that the node is about to stop. Does nothing without `NOTIFY_SOCKET`.
pub fn notify_stopping() {
    send(NotifyState::Stopping);
}

/// Says that the node is alive; sent by the watchdog thread while every executor moves.
pub(super) fn notify_alive() {
    send(NotifyState::Watchdog);
}

/// How often the service manager wants to hear from us: half of `WATCHDOG_USEC`.
#[must_use]
pub fn notify_watchdog_period() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}

fn send(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}
