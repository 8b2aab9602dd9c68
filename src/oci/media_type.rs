//! Media types: what a manifest or a descriptor says it is.

use std::fmt;

/// Longest type, subtype and parameters together; RFC 6838 allows 127 for each name.
const MEDIA_TYPE_BYTES_MAX: usize = 255;

/// A text that is no media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("media type is not `type/subtype` of RFC 6838 within 255 bytes")]
pub struct MediaTypeError;

/// A media type. Printable ASCII only, so it may stand in a header as it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MediaType(Box<str>);

impl MediaType {
    /// OCI image manifest.
    pub const OCI_MANIFEST: &'static str = "application/vnd.oci.image.manifest.v1+json";
    /// OCI image index.
    pub const OCI_INDEX: &'static str = "application/vnd.oci.image.index.v1+json";
    /// OCI artifact manifest, withdrawn before 1.1 and still met.
    pub const OCI_ARTIFACT: &'static str = "application/vnd.oci.artifact.manifest.v1+json";
    /// Docker image manifest, schema 2.
    pub const DOCKER_MANIFEST: &'static str =
        "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker manifest list.
    pub const DOCKER_LIST: &'static str =
        "application/vnd.docker.distribution.manifest.list.v2+json";

    /// Reads a media type, with its parameters when there are any.
    ///
    /// - Source: RFC 6838 section 4.2.
    pub fn parse(text: &str) -> Result<Self, MediaTypeError> {
        let (essence, parameters) = text.split_once(';').unwrap_or((text, ""));
        let (kind, subtype) = essence
            .trim_end_matches(' ')
            .split_once('/')
            .ok_or(MediaTypeError)?;
        let is_printable = parameters
            .bytes()
            .all(|byte| byte == b' ' || byte.is_ascii_graphic());
        if text.len() <= MEDIA_TYPE_BYTES_MAX && is_name(kind) && is_name(subtype) && is_printable {
            Ok(Self(text.into()))
        } else {
            Err(MediaTypeError)
        }
    }

    /// Reads a `Content-Type` value and drops its parameters.
    pub fn of_content_type(value: &str) -> Result<Self, MediaTypeError> {
        let essence = value.split_once(';').map_or(value, |(essence, _)| essence);
        Self::parse(essence.trim_matches([' ', '\t']))
    }

    /// The type as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the content says it is JSON: `…/json` or `…+json`.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.0.ends_with("/json") || self.0.ends_with("+json")
    }

    /// Whether a layer of this type may live elsewhere and be absent here.
    ///
    /// - Source: image-spec, layer, "Non-Distributable Layers"; Docker foreign layers.
    #[must_use]
    pub fn is_foreign_layer(&self) -> bool {
        self.0
            .starts_with("application/vnd.oci.image.layer.nondistributable.v1.tar")
            || self
                .0
                .starts_with("application/vnd.docker.image.rootfs.foreign.diff.tar")
    }

    /// Whether this is one of the signed or unsigned Docker schema 1 types.
    #[must_use]
    pub fn is_schema1(&self) -> bool {
        self.0
            .starts_with("application/vnd.docker.distribution.manifest.v1+")
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `restricted-name` of RFC 6838: a letter or digit, then up to 126 of a short set.
fn is_name(text: &str) -> bool {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte);
    text.len() <= 127
        && text
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_alphanumeric())
        && text.bytes().all(is_legal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_type_loses_its_parameters() {
        let plain = MediaType::parse(MediaType::OCI_MANIFEST).unwrap();
        for value in ["; charset=utf-8", ";x=\"é\"", "", " "] {
            let value = format!(" {}{value}", MediaType::OCI_MANIFEST);
            assert_eq!(MediaType::of_content_type(&value), Ok(plain.clone()));
        }
    }

    #[test]
    fn parse_refuses_what_cannot_stand_in_a_header() {
        for bad in [
            "",
            "a",
            "/",
            "a/",
            "/b",
            "a/b/c",
            "a b/c",
            "a/b\r\n",
            "é/b",
            "a/b;\u{7f}",
            "*/*",
        ] {
            assert_eq!(MediaType::parse(bad), Err(MediaTypeError), "{bad:?}");
        }
        assert!(MediaType::parse("text/plain; charset=utf-8").is_ok());
        assert!(MediaType::parse(&format!("a/{}", "b".repeat(128))).is_err());
    }

    #[test]
    fn kinds_are_told_by_name() {
        let of = |text: &str| MediaType::parse(text).unwrap();
        assert!(of("application/json").is_json());
        assert!(!of("application/octet-stream").is_json());
        assert!(of("application/vnd.docker.distribution.manifest.v1+prettyjws").is_schema1());
        assert!(!of(MediaType::DOCKER_MANIFEST).is_schema1());
        let foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
        assert!(of(foreign).is_foreign_layer());
    }
}
