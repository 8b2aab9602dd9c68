//! When a node's certificate is made anew.

use std::time::Duration;

use super::authority::{Authority, AuthorityError};
use super::certificate::Credentials;
use crate::base::Clock;
use crate::net::{TlsAuthorities, TlsIdentity, check_identity_in};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// A certificate of the cluster's own authority is made anew so long before it ends:
/// a node that was switched off for a year still comes back with one that holds.
pub(super) const RENEWED_AHEAD: Duration = DAY.saturating_mul(365);
/// Operators are warned so long before a certificate of theirs ends.
const WARNED_AHEAD: Duration = DAY.saturating_mul(14);

/// A new certificate and key for node `node`, once `current` is about to end, or has.
pub fn renewed(
    authority: &Authority,
    node: u64,
    current: &Credentials,
    clock: &Clock,
) -> Result<Option<Credentials>, AuthorityError> {
    if holds_in(current, RENEWED_AHEAD) {
        return Ok(None);
    }
    authority.issue(node, clock).map(Some)
}

/// Whether somebody should bring another certificate soon.
#[must_use]
pub fn ends_soon(current: &Credentials) -> bool {
    !holds_in(current, WARNED_AHEAD)
}

fn holds_in(credentials: &Credentials, ahead: Duration) -> bool {
    let own = TlsIdentity::of_pem(&credentials.chain, &credentials.key);
    let authorities = TlsAuthorities::of_pem(&credentials.authorities);
    match (own, authorities) {
        (Ok(own), Ok(authorities)) => check_identity_in(&own, &authorities, ahead).is_ok(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::identity::{ClusterId, PeerIdentity};

    #[test]
    fn a_certificate_is_made_anew_a_year_before_its_end_and_after_it() {
        let clock = Clock::system();
        let cluster = ClusterId::parse(&"a".repeat(32)).unwrap();
        let authority = Authority::make(cluster, &clock).unwrap();
        let lives = |days: u32| {
            let identity = PeerIdentity { cluster, node: 3 };
            authority.issue_for(identity, &clock, DAY * days).unwrap()
        };
        let renew = |current: &Credentials| renewed(&authority, 3, current, &clock).unwrap();
        assert!(renew(&authority.issue(3, &clock).unwrap()).is_none());
        assert!(renew(&lives(400)).is_none());
        // Certificates begin a day before they are made: the last one has ended.
        for days in [360, 10, 1] {
            let fresh = renew(&lives(days)).unwrap();
            assert!(renew(&fresh).is_none());
        }
        assert!(ends_soon(&lives(10)) && !ends_soon(&lives(360)));
    }
}
