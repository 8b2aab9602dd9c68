//! Pulls: end-1, end-2 and end-3.

use std::rc::Rc;

use super::answer::{Answer, Handled};
use super::door::Door;
use super::failure::Failure;
use crate::exchange::{Closed, Exchange};
use crate::http::{RangeRequest, Ranged, Status};
use crate::oci::{Digest, ErrorCode, Reference, Repository};
use crate::registry::{Blob, Content, Piece};

/// Bytes copied when a slow client makes the sender give its pooled buffer away:
/// enough to notice when the socket drains.
const STALLED_BYTES: usize = 4096;

/// The part of a blob that a request selects.
struct Selection {
    start: u64,
    end: u64,
    is_partial: bool,
}

impl Door {
    /// HEAD or GET of a blob; a body is streamed, everything else is answered.
    pub(super) async fn pull_blob(
        &self,
        exchange: &mut Exchange,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<Handled>, Closed> {
        let blob = match self.registry.find_blob(repository, digest).await {
            Ok(blob) => blob,
            Err(error) => return Ok(Some(Err(error.into()))),
        };
        let head = Rc::clone(exchange.head());
        if is_unchanged(head.headers("If-None-Match"), digest) {
            return Ok(Some(Ok(unchanged(digest))));
        }
        let selection = match select(head.header("Range"), blob.size_bytes) {
            Ok(selection) => selection,
            Err(failure) => return Ok(Some(Err(failure))),
        };
        let answer = blob_head(digest, blob.size_bytes, &selection);
        if exchange.is_to_head() {
            return Ok(Some(Ok(answer)));
        }
        self.stream(exchange, &blob, &selection, answer).await
    }

    async fn stream(
        &self,
        exchange: &mut Exchange,
        blob: &Blob,
        selection: &Selection,
        answer: Answer,
    ) -> Result<Option<Handled>, Closed> {
        let (start, end) = (selection.start, selection.end);
        let mut content = match self.registry.content(blob, start, end).await {
            Ok(Content::Memory(bytes)) => return Ok(Some(Ok(answer.body(bytes)))),
            Ok(Content::Stored(reader)) => reader,
            Err(error) => return Ok(Some(Err(error.into()))),
        };
        exchange.begin(answer.head()).await?;
        loop {
            match content.next().await {
                Ok(None) => return Ok(None),
                Ok(Some(Piece::Resident {
                    file,
                    offset,
                    bytes,
                })) => {
                    exchange.send_file(file.as_ref(), offset, bytes).await?;
                }
                Ok(Some(Piece::Memory(chunk))) => {
                    let sent = exchange.write_some_or_stall(&chunk).await?;
                    let rest = chunk.get(sent..).unwrap_or_default();
                    if rest.is_empty() {
                        continue;
                    }
                    // The client is slow: hand the pooled buffer back, wait with a
                    // small copy, then read on from where the socket is.
                    let (first, later) = rest.split_at(rest.len().min(STALLED_BYTES));
                    let (first, later) = (first.to_vec(), later.len());
                    drop(chunk);
                    content.give_back(later);
                    exchange.write(&first).await?;
                }
                Err(error) => {
                    tracing::error!(digest = %blob.digest, %error, "a pull was cut: its blob cannot be read");
                    return Err(Closed::Gone);
                }
            }
        }
    }

    /// HEAD or GET of a manifest.
    pub(super) async fn pull_manifest(
        &self,
        exchange: &Exchange,
        repository: &Repository,
        reference: &Reference,
    ) -> Handled {
        let seen = self.registry.manifest(repository, reference).await?;
        let manifest = seen.value;
        if is_unchanged(exchange.head().headers("If-None-Match"), &manifest.digest) {
            return Ok(unchanged(&manifest.digest).seen(seen.freshness));
        }
        Ok(Answer::empty(Status::OK)
            .with("Content-Type", manifest.media_type.as_str().to_owned())
            .with("Docker-Content-Digest", manifest.digest.to_string())
            .with("ETag", etag(&manifest.digest))
            .seen(seen.freshness)
            .body(manifest.bytes))
    }
}

fn blob_head(digest: &Digest, size_bytes: u64, selection: &Selection) -> Answer {
    let status = if selection.is_partial {
        Status::PARTIAL_CONTENT
    } else {
        Status::OK
    };
    let answer = Answer::empty(status)
        .with("Content-Type", "application/octet-stream")
        .with("Docker-Content-Digest", digest.to_string())
        .with("ETag", etag(digest))
        .with("Accept-Ranges", "bytes")
        .with("Cache-Control", "max-age=31536000, immutable")
        .length(selection.end - selection.start);
    if selection.is_partial {
        let (first, last) = (selection.start, selection.end - 1);
        answer.with(
            "Content-Range",
            format!("bytes {first}-{last}/{size_bytes}"),
        )
    } else {
        answer
    }
}

/// Reads the `Range` header against the size.
fn select(header: Option<&str>, size_bytes: u64) -> Result<Selection, Failure> {
    let ranged = header.map_or(Ranged::Whole, |header| {
        RangeRequest::parse(header, size_bytes)
    });
    match ranged {
        Ranged::Whole => Ok(Selection {
            start: 0,
            end: size_bytes,
            is_partial: false,
        }),
        Ranged::Part {
            start,
            end_exclusive,
        } => Ok(Selection {
            start,
            end: end_exclusive,
            is_partial: true,
        }),
        Ranged::Unsatisfiable => Err(Failure::new(
            Status::RANGE_NOT_SATISFIABLE,
            ErrorCode::SizeInvalid,
            format!("the range selects nothing of {size_bytes} bytes"),
        )
        .with("Content-Range", format!("bytes */{size_bytes}"))),
    }
}

fn etag(digest: &Digest) -> String {
    format!("\"{digest}\"")
}

/// 304: the client already has these bytes.
fn unchanged(digest: &Digest) -> Answer {
    Answer::empty(Status::NOT_MODIFIED)
        .with("ETag", etag(digest))
        .with("Docker-Content-Digest", digest.to_string())
}

/// Whether an `If-None-Match` names the digest: quoted, weak, bare, or `*`.
///
/// - Source: RFC 9110, section 13.1.2.
fn is_unchanged<'a>(mut headers: impl Iterator<Item = &'a str>, digest: &Digest) -> bool {
    let digest = digest.to_string();
    headers.any(|header| {
        header.split(',').any(|candidate| {
            let candidate = candidate.trim();
            let candidate = candidate.strip_prefix("W/").unwrap_or(candidate);
            candidate == "*" || candidate.trim_matches('"') == digest
        })
    })
}
