//! `[limits]`: how much each client may ask.

use std::num::NonZeroU32;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::check::impossible;
use super::error::ConfigError;

/// A burst when nothing says so: what comes in this many seconds.
const BURST_SECONDS: u32 = 10;
/// A bucket that takes longer than this to fill holds nobody to a rate.
const FILL_SECONDS_MAX: u32 = 60 * 60;
/// Requests are counted in microseconds.
const RATE_PER_SECOND_COUNTS_MAX: u32 = 100_000;

/// `[limits]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsSection {
    /// Networks whose clients are held to nothing.
    pub exempt_networks: Vec<IpNet>,
    /// For each client address.
    pub address: AllowanceSection,
    /// For each user.
    pub subject: AllowanceSection,
}

/// `[limits.address]` and `[limits.subject]`; what is absent is not bounded.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AllowanceSection {
    /// Requests in the long run.
    pub requests_per_second: Option<NonZeroU32>,
    /// Requests at once.
    pub request_burst: Option<NonZeroU32>,
    /// Uploads at a time.
    pub uploads_max: Option<NonZeroU32>,
}

impl AllowanceSection {
    /// How many requests may come at once at such a rate.
    #[must_use]
    pub fn burst(&self, per_second: NonZeroU32) -> NonZeroU32 {
        let burst = NonZeroU32::new(BURST_SECONDS).map(|each| each.saturating_mul(per_second));
        self.request_burst.or(burst).unwrap_or(per_second)
    }

    fn with_every_key() -> Self {
        Self {
            requests_per_second: NonZeroU32::new(100),
            request_burst: NonZeroU32::new(1000),
            uploads_max: NonZeroU32::new(50),
        }
    }
}

impl LimitsSection {
    /// Every key with a value.
    pub(super) fn with_every_key() -> Self {
        Self {
            exempt_networks: Vec::new(),
            address: AllowanceSection::with_every_key(),
            subject: AllowanceSection::with_every_key(),
        }
    }
}

/// Finds the first value that cannot work.
pub(super) fn check(limits: &LimitsSection) -> Result<(), ConfigError> {
    let rates = (
        "limits.address.requests_per_second",
        "limits.address.request_burst",
    );
    check_allowance(&limits.address, rates)?;
    let rates = (
        "limits.subject.requests_per_second",
        "limits.subject.request_burst",
    );
    check_allowance(&limits.subject, rates)
}

fn check_allowance(
    allowance: &AllowanceSection,
    (rate_key, burst_key): (&'static str, &'static str),
) -> Result<(), ConfigError> {
    let Some(rate) = allowance.requests_per_second else {
        let remedy = format!("without `{rate_key}` it bounds nothing");
        return match allowance.request_burst {
            None => Ok(()),
            Some(burst) => Err(impossible(burst_key, burst, remedy)),
        };
    };
    if rate.get() > RATE_PER_SECOND_COUNTS_MAX {
        let remedy = format!("ask for at most {RATE_PER_SECOND_COUNTS_MAX}, or leave it out");
        return Err(impossible(rate_key, rate, remedy));
    }
    let burst = allowance.burst(rate);
    if burst.get() / rate.get() > FILL_SECONDS_MAX {
        let remedy = format!("at most what comes in an hour at `{rate_key}`");
        return Err(impossible(burst_key, burst, remedy));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_text(text: &str) -> Result<(), String> {
        let limits: LimitsSection = toml::from_str(text).unwrap();
        check(&limits).map_err(|error| error.to_string())
    }

    #[test]
    fn what_cannot_work_is_named() {
        for (text, key) in [
            ("address.request_burst = 5", "limits.address.request_burst"),
            ("subject.request_burst = 5", "limits.subject.request_burst"),
            (
                "address.requests_per_second = 100001",
                "limits.address.requests_per_second",
            ),
            (
                "subject = { requests_per_second = 1, request_burst = 3601 }",
                "limits.subject.request_burst",
            ),
        ] {
            let error = check_text(text).expect_err(text);
            assert!(error.starts_with(&format!("`{key}` is ")), "{error}");
        }
        for text in [
            "",
            "address.uploads_max = 1",
            "subject = { requests_per_second = 1, request_burst = 3600 }",
            "address.requests_per_second = 100000",
        ] {
            assert_eq!(check_text(text), Ok(()));
        }
        let none = toml::from_str::<LimitsSection>("address.uploads_max = 0");
        assert!(none.is_err(), "nobody could upload");
    }

    #[test]
    fn a_burst_is_ten_seconds_worth_unless_it_is_said() {
        let burst = |text| {
            let allowance: AllowanceSection = toml::from_str(text).unwrap();
            allowance
                .burst(allowance.requests_per_second.unwrap())
                .get()
        };
        assert_eq!(burst("requests_per_second = 7"), 70);
        assert_eq!(burst("requests_per_second = 7\nrequest_burst = 3"), 3);
    }
}
