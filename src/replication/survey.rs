//! Goes through the state to find what is missing: at the start, after a snapshot, and
//! when the plan had no room.

use super::blob_file::BlobFile;
use super::coordinator::Coordinator;
use crate::blob::Store;
use crate::metadata;
use crate::oci::Digest;
use crate::runtime::off_shard;

/// Blobs of one page: some milliseconds of file system calls when nothing is cached.
const PAGE_BLOBS: usize = 256;

/// How far the state has been gone through.
#[derive(Debug)]
pub(super) struct Survey {
    /// What is left to look at.
    left: Left,
    /// Whether it has to be done again from the start.
    is_again: bool,
    /// Whether a page is being looked at, the first one too.
    is_paging: bool,
    /// Whether all of the state could be read.
    is_whole: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    All,
    Behind(Digest),
    Nothing,
}

impl Survey {
    /// Nothing was looked at yet.
    pub(super) const fn due() -> Self {
        Self {
            left: Left::All,
            is_again: false,
            is_paging: false,
            is_whole: true,
        }
    }

    /// Whether something is left to look at.
    pub(super) fn is_due(&self) -> bool {
        self.left != Left::Nothing
    }

    /// Whether all that was missing was found.
    pub(super) fn has_found_all(&self) -> bool {
        !self.is_due() && self.is_whole
    }

    /// Everything has to be looked at, again where that has begun.
    pub(super) fn restart(&mut self) {
        match self.left {
            Left::All if !self.is_paging => {}
            Left::All | Left::Behind(_) => self.is_again = true,
            Left::Nothing => self.left = Left::All,
        }
    }

    /// Which of `files` are here. `None` when that could not be found out; then they
    /// are looked at again.
    pub(super) async fn find(
        &mut self,
        store: &Store,
        files: Vec<(BlobFile, u64)>,
    ) -> Option<Vec<(BlobFile, u64, bool)>> {
        if files.is_empty() {
            return Some(Vec::new());
        }
        let presence = store.presence();
        let look = move || {
            let found = files.into_iter().map(|(file, size_bytes)| {
                let is_here = presence.is_present(&file.digest, file.generation, size_bytes);
                (file, size_bytes, is_here)
            });
            found.collect()
        };
        let found = off_shard(look).await;
        if let Err(panic) = &found {
            tracing::error!(%panic, "looking for files panicked");
            self.restart();
        }
        found.ok()
    }

    /// Where the next page begins; its end is noted.
    fn begin(&mut self) -> Left {
        self.is_paging = self.is_due();
        if self.left == Left::All {
            self.is_whole = true;
        }
        self.left
    }

    /// A page has been looked at whose last blob was `last`, if more are behind it.
    fn note(&mut self, last: Option<Digest>) {
        self.is_paging = false;
        self.left = match last {
            Some(last) => Left::Behind(last),
            None if std::mem::take(&mut self.is_again) => Left::All,
            None => Left::Nothing,
        };
    }
}

impl Coordinator {
    /// Looks at the next blobs of the state.
    pub(super) async fn survey_page(&mut self) {
        let after = match self.survey.begin() {
            Left::All => None,
            Left::Behind(digest) => Some(digest),
            Left::Nothing => return,
        };
        let view = self.worker.shared.journal().view();
        let page = match metadata::blobs(&view, after.as_ref(), PAGE_BLOBS) {
            Ok(page) => page,
            Err(error) => {
                // Every other reader of the state meets the same.
                tracing::error!(%error, "the applied state cannot be read");
                self.survey.is_whole = false;
                return self.survey.note(None);
            }
        };
        drop(view);
        let last = page.entries.last().map(|(digest, _)| *digest);
        let with_files = page.entries.into_iter();
        let with_files = with_files.filter(|(_, blob)| blob.is_live() && !blob.is_inline);
        let files = with_files.map(|(digest, blob)| {
            let generation = blob.generation;
            (BlobFile { digest, generation }, blob.size_bytes)
        });
        self.look_at(files.collect()).await;
        self.survey.note(last.filter(|_| page.more));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    #[test]
    fn what_is_to_be_looked_at_again_is_whatever_page_is_under_way() {
        let first = Digest::of(Algorithm::Sha256, b"first");
        for pages in [&[None][..], &[Some(first), None]] {
            for restarted in 0..pages.len() {
                let mut survey = Survey::due();
                survey.restart();
                for (number, last) in pages.iter().enumerate() {
                    survey.begin();
                    if number == restarted {
                        survey.restart();
                    }
                    assert!(!survey.has_found_all());
                    survey.note(*last);
                }
                assert_eq!(survey.begin(), Left::All, "page {restarted}");
                survey.note(None);
                assert!(survey.has_found_all(), "it was done once more");
            }
        }
    }
}
