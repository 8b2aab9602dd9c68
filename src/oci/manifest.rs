//! Manifests: the strict reading of a body that will be stored byte for byte.

use std::collections::{BTreeMap, BTreeSet};

use super::descriptor::{Descriptor, Role, read_optional_text};
use super::error_code::ErrorCode;
use super::json::{Json, JsonError};
use super::media_type::MediaType;

/// What a manifest is, by its media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ManifestKind {
    /// OCI image manifest or Docker schema 2: config and layers.
    Image,
    /// OCI index or Docker manifest list: child manifests.
    Index,
    /// The artifact manifest withdrawn before OCI 1.1: `blobs`.
    Artifact,
    /// Another JSON type; its members mean what they mean in the types above.
    Other,
}

/// Why a body is no manifest that may be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The body breaks a rule at a known place.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// `Content-Type` names no JSON type.
    #[error("content type is not a JSON manifest type")]
    NotJson,
    /// Docker schema 1 by its content type, its version or its members.
    #[error("docker schema 1 manifests are not supported; push schema 2 or OCI")]
    Schema1,
    /// `mediaType` in the body differs from `Content-Type`.
    #[error("mediaType of the body differs from Content-Type")]
    MediaTypeMismatch,
    /// `schemaVersion` is not the number 2 where it must be.
    #[error("schemaVersion is not 2")]
    SchemaVersion,
    /// Members of images and of indexes in one body: two readers could see two things.
    #[error("members of an image and of an index stand in one manifest")]
    Ambiguous,
    /// An image manifest without `config`.
    #[error("image manifest names no config")]
    NoConfig,
}

impl ManifestError {
    /// The code that answers it.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Schema1 => ErrorCode::Unsupported,
            Self::Json(_)
            | Self::NotJson
            | Self::MediaTypeMismatch
            | Self::SchemaVersion
            | Self::Ambiguous
            | Self::NoConfig => ErrorCode::ManifestInvalid,
        }
    }
}

/// What a manifest says, as far as the registry needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// By the media type.
    pub kind: ManifestKind,
    /// `Content-Type` of the push, without parameters.
    pub media_type: MediaType,
    /// `config`.
    pub config: Option<Descriptor>,
    /// `layers`, then `blobs`.
    pub layers: Vec<Descriptor>,
    /// `manifests`.
    pub manifests: Vec<Descriptor>,
    /// `subject`.
    pub subject: Option<Descriptor>,
    /// `artifactType` when present and not empty.
    pub artifact_type: Option<Box<str>>,
    /// `annotations` of the manifest itself.
    pub annotations: BTreeMap<Box<str>, Box<str>>,
}

/// Members that decide whether a body is what its type says.
#[derive(Debug, Default)]
struct Shape {
    media_type: Option<Box<str>>,
    schema_version: Option<u64>,
    /// Members that mean an image, an index, or schema 1, as they were met.
    members: BTreeSet<&'static str>,
}

impl Manifest {
    /// Reads a body; `content_type` has no parameters.
    ///
    /// - Shape: the caller has bounded the body to `MANIFEST_BYTES_MAX`.
    /// - Source: image-spec v1.1 manifest and index; PUT rules of distribution-spec v1.1.
    pub fn parse(body: &[u8], content_type: &MediaType) -> Result<Self, ManifestError> {
        if content_type.is_schema1() {
            return Err(ManifestError::Schema1);
        }
        if !content_type.is_json() {
            return Err(ManifestError::NotJson);
        }
        let mut shape = Shape::default();
        let mut manifest = Self {
            kind: kind_of(content_type),
            media_type: content_type.clone(),
            config: None,
            layers: Vec::new(),
            manifests: Vec::new(),
            subject: None,
            artifact_type: None,
            annotations: BTreeMap::new(),
        };
        let mut json = Json::new(body)?;
        json.object(|json, name| manifest.read_member(json, name, &mut shape))?;
        json.end()?;
        manifest.check(&shape)?;
        Ok(manifest)
    }

    /// Every content the manifest names, with its place.
    ///
    /// A manifest is always JSON here, so a child of another type can only be a
    /// blob: BuildKit's cache index lists layers under `manifests`.
    pub fn descriptors(&self) -> impl Iterator<Item = (Role, &Descriptor)> {
        let config = self.config.iter().map(|one| (Role::Config, one));
        let layers = self.layers.iter().map(|one| (Role::Layer, one));
        let children = self.manifests.iter().map(|one| {
            let is_manifest = one.media_type.is_json();
            (
                if is_manifest {
                    Role::Child
                } else {
                    Role::Layer
                },
                one,
            )
        });
        let subject = self.subject.iter().map(|one| (Role::Subject, one));
        config.chain(layers).chain(children).chain(subject)
    }

    fn read_member(
        &mut self,
        json: &mut Json<'_>,
        name: &str,
        shape: &mut Shape,
    ) -> Result<(), JsonError> {
        match name {
            "schemaVersion" => shape.schema_version = Some(json.size(u64::MAX)?),
            "mediaType" => shape.media_type = read_optional_text(json)?,
            "config" => {
                shape.members.insert("config");
                self.config = Descriptor::read_optional(json)?;
            }
            "layers" | "blobs" => {
                shape.members.insert("layers");
                self.layers.append(&mut Descriptor::read_list(json)?);
            }
            "manifests" => {
                shape.members.insert("manifests");
                self.manifests = Descriptor::read_list(json)?;
            }
            "subject" => self.subject = Descriptor::read_optional(json)?,
            "artifactType" => self.artifact_type = read_optional_text(json)?,
            "annotations" if !json.takes_null() => json.object(|json, name| {
                let value = json.text("a text")?;
                self.annotations.insert(name.into(), value.into());
                Ok(())
            })?,
            "annotations" => {}
            "fsLayers" | "signatures" => {
                shape.members.insert("fsLayers");
                json.skip()?;
            }
            _ => json.skip()?,
        }
        Ok(())
    }

    fn check(&self, shape: &Shape) -> Result<(), ManifestError> {
        let has = |member| shape.members.contains(member);
        let is_versioned = matches!(self.kind, ManifestKind::Image | ManifestKind::Index);
        let is_schema1 =
            shape.schema_version == Some(1) || (has("fsLayers") && shape.schema_version != Some(2));
        if is_schema1 {
            return Err(ManifestError::Schema1);
        }
        let named = shape.media_type.as_deref();
        if named.is_some_and(|named| named != self.media_type.as_str()) {
            return Err(ManifestError::MediaTypeMismatch);
        }
        if is_versioned && shape.schema_version != Some(2) {
            return Err(ManifestError::SchemaVersion);
        }
        let is_image = has("config") || has("layers");
        let is_ambiguous = match self.kind {
            ManifestKind::Image | ManifestKind::Artifact => has("manifests"),
            ManifestKind::Index => is_image,
            ManifestKind::Other => has("layers") && has("manifests"),
        };
        if is_ambiguous {
            return Err(ManifestError::Ambiguous);
        }
        if self.kind == ManifestKind::Image && self.config.is_none() {
            return Err(ManifestError::NoConfig);
        }
        Ok(())
    }
}

fn kind_of(media_type: &MediaType) -> ManifestKind {
    match media_type.as_str() {
        MediaType::OCI_MANIFEST | MediaType::DOCKER_MANIFEST => ManifestKind::Image,
        MediaType::OCI_INDEX | MediaType::DOCKER_LIST => ManifestKind::Index,
        MediaType::OCI_ARTIFACT => ManifestKind::Artifact,
        _ => ManifestKind::Other,
    }
}

#[cfg(test)]
#[path = "manifest_test.rs"]
mod tests;
