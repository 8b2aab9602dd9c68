//! What every client may ask of this node, and how much of it each has taken.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::buckets::Buckets;
use super::places::{Place, Places};
use crate::base::Clock;
use crate::base::limits::{
    ADDRESS_LOGIN_FAILURE_PERIOD, ADDRESS_LOGIN_FAILURES_MAX, KNOWN_ADDRESS_LIFE,
    LOGIN_FAILURE_SETS, RATE_SETS, SUBJECT_LOGIN_FAILURE_PERIOD, SUBJECT_LOGIN_FAILURES_MAX,
    UPLOAD_SETS,
};
use crate::telemetry::Limit;

/// How long a client is asked to wait for an upload of its own to end.
const UPLOAD_WAIT: Duration = Duration::from_secs(1);

/// What operators decide; by default nobody is held to anything.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// For each client address.
    pub address: Allowance,
    /// For each user, wherever it comes from.
    pub subject: Allowance,
    /// Networks whose clients are held to nothing.
    pub exempt: Vec<IpNet>,
}

/// How much one client may have; what is absent is not bounded.
#[derive(Debug, Clone, Copy, Default)]
pub struct Allowance {
    /// Requests.
    pub rate: Option<Rate>,
    /// Uploads at a time.
    pub uploads_max: Option<u32>,
}

/// How often something may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// In the long run, each second.
    pub per_second: u32,
    /// At once.
    pub burst: u32,
}

/// Whose names a name is one of: the same name is another client elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Namespace<'a> {
    /// Users of this registry.
    Users,
    /// Robots of this registry.
    Robots,
    /// Owners of certificates.
    Certificates,
    /// Whom this issuer of tokens or identities knows.
    Issuer(&'a str),
}

/// Who is held to what a subject may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Caller<'a> {
    /// The name of the user.
    pub name: &'a str,
    /// Whose name that is.
    pub namespace: Namespace<'a>,
    /// Whom a signed identity names beside it.
    pub subject: Option<&'a str>,
}

/// A client has as much as it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exceeded {
    /// Of what.
    pub limit: Limit,
    /// When it may ask again.
    pub wait: Duration,
}

/// What one upload takes up; given back when this is dropped.
#[derive(Debug, Default)]
pub struct UploadPlaces {
    _address: Option<Place>,
    _subject: Option<Place>,
}

/// What every client of this node may ask. Shared by all shards; cheap to clone.
#[derive(Debug, Clone)]
pub struct Quotas(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Makes names of clients, so that nobody can choose whose set it is in.
    names: RandomState,
    began: Instant,
    exempt: Vec<IpNet>,
    address: Tables,
    subject: Tables,
    address_failures: Buckets,
    subject_failures: Buckets,
    /// Empty buckets: where users have logged in.
    known: Buckets,
}

/// Where one kind of client is counted; absent where nothing is bounded.
#[derive(Debug)]
struct Tables {
    rate: Option<Buckets>,
    uploads: Option<Arc<Places>>,
}

impl Default for Quotas {
    fn default() -> Self {
        Self::new(&Options::default())
    }
}

impl Quotas {
    /// Nobody has taken anything. What is not bounded takes no memory.
    #[must_use]
    pub fn new(options: &Options) -> Self {
        let failures =
            |period, failures_max| Buckets::new(LOGIN_FAILURE_SETS, period, failures_max);
        Self(Arc::new(Inner {
            names: RandomState::new(),
            began: Clock::system().now(),
            exempt: options.exempt.clone(),
            address: Tables::new(options.address),
            subject: Tables::new(options.subject),
            address_failures: failures(ADDRESS_LOGIN_FAILURE_PERIOD, ADDRESS_LOGIN_FAILURES_MAX),
            subject_failures: failures(SUBJECT_LOGIN_FAILURE_PERIOD, SUBJECT_LOGIN_FAILURES_MAX),
            known: failures(KNOWN_ADDRESS_LIFE, 1),
        }))
    }

    /// Counts a request of an address.
    pub fn request_from(&self, client: IpAddr, clock: &Clock) -> Result<(), Exceeded> {
        let Some(rate) = &self.0.address.rate else {
            return Ok(());
        };
        if self.is_exempt(client) {
            return Ok(());
        }
        let taken = rate.take(self.name_of(client), self.now_us(clock));
        taken.map_err(exceeded(Limit::AddressRate))
    }

    /// Counts a request of a user.
    pub fn request_of(
        &self,
        caller: &Caller<'_>,
        client: IpAddr,
        clock: &Clock,
    ) -> Result<(), Exceeded> {
        let Some(rate) = &self.0.subject.rate else {
            return Ok(());
        };
        if self.is_exempt(client) {
            return Ok(());
        }
        let name = self.0.names.hash_one(caller);
        let taken = rate.take(name, self.now_us(clock));
        taken.map_err(exceeded(Limit::SubjectRate))
    }

    /// Takes a place for an upload of an address, and of a user where there is one.
    pub fn upload(
        &self,
        client: IpAddr,
        caller: Option<&Caller<'_>>,
    ) -> Result<UploadPlaces, Exceeded> {
        let (address, subject) = (&self.0.address.uploads, &self.0.subject.uploads);
        if (address.is_none() && subject.is_none()) || self.is_exempt(client) {
            return Ok(UploadPlaces::default());
        }
        let take = |places: &Arc<Places>, name, limit| {
            let wait = UPLOAD_WAIT;
            places.take(name).ok_or(Exceeded { limit, wait })
        };
        let of_address = address
            .as_ref()
            .map(|places| take(places, self.name_of(client), Limit::AddressUploads))
            .transpose()?;
        let of_subject = subject
            .as_ref()
            .zip(caller)
            .map(|(places, caller)| {
                let name = self.0.names.hash_one(caller);
                take(places, name, Limit::SubjectUploads)
            })
            .transpose()?;
        Ok(UploadPlaces {
            _address: of_address,
            _subject: of_subject,
        })
    }

    /// Whether a password may be shown: not after many wrong ones from that address, and
    /// not after many for that user, unless the user has logged in from there.
    pub fn login(&self, user: &str, client: IpAddr, clock: &Clock) -> Result<(), Exceeded> {
        if self.is_exempt(client) {
            return Ok(());
        }
        let now_us = self.now_us(clock);
        let address = self.name_of(client);
        let looked = self.0.address_failures.look(address, now_us);
        looked.map_err(exceeded(Limit::AddressLogins))?;
        let looked = self
            .0
            .subject_failures
            .look(self.0.names.hash_one(user), now_us);
        match looked {
            Err(wait) if !self.is_known(user, address, now_us) => {
                Err(exceeded(Limit::SubjectLogins)(wait))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Counts a password that was shown.
    pub fn logged_in(&self, user: &str, client: IpAddr, clock: &Clock, is_right: bool) {
        if self.is_exempt(client) {
            return;
        }
        let now_us = self.now_us(clock);
        let address = self.name_of(client);
        if is_right {
            let known = self.0.names.hash_one((user, address));
            // Already known is as good.
            let _ = self.0.known.take(known, now_us);
            return;
        }
        let user = self.0.names.hash_one(user);
        // Several may be under way when the last one is counted.
        let _ = self.0.address_failures.take(address, now_us);
        let _ = self.0.subject_failures.take(user, now_us);
    }

    /// Counts a secret that nobody can guess and that was wrong: only where it came from,
    /// so that nobody keeps others from showing theirs.
    ///
    /// - Errors: there were too many before.
    pub fn misled(&self, client: IpAddr, clock: &Clock) -> Result<(), Exceeded> {
        if self.is_exempt(client) {
            return Ok(());
        }
        let failures = &self.0.address_failures;
        let taken = failures.take(self.name_of(client), self.now_us(clock));
        taken.map_err(exceeded(Limit::AddressLogins))
    }

    fn is_known(&self, user: &str, address: u64, now_us: u64) -> bool {
        let known = self.0.names.hash_one((user, address));
        self.0.known.look(known, now_us).is_err()
    }

    fn is_exempt(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        self.0
            .exempt
            .iter()
            .any(|network| network.contains(&client))
    }

    /// What a client is counted under: its IPv4 address, or the upper half of its IPv6
    /// address, because a single customer is given all of the lower half.
    fn name_of(&self, client: IpAddr) -> u64 {
        match client.to_canonical() {
            IpAddr::V4(address) => self.0.names.hash_one((4_u8, u64::from(address.to_bits()))),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments().map(u64::from);
                self.0
                    .names
                    .hash_one((6_u8, a << 48 | b << 32 | c << 16 | d))
            }
        }
    }

    fn now_us(&self, clock: &Clock) -> u64 {
        let since = clock.now().saturating_duration_since(self.0.began);
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }
}

impl Tables {
    fn new(allowance: Allowance) -> Self {
        let rate = |rate: Rate| {
            let interval = Duration::from_secs(1) / rate.per_second.max(1);
            Buckets::new(RATE_SETS, interval, rate.burst)
        };
        let uploads = |uploads_max| Arc::new(Places::new(UPLOAD_SETS, uploads_max));
        Self {
            rate: allowance.rate.map(rate),
            uploads: allowance.uploads_max.map(uploads),
        }
    }
}

const fn exceeded(limit: Limit) -> impl Fn(Duration) -> Exceeded {
    move |wait| Exceeded { limit, wait }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOB: Caller<'_> = Caller {
        name: "bob",
        namespace: Namespace::Users,
        subject: None,
    };

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn quotas(allowance: Allowance) -> (Quotas, Clock) {
        let options = Options {
            address: allowance,
            subject: allowance,
            exempt: vec!["10.9.0.0/16".parse().unwrap()],
        };
        (Quotas::new(&options), Clock::hand_moved())
    }

    fn rate(per_second: u32, burst: u32) -> Allowance {
        let rate = Some(Rate { per_second, burst });
        Allowance {
            rate,
            uploads_max: None,
        }
    }

    #[test]
    fn addresses_of_one_network_are_one_client() {
        for (left, right, is_same) in [
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true),
            ("2001:db8:1:2::1", "2001:db8:1:3::1", false),
            ("10.0.0.1", "10.0.0.2", false),
            ("10.0.0.1", "::ffff:10.0.0.1", true),
            ("0.0.0.0", "::1", false),
        ] {
            let (quotas, clock) = quotas(rate(1, 1));
            let ask = |text| quotas.request_from(address(text), &clock);
            assert_eq!(ask(left), Ok(()));
            assert_eq!(ask(right).is_err(), is_same, "{left} {right}");
        }
    }

    #[test]
    fn an_address_is_told_when_to_come_back() {
        let (quotas, clock) = quotas(rate(2, 3));
        let ask = || quotas.request_from(address("10.0.0.1"), &clock);
        for _ in 0..3 {
            assert_eq!(ask(), Ok(()));
        }
        let wait = Duration::from_millis(500);
        let limit = Limit::AddressRate;
        assert_eq!(ask(), Err(Exceeded { limit, wait }));
        clock.advance(wait);
        assert_eq!(ask(), Ok(()));
        assert!(ask().is_err());
    }

    #[test]
    fn a_user_has_one_bucket_from_everywhere_and_an_identity_one_for_each_job() {
        let (quotas, clock) = quotas(rate(1, 1));
        let ask = |caller, from| quotas.request_of(&caller, address(from), &clock);
        assert_eq!(ask(BOB, "10.0.0.1"), Ok(()));
        let refused = ask(BOB, "10.0.0.2").unwrap_err();
        assert_eq!(refused.limit, Limit::SubjectRate);
        let job = |subject| Caller {
            name: "gitlab",
            namespace: Namespace::Issuer("https://ci.example"),
            subject: Some(subject),
        };
        assert_eq!(ask(job("a"), "10.0.0.1"), Ok(()));
        assert_eq!(ask(job("b"), "10.0.0.1"), Ok(()));
        assert!(ask(job("a"), "10.0.0.1").is_err());
        for namespace in [
            Namespace::Robots,
            Namespace::Certificates,
            Namespace::Issuer("a"),
            Namespace::Issuer("b"),
        ] {
            let other = Caller { namespace, ..BOB };
            assert_eq!(ask(other, "10.0.0.1"), Ok(()), "{namespace:?}");
            assert!(ask(other, "10.0.0.1").is_err(), "{namespace:?}");
        }
    }

    #[test]
    fn exempt_networks_are_held_to_nothing() {
        let allowance = Allowance {
            uploads_max: Some(1),
            ..rate(1, 1)
        };
        let (quotas, clock) = quotas(allowance);
        for client in ["10.9.1.2", "::ffff:10.9.1.2"].map(address) {
            let held = [(); 5].map(|()| quotas.upload(client, Some(&BOB)));
            assert!(held.iter().all(Result::is_ok));
            for _ in 0..200 {
                assert_eq!(quotas.request_from(client, &clock), Ok(()));
                assert_eq!(quotas.request_of(&BOB, client, &clock), Ok(()));
                quotas.logged_in("bob", client, &clock, false);
                assert_eq!(quotas.login("bob", client, &clock), Ok(()));
            }
        }
    }

    #[test]
    fn uploads_are_bounded_by_address_and_by_user() {
        let (quotas, _) = quotas(Allowance {
            rate: None,
            uploads_max: Some(2),
        });
        let upload = |from, caller| quotas.upload(address(from), caller);
        let first = upload("10.0.0.1", Some(&BOB)).unwrap();
        let second = upload("10.0.0.1", None).unwrap();
        let refused = upload("10.0.0.1", None).unwrap_err();
        assert_eq!(refused.limit, Limit::AddressUploads);
        let third = upload("10.0.0.2", Some(&BOB)).unwrap();
        let refused = upload("10.0.0.3", Some(&BOB)).unwrap_err();
        assert_eq!(refused.limit, Limit::SubjectUploads);
        // What was refused has left nothing behind.
        drop((first, second, third));
        let held = [(); 2].map(|()| upload("10.0.0.3", Some(&BOB)));
        assert!(held.iter().all(Result::is_ok));
    }

    #[test]
    fn wrong_passwords_from_one_address_are_bounded() {
        let (quotas, clock) = quotas(Allowance::default());
        let (guesser, other) = (address("10.0.0.1"), address("10.0.0.2"));
        for number in 0..ADDRESS_LOGIN_FAILURES_MAX {
            let user = format!("user-{number}");
            assert_eq!(quotas.login(&user, guesser, &clock), Ok(()));
            quotas.logged_in(&user, guesser, &clock, false);
        }
        let refused = quotas.login("bob", guesser, &clock).unwrap_err();
        assert_eq!(refused.limit, Limit::AddressLogins);
        assert_eq!(refused.wait, ADDRESS_LOGIN_FAILURE_PERIOD);
        assert_eq!(quotas.login("bob", other, &clock), Ok(()));
        clock.advance(ADDRESS_LOGIN_FAILURE_PERIOD);
        assert_eq!(quotas.login("bob", guesser, &clock), Ok(()));
    }

    /// Names of users that share a set, whose table is full, are not known for that.
    #[test]
    fn a_full_table_makes_nobody_known_and_refuses_nobody() {
        let (quotas, clock) = quotas(Allowance::default());
        for number in 0..40_000_u32 {
            let from = IpAddr::from(number.to_be_bytes());
            quotas.logged_in("somebody", from, &clock, true);
            quotas.logged_in("nobody", from, &clock, false);
        }
        for number in 0..1000_u32 {
            let from = IpAddr::from((1 << 31 | number).to_be_bytes());
            assert!(!quotas.is_known("bob", quotas.name_of(from), quotas.now_us(&clock)));
            assert_eq!(quotas.login("bob", from, &clock), Ok(()));
        }
    }

    #[test]
    fn a_user_whose_password_is_guessed_still_logs_in_where_it_did_before() {
        let (quotas, clock) = quotas(Allowance::default());
        let at_home = address("192.0.2.1");
        quotas.logged_in("bob", at_home, &clock, true);
        for number in 0..SUBJECT_LOGIN_FAILURES_MAX {
            let guesser = IpAddr::from(number.to_be_bytes());
            assert_eq!(quotas.login("bob", guesser, &clock), Ok(()));
            quotas.logged_in("bob", guesser, &clock, false);
        }
        let elsewhere = address("192.0.2.2");
        let refused = quotas.login("bob", elsewhere, &clock).unwrap_err();
        assert_eq!(refused.limit, Limit::SubjectLogins);
        assert_eq!(quotas.login("bob", at_home, &clock), Ok(()));
        assert_eq!(quotas.login("eve", elsewhere, &clock), Ok(()));
        clock.advance(SUBJECT_LOGIN_FAILURE_PERIOD);
        assert_eq!(quotas.login("bob", elsewhere, &clock), Ok(()));
    }
}
