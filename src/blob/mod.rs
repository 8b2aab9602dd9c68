//! Sealed blobs, upload sessions, readers, their layout on disk and its recovery.
//! Knows bytes and digests; who may see them is decided above.
//!
//! Floor: services.
//! Uses: base, disk, memory, oci, runtime, telemetry
//! Crates: sha2

mod custody;
mod desk;
mod direct;
mod enclosed;
mod errors;
mod examine;
mod extents;
#[cfg(test)]
mod fixture;
mod following;
mod growth;
mod hasher;
mod import;
mod import_record;
mod import_resume;
mod kernel_boot;
mod key;
mod layout;
#[cfg(test)]
mod model_test;
mod open;
mod popularity;
mod presence;
mod progress;
mod reader;
mod record;
mod recovery;
mod seal;
mod set_aside;
mod store;
mod table;
mod tap;
mod upload;
mod upload_id;

pub use errors::{ReadError, SealError, UploadError};
pub use following::Following;
pub use import::{Expected, Import, ImportError};
pub use open::{OpenError, Options, Shared, open};
pub use progress::Progress;
pub use reader::{Chunk, Piece, Reader};
pub use recovery::Recovery;
pub use seal::Sealed;
pub use set_aside::{OpenFile, SetAsideError};
pub use store::{Machinery, Store};
pub use tap::{Heard, Inlet, Outlet, Tap, TeedBytes};
pub use upload::Upload;
pub use upload_id::{UploadId, UploadIdError};
