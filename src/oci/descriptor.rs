//! Descriptors: how a manifest names other content.

use super::digest::Digest;
use super::json::{Json, JsonError, JsonFault};
use super::media_type::MediaType;
use crate::base::limits::BLOB_BYTES_MAX;

/// The place of a descriptor in its manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// `config`: a blob.
    Config,
    /// An item of `layers` or `blobs`: a blob.
    Layer,
    /// An item of `manifests`: a manifest of the same repository.
    Child,
    /// `subject`: the manifest this one is about.
    Subject,
}

/// Names content by type, digest and size.
///
/// - Source: image-spec v1.1, descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// `mediaType`.
    pub media_type: MediaType,
    /// `digest`.
    pub digest: Digest,
    /// `size`, at most `BLOB_BYTES_MAX`.
    pub size_bytes: u64,
    /// `artifactType` when present and not empty.
    pub artifact_type: Option<Box<str>>,
    /// Whether `urls` names at least one other place. They are never fetched.
    pub has_urls: bool,
}

impl Descriptor {
    /// Whether a manifest is accepted although this content is not here:
    /// subjects may come later, foreign layers may live elsewhere.
    #[must_use]
    pub fn may_be_absent(&self, role: Role) -> bool {
        match role {
            Role::Subject => true,
            Role::Layer => self.has_urls || self.media_type.is_foreign_layer(),
            Role::Config | Role::Child => false,
        }
    }

    /// Takes a descriptor object; unknown members are walked over.
    pub(super) fn read(json: &mut Json<'_>) -> Result<Self, JsonError> {
        let (mut media_type, mut digest, mut size_bytes) = (None, None, None);
        let (mut artifact_type, mut has_urls) = (None, false);
        json.object(|json, name| {
            match name {
                "mediaType" => {
                    let text = json.text("a media type")?;
                    let parsed = MediaType::parse(&text);
                    media_type = Some(parsed.map_err(|_| json.fault(JsonFault::MediaType))?);
                }
                "digest" => {
                    let text = json.text("a digest")?;
                    let parsed = Digest::parse(&text);
                    digest = Some(parsed.map_err(|error| json.fault(error.into()))?);
                }
                "size" => size_bytes = Some(json.size(BLOB_BYTES_MAX)?),
                "artifactType" => artifact_type = read_optional_text(json)?,
                "urls" if !json.takes_null() => json.list(|json| {
                    has_urls = true;
                    json.text("a URL").map(drop)
                })?,
                "urls" => {}
                _ => json.skip()?,
            }
            Ok(())
        })?;
        let missing = |member| json.fault(JsonFault::Missing { member });
        Ok(Self {
            media_type: media_type.ok_or_else(|| missing("mediaType"))?,
            digest: digest.ok_or_else(|| missing("digest"))?,
            size_bytes: size_bytes.ok_or_else(|| missing("size"))?,
            artifact_type,
            has_urls,
        })
    }

    /// As [`Descriptor::read`]; `null` is as good as absent, as Go writes it.
    pub(super) fn read_optional(json: &mut Json<'_>) -> Result<Option<Self>, JsonError> {
        if json.takes_null() {
            return Ok(None);
        }
        Self::read(json).map(Some)
    }

    /// Takes a list of descriptors; `null` is an empty list.
    pub(super) fn read_list(json: &mut Json<'_>) -> Result<Vec<Self>, JsonError> {
        let mut list = Vec::new();
        if !json.takes_null() {
            json.list(|json| {
                list.push(Self::read(json)?);
                Ok(())
            })?;
        }
        Ok(list)
    }
}

/// Takes a text; `null` and the empty text are as good as absent.
pub(super) fn read_optional_text(json: &mut Json<'_>) -> Result<Option<Box<str>>, JsonError> {
    if json.takes_null() {
        return Ok(None);
    }
    let text = json.text("a text")?;
    Ok((!text.is_empty()).then(|| text.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::{Algorithm, DigestError};

    fn read(body: &str) -> Result<Descriptor, JsonFault> {
        let digest = Digest::of(Algorithm::Sha256, b"x").to_string();
        let body = body.replace("$D", &digest);
        let mut json = Json::new(body.as_bytes()).unwrap();
        Descriptor::read(&mut json).map_err(|error| error.fault)
    }

    #[test]
    fn read_keeps_what_it_knows_and_walks_over_the_rest() {
        let one = read(
            r#"{"mediaType":"a/b","x":{"y":[1]},"digest":"$D","data":"eA==","size":1,
                "annotations":{"k":"v"},"urls":["https://example.com"],"artifactType":""}"#,
        )
        .unwrap();
        assert_eq!((one.media_type.as_str(), one.size_bytes), ("a/b", 1));
        assert_eq!((one.artifact_type.as_deref(), one.has_urls), (None, true));
        assert!(one.may_be_absent(Role::Layer) && one.may_be_absent(Role::Subject));
        assert!(!one.may_be_absent(Role::Config) && !one.may_be_absent(Role::Child));
        let two = read(r#"{"mediaType":"a/b","digest":"$D","size":0,"urls":[]}"#).unwrap();
        assert!(!two.may_be_absent(Role::Layer));
    }

    #[test]
    fn read_refuses_each_bad_member() {
        let malformed = JsonFault::Digest(DigestError::Malformed);
        for (body, fault) in [
            (
                "{}",
                JsonFault::Missing {
                    member: "mediaType",
                },
            ),
            (
                r#"{"mediaType":"a/b"}"#,
                JsonFault::Missing { member: "digest" },
            ),
            (
                r#"{"mediaType":"a/b","digest":"$D"}"#,
                JsonFault::Missing { member: "size" },
            ),
            (r#"{"mediaType":"a"}"#, JsonFault::MediaType),
            (
                r#"{"mediaType":1}"#,
                JsonFault::Type {
                    expected: "a media type",
                },
            ),
            (r#"{"digest":"sha256:1"}"#, malformed),
            (r#"{"size":-1}"#, JsonFault::Size),
            (r#"{"size":1099511627777}"#, JsonFault::Size),
            (r#"{"urls":[1]}"#, JsonFault::Type { expected: "a URL" }),
            (r#"{"size":1,"size":1}"#, JsonFault::Duplicate),
            (
                "[]",
                JsonFault::Type {
                    expected: "an object",
                },
            ),
        ] {
            assert_eq!(read(body), Err(fault), "{body}");
        }
    }
}
