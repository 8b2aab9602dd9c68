//! The one date format of HTTP.

const DAY_NAMES: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTH_NAMES: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
const DAY_SECONDS: u64 = 24 * 60 * 60;
/// Days in 400 years: the calendar repeats exactly after them, which keeps the
/// loops over years short.
const ERA_DAYS: u64 = 400 * 365 + 97;

/// Writes a moment as an IMF-fixdate: `Sun, 06 Nov 1994 08:49:37 GMT`.
///
/// - Source: RFC 9110, section 5.6.7.
#[must_use]
pub fn http_date(unix_seconds: u64) -> String {
    let (days, seconds) = (unix_seconds / DAY_SECONDS, unix_seconds % DAY_SECONDS);
    let (year, month, day) = civil_date(days);
    format!(
        "{}, {day:02} {} {year:04} {:02}:{:02}:{:02} GMT",
        name(&DAY_NAMES, days % 7),
        name(&MONTH_NAMES, month - 1),
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
    )
}

/// Writes a moment as JSON has it: `1994-11-06T08:49:37Z`.
///
/// - Source: RFC 3339, section 5.6.
#[must_use]
pub fn utc_time(unix_seconds: u64) -> String {
    let (days, seconds) = (unix_seconds / DAY_SECONDS, unix_seconds % DAY_SECONDS);
    let (year, month, day) = civil_date(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
    )
}

/// Year, month from 1 and day from 1 of a day counted from 1970-01-01.
const fn civil_date(days: u64) -> (u64, u64, u64) {
    let (mut year, mut day) = (1970, days);
    year += day / ERA_DAYS * 400;
    day %= ERA_DAYS;
    while day >= year_days(year) {
        day -= year_days(year);
        year += 1;
    }
    let mut month = 1;
    while day >= month_days(year, month) {
        day -= month_days(year, month);
        month += 1;
    }
    (year, month, day + 1)
}

const fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

const fn year_days(year: u64) -> u64 {
    if is_leap(year) { 366 } else { 365 }
}

const fn month_days(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn name<'a>(names: &[&'a str], index: u64) -> &'a str {
    let index = usize::try_from(index).unwrap_or_default();
    names.get(index).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments_are_written_as_in_the_rfc() {
        let rows = [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_827_696, "Tue, 29 Feb 2000 12:34:56 GMT"),
            (1_709_251_199, "Thu, 29 Feb 2024 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        ];
        for (unix_seconds, expected) in rows {
            assert_eq!(http_date(unix_seconds), expected);
        }
        assert_eq!(utc_time(784_111_777), "1994-11-06T08:49:37Z");
    }
}
