//! Counters of who was let in.

use super::exposition::Page;
use super::family::Family;
use super::label::{AccessDecision, Limit, LoginEnd, TokenCheck};
use super::value::Counter;

/// What the guards of all shards count.
#[derive(Debug, Default)]
pub struct AccessMetrics {
    /// Requests that were let in or not.
    pub decisions: Family<AccessDecision, Counter>,
    /// Tokens that requests showed.
    pub tokens: Family<TokenCheck, Counter>,
    /// Passwords that were checked, or not.
    pub logins: Family<LoginEnd, Counter>,
    /// Requests that were refused because their client had as much as it may have.
    pub limited: Family<Limit, Counter>,
}

impl AccessMetrics {
    pub(super) fn write(&self, page: &mut Page) {
        page.counters(
            "windlass_access_decisions_total",
            "Requests of clients, by whether they were let in.",
            &self.decisions,
        );
        page.counters(
            "windlass_access_tokens_total",
            "Tokens that requests showed, by what came of them.",
            &self.tokens,
        );
        page.counters(
            "windlass_access_logins_total",
            "Passwords that were not known to be right, by what came of them.",
            &self.logins,
        );
        page.counters(
            "windlass_access_limited_total",
            "Requests answered 429 because their client or user had as much as it may have.",
            &self.limited,
        );
    }
}
