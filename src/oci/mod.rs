//! The words of the OCI specifications as types: parsed once at the edge, valid
//! ever after. Bytes in, values out; nothing here touches the machine.
//!
//! Floor: rules.
//! Uses: base
//! Crates: serde_json, sha2

mod descriptor;
mod digest;
mod error_code;
mod json;
mod manifest;
mod media_type;
mod reference;
mod referrer;
mod repository;

pub use descriptor::{Descriptor, Role};
pub use digest::{Algorithm, Digest, DigestError};
pub use error_code::{Detail, ErrorCode, ErrorEntry, error_body};
pub use json::{JsonError, JsonFault};
pub use manifest::{Manifest, ManifestError, ManifestKind};
pub use media_type::{MediaType, MediaTypeError};
pub use reference::{Reference, ReferenceError, Tag, TagError};
pub use referrer::Referrer;
pub use repository::{Repository, RepositoryError};
