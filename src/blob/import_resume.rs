//! Imports that outlive the process: what is kept of them, and how they go on.

use std::path::Path;

use super::custody::Custody;
use super::import::{Expected, Import};
use super::import_record::{IMPORT_RECORD_BYTES_MAX, ImportRecord};
use super::progress::Progress;
use super::store::Store;
use super::table::Return;
use super::upload::Upload;
use crate::base::limits::EXTENT_BYTES;
use crate::base::units::index_of;
use crate::disk::{read_small_file, write_small_file};
use crate::oci::Digest;
use crate::runtime::off_shard;

impl Store {
    /// Begins a blob that another node has, or goes on with it where a record of an
    /// earlier attempt says, in this process or one before.
    ///
    /// - Panics: when `expected` is not consistent.
    pub async fn import(&self, expected: Expected) -> Import {
        match self.resume_import(&expected).await {
            Some(import) => import,
            None => Import::new(self, expected),
        }
    }

    /// Removes what is kept of a blob that is not wanted any more, and that nobody
    /// imports.
    pub async fn forget_import(&self, digest: &Digest, generation: u64) {
        let path = self.shared().layout().upload_import(digest, generation);
        let Some(record) = self.import_record(&path).await else {
            return;
        };
        let data = self.shared().layout().upload_data(&record.id);
        for path in [path, data] {
            super::custody::remove(self.directories(), &path).await;
        }
    }

    async fn resume_import(&self, expected: &Expected) -> Option<Import> {
        let (digest, generation) = (&expected.digest, expected.generation);
        let path = self.shared().layout().upload_import(digest, generation);
        let record = self.import_record(&path).await?;
        let data = self.shared().layout().upload_data(&record.id);
        let looked = data.clone();
        let look = move || std::fs::metadata(looked).map_or(0, |file| file.len());
        let has_bytes = off_shard(look).await.unwrap_or(0) >= record.verified_bytes;
        let is_same = record.digest == expected.digest
            && record.generation == expected.generation
            && record.size_bytes == expected.size_bytes
            && record.kernel_boot == self.shared().kernel_boot();
        if !has_bytes || !is_same {
            self.forget_import(digest, generation).await;
            return None;
        }
        let extents = index_of(record.verified_bytes / u64::from(EXTENT_BYTES));
        let right = expected.extent_checksums.get(..extents)?;
        let progress = Progress::resume(record.verified_bytes, record.hasher, right)?;
        let mut custody = Custody::of_file(data, self.janitor());
        custody.will(Return::Ended, Vec::new());
        custody.resume_at(record.verified_bytes);
        let upload = Upload::new(self.clone(), record.id, None, custody, progress);
        Some(Import::resumed(upload, expected.clone()))
    }

    async fn import_record(&self, path: &Path) -> Option<ImportRecord> {
        let read = read_small_file(path, IMPORT_RECORD_BYTES_MAX).await;
        let content = read.unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "what is kept of a blob cannot be read");
            None
        });
        // A damaged one is replaced by the next, or removed at the next start.
        ImportRecord::decode(&content?).ok()
    }
}

impl Import {
    /// Writes down how far it has come; from then on it outlives the process. Waits for
    /// the writes under way.
    pub(super) async fn keep(&mut self) -> Result<(), super::UploadError> {
        let upload = &mut self.upload;
        upload.custody.wait_below(1).await?;
        let shared = upload.store.shared();
        let expected = &self.expected;
        let record = ImportRecord {
            id: upload.id(),
            digest: expected.digest,
            generation: expected.generation,
            size_bytes: expected.size_bytes,
            verified_bytes: self.verified_bytes,
            touched_ms: upload.store.clock().unix_ms(),
            kernel_boot: shared.kernel_boot(),
            hasher: self.verified.clone(),
        };
        let layout = shared.layout();
        let path = layout.upload_import(&record.digest, record.generation);
        write_small_file(&path, record.encode()).await?;
        upload.custody.will(Return::Ended, Vec::new());
        self.recorded_bytes = self.verified_bytes;
        Ok(())
    }
}
