//! Byte ranges: what a pull asks for, and where an upload says its bytes belong.

/// The `Range` header of a pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeRequest;

/// What a `Range` header selects from content of a known size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ranged {
    /// Everything: the header is absent, malformed, of another unit, or asks for
    /// several ranges.
    Whole,
    /// One run of bytes, not empty; answered 206.
    Part {
        /// First byte.
        start: u64,
        /// One past the last byte; at most the size.
        end_exclusive: u64,
    },
    /// No byte of the content; answered 416 with `bytes */size`.
    Unsatisfiable,
}

impl RangeRequest {
    /// Reads a `Range` value against content of `size_bytes`.
    ///
    /// - Shape: `bytes=a-b`, `bytes=a-`, `bytes=-n`; an end past the size clamps.
    /// - Source: RFC 9110, section 14; `b < a` is unsatisfiable, which is stricter.
    #[must_use]
    pub fn parse(header: &str, size_bytes: u64) -> Ranged {
        let Some((unit, set)) = header.split_once('=') else {
            return Ranged::Whole;
        };
        let Some((first, last)) = set.trim_ascii().split_once('-') else {
            return Ranged::Whole;
        };
        if !unit.trim_ascii().eq_ignore_ascii_case("bytes") {
            return Ranged::Whole;
        }
        let (start, end_exclusive) = match (parse_clamped(first), parse_clamped(last)) {
            (Some(start), Some(last)) => (start, last.saturating_add(1)),
            (Some(start), None) if last.is_empty() => (start, u64::MAX),
            (None, Some(suffix)) if first.is_empty() => {
                (size_bytes.saturating_sub(suffix), u64::MAX)
            }
            _ => return Ranged::Whole,
        };
        let end_exclusive = end_exclusive.min(size_bytes);
        let is_reversed = matches!((parse_clamped(first), parse_clamped(last)),
            (Some(first), Some(last)) if last < first);
        if start >= end_exclusive || is_reversed {
            return Ranged::Unsatisfiable;
        }
        Ranged::Part {
            start,
            end_exclusive,
        }
    }
}

/// The `Content-Range` header of an upload's chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// First byte.
    pub start: u64,
    /// One past the last byte; more than `start`.
    pub end_exclusive: u64,
}

impl ContentRange {
    /// Reads `0-99`, the form of the distribution spec, and `bytes 0-99/100`,
    /// the form of RFC 9110; `None` for anything else.
    #[must_use]
    pub fn parse(header: &str) -> Option<Self> {
        let text = header.trim_ascii();
        let text = match text.split_at_checked(5) {
            Some((unit, rest)) if unit.eq_ignore_ascii_case("bytes") => {
                rest.strip_prefix([' ', '='])?.trim_ascii()
            }
            _ => text,
        };
        let (range, size) = text.split_once('/').unwrap_or((text, "*"));
        let (first, last) = range.split_once('-')?;
        let (start, last) = (parse_exact(first)?, parse_exact(last)?);
        let is_size_right = size == "*" || parse_exact(size).is_some_and(|size| last < size);
        if last < start || !is_size_right {
            return None;
        }
        Some(Self {
            start,
            end_exclusive: last.checked_add(1)?,
        })
    }

    /// Bytes in the range.
    #[must_use]
    pub const fn size_bytes(&self) -> u64 {
        self.end_exclusive - self.start
    }
}

/// Digits only; too large a number is the largest one.
fn parse_clamped(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u64::MAX))
}

/// Digits only, and no more than fit.
fn parse_exact(text: &str) -> Option<u64> {
    parse_clamped(text).filter(|_| text.parse::<u64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn part(start: u64, end_exclusive: u64) -> Ranged {
        Ranged::Part {
            start,
            end_exclusive,
        }
    }

    #[test]
    fn single_ranges_select_and_clamp() {
        let rows = [
            ("bytes=0-0", part(0, 1)),
            ("bytes=2-4", part(2, 5)),
            ("Bytes=2-", part(2, 10)),
            ("bytes=-3", part(7, 10)),
            ("bytes=-30", part(0, 10)),
            ("bytes=9-99", part(9, 10)),
            ("bytes=0-99999999999999999999999", part(0, 10)),
            ("bytes=10-", Ranged::Unsatisfiable),
            ("bytes=10-20", Ranged::Unsatisfiable),
            ("bytes=99999999999999999999999-", Ranged::Unsatisfiable),
            ("bytes=5-4", Ranged::Unsatisfiable),
            ("bytes=20-15", Ranged::Unsatisfiable),
            ("bytes=-0", Ranged::Unsatisfiable),
        ];
        for (header, expected) in rows {
            assert_eq!(RangeRequest::parse(header, 10), expected, "{header}");
        }
        assert_eq!(RangeRequest::parse("bytes=0-", 0), Ranged::Unsatisfiable);
        assert_eq!(RangeRequest::parse("bytes=-1", 0), Ranged::Unsatisfiable);
        let far = 5_000_000_000;
        assert_eq!(
            RangeRequest::parse("bytes=4999999999-", far),
            part(far - 1, far)
        );
    }

    #[test]
    fn other_headers_select_everything() {
        for header in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=0-1,3-4",
            "bytes=+1-2",
            "bytes=1",
            "items=0-1",
            "bytes=0-1-2",
            "bytes=--1",
        ] {
            assert_eq!(RangeRequest::parse(header, 10), Ranged::Whole, "{header}");
        }
    }

    #[test]
    fn both_forms_of_a_content_range_are_read() {
        let expected = Some(ContentRange {
            start: 5,
            end_exclusive: 10,
        });
        for header in ["5-9", "bytes 5-9/10", "bytes 5-9/*", "bytes=5-9", " 5-9 "] {
            assert_eq!(ContentRange::parse(header), expected, "{header}");
        }
        for header in [
            "",
            "5",
            "5-",
            "-9",
            "9-5",
            "a-b",
            "bytes5-9",
            "bytes */10",
            "5-9/9",
            "5-9/x",
            "0-18446744073709551615",
            "0-18446744073709551616",
            "+5-9",
            "5--9",
        ] {
            assert_eq!(ContentRange::parse(header), None, "{header}");
        }
    }
}
