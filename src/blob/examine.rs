//! Reads a sealed blob from the disk and holds it against its checksums.

use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use super::direct::Direct;
use super::errors::ReadError;
use super::extents::ExtentChecksums;
use super::reader::Reader;
use super::store::Store;
use crate::base::units::to_u64;
use crate::disk::ReadFile;
use crate::telemetry::ReadPath;

impl Store {
    /// Whether the whole of an open blob can be read, past the page cache, and is what
    /// its extents' checksums say.
    ///
    /// - Errors: the file cannot be read, or is shorter than the blob.
    pub async fn is_sound(&self, reader: &Reader, checksums: &[u32]) -> Result<bool, ReadError> {
        let size_bytes = reader.size_bytes();
        // By number: another file may have taken its name.
        let path = format!("/proc/self/fd/{}", reader.file().as_fd().as_raw_fd());
        let file = ReadFile::open_direct(Path::new(&path), size_bytes).await?;
        let mut direct = Direct::new(file, self.pool().clone(), 0);
        let mut found = ExtentChecksums::default();
        let mut held_bytes = 0;
        while held_bytes < size_bytes {
            let piece = direct.next(size_bytes, size_bytes).await?;
            if piece.is_empty() {
                return Err(ReadError::TooShort {
                    size_bytes,
                    file_bytes: held_bytes,
                });
            }
            found.update(&piece);
            held_bytes += to_u64(piece.len());
            let read_bytes = &self.metrics().blob.read_bytes;
            read_bytes.of(ReadPath::Direct).add(to_u64(piece.len()));
        }
        Ok(found.finish() == checksums)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt as _;

    use super::*;
    use crate::blob::fixture::{Home, content, push, sha256};
    use crate::runtime::run_alone;

    const BYTES: usize = 1_300_000;

    #[test]
    fn a_file_is_sound_when_it_is_whole_and_every_byte_is_right() {
        run_alone(|| async {
            let home = Home::new();
            let (stores, _) = home.start();
            let content = content(BYTES);
            push(&stores[0], &content).await.unwrap().commit().await;
            let (store, digest) = (&stores[0], sha256(&content));
            let extents = content.chunks(1024 * 1024);
            let checksums: Vec<u32> = extents.map(crc32fast::hash).collect();
            let reader = store.reader(&digest, 1, to_u64(BYTES)).await.unwrap();
            assert!(store.is_sound(&reader, &checksums).await.unwrap());
            let path = store.shared().layout().blob(&digest, 1);
            let file = File::options().write(true).open(path).unwrap();
            file.write_all_at(&[content[1_200_000] ^ 1], 1_200_000)
                .unwrap();
            file.sync_all().unwrap();
            assert!(!store.is_sound(&reader, &checksums).await.unwrap());
            file.set_len(1_250_000).unwrap();
            let cut = store.is_sound(&reader, &checksums).await;
            assert!(cut.unwrap_err().is_of_the_file());
        });
    }
}
