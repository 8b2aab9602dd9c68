//! Files: direct writes and reads, reads through the page cache, directories and
//! their syncs.
//!
//! Direct and cached access never share a descriptor: `O_DIRECT` belongs to the
//! open file, and sending from such a one is slow. Sizes are what the caller knows,
//! not what the runtime asks the path for. glommio's stream writers and its own ways
//! to open and to read are not used; each type says which fault it keeps away.
//!
//! Floor: machinery.
//! Uses: base, memory, runtime
//! Crates: glommio, libc, rustix

mod cached_file;
mod directories;
mod directory_sync;
mod error;
mod open;
mod pending;
mod read_file;
mod residency;
mod ring_file;
mod small_file;
mod write_file;

pub use cached_file::CachedFile;
pub use directories::{
    Directories, DirectoryLock, Entry, Room, create_directories_synced, list_directory,
    lock_directory, room,
};
pub use error::Error;
pub use pending::Pending;
pub use read_file::{Piece, ReadFile, read_span_bytes};
pub use small_file::{
    read_small_file, read_small_file_blocking, read_small_file_with_mode_blocking, remove_blocking,
    reserve_file_blocking, write_file_synced, write_file_synced_blocking, write_small_file,
};
pub use write_file::WriteFile;
