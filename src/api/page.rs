//! Paging: the query of a list request and the `Link` to its next page.

use super::failure::Failure;
use crate::base::limits::PAGE_ENTRIES_MAX;
use crate::http::{Query, encode_component};
use crate::oci::ErrorCode;

/// Which part of a list a request wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PageQuery {
    /// Entries in one page, at most `PAGE_ENTRIES_MAX`.
    pub(super) limit: usize,
    /// The page starts behind this entry, which need not exist.
    pub(super) after: Option<String>,
    /// Whether the request named a size, which the next link then repeats.
    is_sized: bool,
}

impl PageQuery {
    /// Reads `n` and `last`.
    ///
    /// - Errors: 400 when `n` is anything but digits; a number above the bound is clamped.
    /// - Source: distribution-spec v1.1, end-8b.
    pub(super) fn read(query: &Query) -> Result<Self, Failure> {
        let limit = query.value("n").map(page_entries).transpose()?;
        Ok(Self {
            limit: limit.unwrap_or(PAGE_ENTRIES_MAX),
            after: query.value("last").map(str::to_owned),
            is_sized: limit.is_some(),
        })
    }

    /// The `Link` value for the page behind `last`.
    pub(super) fn next_link(&self, path: &str, last: &str, extra: &[(&str, &str)]) -> String {
        let mut target = format!("{path}?last={}", encode_component(last));
        let limit = self.is_sized.then(|| self.limit.to_string());
        let limit = limit.as_deref().map(|limit| ("n", limit));
        for (name, value) in limit.iter().chain(extra) {
            target += "&";
            target += name;
            target += "=";
            target += &encode_component(value);
        }
        format!("<{target}>; rel=\"next\"")
    }
}

/// Reads a page size without ever overflowing on a long row of digits.
fn page_entries(text: &str) -> Result<usize, Failure> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        let message = "query parameter `n` is not a whole number";
        return Err(Failure::bad(ErrorCode::Unsupported, message));
    }
    let is_small = text.trim_start_matches('0').len() <= 4;
    let entries = text.parse().unwrap_or(PAGE_ENTRIES_MAX);
    Ok(if is_small {
        entries.min(PAGE_ENTRIES_MAX)
    } else {
        PAGE_ENTRIES_MAX
    })
}
