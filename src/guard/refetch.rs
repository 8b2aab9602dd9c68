//! When keys are fetched, and how long they count. Pure.

use std::time::{Duration, Instant};

use crate::base::limits::KEYS_RETRY_MAX;

/// What an operator decides about the keys of issuers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyPace {
    /// Keys are not fetched more often than this, whatever the issuer says.
    pub fresh_min: Duration,
    /// Nor less often; also where the issuer says nothing.
    pub fresh_max: Duration,
    /// Between two fetches for the sake of tokens with an unknown key.
    pub ask_pause: Duration,
    /// How long keys still count that should have been fetched anew.
    pub stale_max: Duration,
}

/// The plan of one issuer. Owned by the thread that fetches its keys.
#[derive(Debug)]
pub(super) struct Schedule {
    pace: KeyPace,
    /// When the last fetch began.
    began: Option<Instant>,
    /// When the next one is due.
    due: Instant,
    /// When the keys in force count no more.
    ends: Option<Instant>,
    /// Fetches that failed since the last that did not.
    failures: u32,
}

impl Schedule {
    /// The first fetch is due at once.
    pub(super) const fn new(pace: KeyPace, now: Instant) -> Self {
        Self {
            pace,
            began: None,
            due: now,
            ends: None,
            failures: 0,
        }
    }

    /// When there is something to do without being asked.
    pub(super) fn wakes(&self) -> Instant {
        self.ends.map_or(self.due, |end| end.min(self.due))
    }

    /// Whether a fetch is due.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now >= self.due
    }

    /// From when on a token may have keys fetched.
    pub(super) fn opens(&self) -> Option<Instant> {
        self.began.map(|began| began + self.pace.ask_pause)
    }

    /// Whether a token may have keys fetched.
    pub(super) fn is_open(&self, now: Instant) -> bool {
        self.opens().is_none_or(|opens| now >= opens)
    }

    /// A fetch begins.
    pub(super) const fn begin(&mut self, now: Instant) {
        self.began = Some(now);
    }

    /// There are keys, which the issuer lets be kept for `fresh`.
    pub(super) fn succeed(&mut self, now: Instant, fresh: Option<Duration>) {
        let KeyPace {
            fresh_min,
            fresh_max,
            stale_max,
            ..
        } = self.pace;
        let fresh = fresh.unwrap_or(fresh_max).max(fresh_min).min(fresh_max);
        self.failures = 0;
        self.due = now + fresh;
        self.ends = Some(self.due + stale_max);
    }

    /// There are none; they are asked for again after a pause that grows.
    pub(super) fn fail(&mut self, now: Instant) {
        let factor = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        let pause = self.pace.ask_pause.saturating_mul(factor);
        self.failures = self.failures.saturating_add(1);
        self.due = now + pause.min(KEYS_RETRY_MAX.max(self.pace.ask_pause));
    }

    /// Whether the keys in force count no more; says so once.
    pub(super) fn end(&mut self, now: Instant) -> bool {
        self.ends.take_if(|end| now >= *end).is_some()
    }
}

/// How long an answer may be kept, by its `Cache-Control`, of which others have used
/// up `age_seconds`; `None` where it does not say.
///
/// - Source: RFC 9111, sections 4.2 and 5.2.2.
pub(super) fn freshness(cache_control: &str, age_seconds: u64) -> Option<Duration> {
    let mut directives = cache_control.split(',').map(str::trim);
    let is_named = |directive: &str, name: &str| directive.eq_ignore_ascii_case(name);
    if directives
        .clone()
        .any(|each| is_named(each, "no-store") || is_named(each, "no-cache"))
    {
        return Some(Duration::ZERO);
    }
    directives.find_map(|directive| {
        let (name, seconds) = directive.split_once('=')?;
        let seconds = seconds.trim().trim_matches('"');
        let is_number = seconds.bytes().all(|byte| byte.is_ascii_digit());
        // A number that is too large is a long time.
        let seconds = seconds.parse().unwrap_or(u64::MAX);
        let left = Duration::from_secs(seconds.saturating_sub(age_seconds));
        (is_named(name.trim(), "max-age") && is_number).then_some(left)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Clock;

    const PACE: KeyPace = KeyPace {
        fresh_min: Duration::from_secs(60),
        fresh_max: Duration::from_secs(3600),
        ask_pause: Duration::from_secs(10),
        stale_max: Duration::from_secs(7200),
    };

    fn before(instant: Instant) -> Instant {
        instant.checked_sub(Duration::from_secs(1)).unwrap()
    }

    fn schedule() -> (Schedule, Instant) {
        let now = Clock::hand_moved().now();
        (Schedule::new(PACE, now), now)
    }

    #[test]
    fn keys_are_kept_as_long_as_the_issuer_says_within_bounds() {
        for (said, seconds) in [
            (None, 3600),
            (Some(0), 60),
            (Some(600), 600),
            (Some(u64::MAX), 3600),
        ] {
            let (mut schedule, now) = schedule();
            assert!(schedule.is_due(now));
            schedule.begin(now);
            schedule.succeed(now, said.map(Duration::from_secs));
            let due = now + Duration::from_secs(seconds);
            assert!(!schedule.is_due(before(due)) && schedule.is_due(due));
            assert_eq!(schedule.wakes(), due);
        }
    }

    #[test]
    fn unknown_keys_have_them_fetched_once_in_a_while() {
        let (mut schedule, now) = schedule();
        assert!(schedule.is_open(now));
        schedule.begin(now);
        schedule.succeed(now, None);
        assert!(!schedule.is_open(before(now + PACE.ask_pause)));
        assert!(schedule.is_open(now + PACE.ask_pause));
    }

    #[test]
    fn keys_end_a_while_after_they_should_have_been_fetched() {
        let (mut schedule, now) = schedule();
        schedule.succeed(now, Some(PACE.fresh_min));
        let due = now + PACE.fresh_min;
        schedule.fail(due);
        let end = due + PACE.stale_max;
        assert!(!schedule.end(before(end)));
        schedule.fail(before(end));
        assert_eq!(schedule.wakes(), end);
        assert!(schedule.end(end) && !schedule.end(end));
    }

    #[test]
    fn an_issuer_that_is_down_is_asked_less_and_less_often() {
        let (mut schedule, now) = schedule();
        let mut pauses = Vec::new();
        for _ in 0..40 {
            schedule.fail(now);
            pauses.push((schedule.wakes() - now).as_secs());
        }
        assert_eq!(pauses.get(..6), Some([10, 20, 40, 80, 160, 300].as_slice()));
        assert_eq!(pauses.last(), Some(&300));
        schedule.succeed(now, None);
        schedule.fail(now);
        assert_eq!(schedule.wakes() - now, PACE.ask_pause);
    }

    #[test]
    fn cache_control_is_read_as_far_as_it_matters() {
        let seconds = |text| freshness(text, 10).map(|time| time.as_secs());
        for (text, expected) in [
            ("public, max-age=3600", Some(3590)),
            ("MAX-AGE = \"60\"", Some(50)),
            ("max-age=5", Some(0)),
            ("max-age=99999999999999999999999", Some(u64::MAX - 10)),
            ("max-age=3600, no-cache", Some(0)),
            ("no-store", Some(0)),
            ("s-maxage=3600", None),
            ("max-age=-1", None),
            ("max-age=1.5", None),
            ("max-age", None),
            ("", None),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
    }
}
