//! How much of the node each client may have.

use std::net::IpAddr;

use super::admit::{Guard, Refused};
use super::pass::Pass;
use crate::quota::{Caller, Exceeded, Quotas, UploadPlaces};
use crate::telemetry::AccessDecision;

impl Guard {
    /// The same, which holds clients to what they may have of the whole node.
    #[must_use]
    pub fn limited(mut self, quotas: Quotas) -> Self {
        self.quotas = quotas;
        self
    }

    /// A place for an upload of a request that was let in.
    ///
    /// - Errors: `Limited`, when its client or its user has as many as it may have.
    pub fn begin_upload(&self, pass: &Pass, client: IpAddr) -> Result<UploadPlaces, Refused> {
        let taken = self.quotas.upload(client, pass.caller().as_ref());
        taken.map_err(|exceeded| self.limited_by(exceeded).into())
    }

    /// Counts what was exceeded.
    pub(super) fn limited_by(&self, exceeded: Exceeded) -> Exceeded {
        self.metrics.access.limited.of(exceeded.limit).count();
        exceeded
    }

    /// Counts a request of an address, whatever it asks for.
    pub fn count_address(&self, client: IpAddr) -> Result<(), Exceeded> {
        let counted = self.quotas.request_from(client, &self.clock);
        counted.map_err(|exceeded| {
            self.metrics
                .access
                .decisions
                .of(AccessDecision::Limited)
                .count();
            self.limited_by(exceeded)
        })
    }

    /// Counts a request of a caller that is known.
    pub(super) fn count_request(
        &self,
        caller: Option<&Caller<'_>>,
        client: IpAddr,
    ) -> Result<(), Exceeded> {
        let counted = caller.map_or(Ok(()), |caller| {
            self.quotas.request_of(caller, client, &self.clock)
        });
        counted.map_err(|exceeded| self.limited_by(exceeded))
    }

    /// Counts a wrong secret that nobody can guess: a right one is always let in.
    pub(super) fn misled(&self, client: IpAddr) -> Result<(), Exceeded> {
        let counted = self.quotas.misled(client, &self.clock);
        counted.map_err(|exceeded| self.limited_by(exceeded))
    }

    /// Whether a login may be looked at, after what was wrong before.
    pub(super) fn may_log_in(&self, user: &str, client: IpAddr) -> Result<(), Exceeded> {
        let looked = self.quotas.login(user, client, &self.clock);
        looked.map_err(|exceeded| self.limited_by(exceeded))
    }
}
