//! Counters of who was let in.

use super::exposition::Page;
use super::family::Family;
use super::label::{AccessDecision, KeyFetchEnd, Limit, LoginEnd, TokenCheck};
use super::value::{Counter, Gauge};

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
    /// Fetches of the keys of issuers.
    pub issuer_key_fetches: Family<KeyFetchEnd, Counter>,
    /// When the keys were fetched that were fetched longest ago; 0 without any.
    pub issuer_keys_fetched_unix_seconds: Gauge,
    /// Issuers whose keys are not there, or too old.
    pub issuers_without_keys: Gauge,
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
        page.counters(
            "windlass_issuer_key_fetches_total",
            "Fetches of the keys of token issuers, by how they ended.",
            &self.issuer_key_fetches,
        );
        page.gauge(
            "windlass_issuer_keys_fetched_timestamp_seconds",
            "When the keys of the issuer were fetched that answered longest ago; 0 before that.",
            &self.issuer_keys_fetched_unix_seconds,
        );
        page.gauge(
            "windlass_issuers_without_keys",
            "Issuers whose tokens are refused because their keys are not there or too old.",
            &self.issuers_without_keys,
        );
    }
}
