//! Lists from a view, page by page. A page is a key range: it costs what it
//! returns, however long the list is.

use bytes::Bytes;

use super::event::Event;
use super::key;
use super::query::repository_of;
use super::record::{BlobRecord, StateError, TagRecord, decode_referrer, read};
use super::view::View;
use crate::base::limits::{REFERRERS_PAGE_BYTES_MAX, SCANNED_REFERRERS_MAX};
use crate::base::{CodecError, Reader};
use crate::oci::{Digest, Repository, Tag};

/// Part of a list, in key order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// At most as many as were asked for.
    pub entries: Vec<T>,
    /// Whether entries follow the last one. Never set on an empty page.
    pub more: bool,
}

/// Which part of a referrers list is asked for.
#[derive(Debug, Clone, Copy)]
pub struct ReferrerQuery<'a> {
    /// Only this artifact type.
    pub artifact_type: Option<&'a str>,
    /// Only what follows this digest.
    pub after: Option<&'a Digest>,
    /// Most entries; further bounded by `REFERRERS_PAGE_BYTES_MAX`.
    pub limit: usize,
}

/// Part of a referrers list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReferrerPage {
    /// Descriptors as JSON.
    pub descriptors: Vec<Bytes>,
    /// What to pass as `after` for the rest, when there may be one. A page may
    /// be short, even empty, and yet have one: a filter looks at no more than
    /// `SCANNED_REFERRERS_MAX` entries at a time.
    pub next: Option<Digest>,
}

/// Tags of a repository, in case-insensitive order, behind `after`, which need
/// not be a tag.
pub fn tags(
    view: &dyn View,
    repository: &Repository,
    after: Option<&str>,
    limit: usize,
) -> Result<Page<Tag>, StateError> {
    let tag = |tail: &[u8], _: &[u8]| {
        let text = std::str::from_utf8(tail)
            .ok()
            .and_then(|text| text.split_once('\0'));
        let tag = text.and_then(|(_, text)| Tag::parse(text).ok());
        tag.ok_or(CodecError::Invalid { field: "tag" })
    };
    // NUL ends a tag in its key; the next byte sorts the same among tags.
    let after = after.map(|after| key::tag_order(&after.replace('\0', "\u{1}")));
    page(view, &key::tags(repository), after.as_deref(), limit, tag)
}

/// Repositories that ever had content, in byte order, behind `after`.
pub fn repositories(
    view: &dyn View,
    after: Option<&str>,
    limit: usize,
) -> Result<Page<Repository>, StateError> {
    let repository = |tail: &[u8], _: &[u8]| {
        repository_of(tail).ok_or(CodecError::Invalid {
            field: "repository",
        })
    };
    page(
        view,
        key::REPOSITORIES,
        after.map(str::as_bytes),
        limit,
        repository,
    )
}

/// Every blob the state knows, condemned ones included, behind `after`; for
/// recovery and collection.
pub fn blobs(
    view: &dyn View,
    after: Option<&Digest>,
    limit: usize,
) -> Result<Page<(Digest, BlobRecord)>, StateError> {
    let after = after.map(digest_key);
    page(view, key::BLOBS, after.as_deref(), limit, |tail, record| {
        let digest = Digest::decode(&mut Reader::new(tail))?;
        Ok((digest, BlobRecord::decode(record)?))
    })
}

/// What happened behind a journal index, as far back as the window goes.
pub fn events(
    view: &dyn View,
    after_index: Option<u64>,
    limit: usize,
) -> Result<Page<(u64, Event)>, StateError> {
    let after = after_index.map(u64::to_be_bytes);
    let after = after.as_ref().map(<[u8; 8]>::as_slice);
    page(view, key::EVENTS, after, limit, |tail, record| {
        let index = Reader::new(tail).array().map(u64::from_be_bytes)?;
        Ok((index, Event::decode(record)?))
    })
}

/// Where a tag pointed before, latest first.
pub fn tag_history(
    view: &dyn View,
    repository: &Repository,
    tag: &Tag,
) -> Result<Vec<TagRecord>, StateError> {
    let record = view.value(&key::history(repository, tag))?;
    Ok(read(record, TagRecord::decode_history)?.unwrap_or_default())
}

/// Manifests of a repository that are about `subject`, which need not be there.
pub fn referrers(
    view: &dyn View,
    repository: &Repository,
    subject: &Digest,
    query: ReferrerQuery<'_>,
) -> Result<ReferrerPage, StateError> {
    let prefix = key::referrers(repository, subject);
    let start = query.after.map_or_else(
        || prefix.clone(),
        |after| key::behind(&prefix, &digest_key(after)),
    );
    let mut page = ReferrerPage::default();
    let (mut scanned, mut page_bytes) = (0, 0);
    let mut last = None;
    let mut fault = None;
    view.scan(&start, &key::end_of(&prefix), &mut |key, record| {
        let tail = key.get(prefix.len()..).unwrap_or_default();
        let entry = Digest::decode(&mut Reader::new(tail))
            .and_then(|digest| Ok((digest, decode_referrer(record)?)));
        let (digest, (artifact_type, descriptor)) = match entry {
            Ok(entry) => entry,
            Err(error) => {
                fault = Some(error);
                return false;
            }
        };
        let is_wanted = query
            .artifact_type
            .is_none_or(|wanted| artifact_type == Some(wanted));
        page_bytes += if is_wanted { descriptor.len() + 1 } else { 0 };
        let is_first = page.descriptors.is_empty();
        let is_full = scanned == SCANNED_REFERRERS_MAX
            || page.descriptors.len() >= query.limit
            || (page_bytes > REFERRERS_PAGE_BYTES_MAX && !is_first);
        if is_full {
            page.next = last;
            return false;
        }
        if is_wanted {
            page.descriptors.push(Bytes::copy_from_slice(descriptor));
        }
        last = Some(digest);
        scanned += 1;
        true
    })?;
    fault.map_or(Ok(page), |fault| Err(fault.into()))
}

/// Collects entries behind `after` and looks whether one more follows.
fn page<T>(
    view: &dyn View,
    prefix: &[u8],
    after: Option<&[u8]>,
    limit: usize,
    mut entry: impl FnMut(&[u8], &[u8]) -> Result<T, CodecError>,
) -> Result<Page<T>, StateError> {
    let mut page = Page {
        entries: Vec::new(),
        more: false,
    };
    if limit == 0 {
        return Ok(page);
    }
    let start = after.map_or_else(|| prefix.to_vec(), |after| key::behind(prefix, after));
    let mut fault = None;
    view.scan(&start, &key::end_of(prefix), &mut |key, value| {
        if page.entries.len() == limit {
            page.more = true;
            return false;
        }
        match entry(key.get(prefix.len()..).unwrap_or_default(), value) {
            Ok(entry) => page.entries.push(entry),
            Err(error) => fault = Some(error),
        }
        fault.is_none()
    })?;
    fault.map_or(Ok(page), |fault| Err(fault.into()))
}

fn digest_key(digest: &Digest) -> Vec<u8> {
    let mut writer = crate::base::Writer::default();
    digest.encode(&mut writer);
    writer.finish()
}
