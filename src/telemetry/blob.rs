//! Counters of the blob store: uploads, commits, reads.

use super::exposition::Page;
use super::family::Family;
use super::histogram::DurationHistogram;
use super::label::{BlobForm, ReadPath, UploadEnd};
use super::value::Counter;

/// What the blob store counts.
#[derive(Debug, Default)]
pub struct BlobMetrics {
    /// Upload sessions begun.
    pub uploads_begun: Counter,
    /// Upload sessions ended.
    pub uploads_ended: Family<UploadEnd, Counter>,
    /// Bytes accepted into upload sessions.
    pub uploaded_bytes: Counter,
    /// Blobs sealed.
    pub commits: Family<BlobForm, Counter>,
    /// From the last byte to a durable file.
    pub commit_seconds: DurationHistogram,
    /// Bytes handed to answers.
    pub read_bytes: Family<ReadPath, Counter>,
    /// Bytes brought into the page cache because a blob is in demand.
    pub warmed_bytes: Counter,
    /// Reads of a blob's file that failed.
    pub read_failures: Counter,
    /// Files set aside because they could not be read.
    pub set_aside: Counter,
}

impl BlobMetrics {
    pub(super) fn write(&self, page: &mut Page) {
        page.counter(
            "windlass_uploads_begun_total",
            "Upload sessions begun.",
            &self.uploads_begun,
        );
        page.counters(
            "windlass_uploads_ended_total",
            "Upload sessions ended.",
            &self.uploads_ended,
        );
        page.counter(
            "windlass_uploaded_bytes_total",
            "Bytes accepted into upload sessions.",
            &self.uploaded_bytes,
        );
        page.counters(
            "windlass_blob_commits_total",
            "Blobs sealed.",
            &self.commits,
        );
        page.durations(
            "windlass_blob_commit_seconds",
            "Time from the last byte of a blob to a durable file.",
            &self.commit_seconds,
        );
        page.counters(
            "windlass_blob_read_bytes_total",
            "Bytes of blobs handed to answers, by where they came from.",
            &self.read_bytes,
        );
        page.counter(
            "windlass_blob_warmed_bytes_total",
            "Bytes brought into the page cache because a blob is in demand.",
            &self.warmed_bytes,
        );
        page.counter(
            "windlass_blob_read_failures_total",
            "Reads of a blob's file that failed.",
            &self.read_failures,
        );
        page.counter(
            "windlass_blobs_set_aside_total",
            "Files of blobs set aside because they could not be read; other nodes give them anew.",
            &self.set_aside,
        );
    }
}
