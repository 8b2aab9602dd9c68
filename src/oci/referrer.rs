//! Referrer descriptors: what the referrers list says about a manifest that
//! names a subject.

use serde_json::{Map, Value};

use super::digest::Digest;
use super::manifest::{Manifest, ManifestKind};

/// One entry of a referrers list, ready to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referrer {
    /// The manifest that the entry is about.
    pub subject: Digest,
    /// What `?artifactType=` is compared with.
    pub artifact_type: Option<Box<str>>,
    /// The descriptor as JSON, members in alphabetical order.
    pub descriptor: Vec<u8>,
}

impl Referrer {
    /// Describes a manifest to its subject; `None` without a subject.
    ///
    /// - Source: distribution-spec v1.1, "Listing Referrers".
    #[must_use]
    pub fn of(manifest: &Manifest, digest: &Digest, size_bytes: u64) -> Option<Self> {
        let subject = manifest.subject.as_ref()?.digest;
        let artifact_type = artifact_type(manifest);
        let mut members = Map::new();
        let mut put = |name: &str, value: Value| members.insert(name.to_owned(), value);
        put("mediaType", manifest.media_type.as_str().into());
        put("digest", digest.to_string().into());
        put("size", size_bytes.into());
        if let Some(artifact_type) = artifact_type {
            put("artifactType", artifact_type.into());
        }
        if !manifest.annotations.is_empty() {
            let mut annotations = Map::new();
            for (name, value) in &manifest.annotations {
                annotations.insert(name.to_string(), Value::from(&**value));
            }
            put("annotations", Value::Object(annotations));
        }
        Some(Self {
            subject,
            artifact_type: artifact_type.map(Into::into),
            descriptor: Value::Object(members).to_string().into_bytes(),
        })
    }
}

/// The manifest's own type, else an image's config type; an index without one has none.
fn artifact_type(manifest: &Manifest) -> Option<&str> {
    let of_config = || {
        let config = manifest.config.as_ref()?;
        (manifest.kind != ManifestKind::Index).then(|| config.media_type.as_str())
    };
    manifest.artifact_type.as_deref().or_else(of_config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::{Algorithm, MediaType};

    fn referrer(content_type: &str, members: &str) -> Option<(Option<String>, Value)> {
        let one = format!(
            r#"{{"mediaType":"c/d","digest":"{}","size":5}}"#,
            Digest::of(Algorithm::Sha256, b"s")
        );
        let body = format!(r#"{{"schemaVersion":2{members}}}"#).replace("$D", &one);
        let content_type = MediaType::parse(content_type).unwrap();
        let manifest = Manifest::parse(body.as_bytes(), &content_type).unwrap();
        let referrer = Referrer::of(&manifest, &Digest::of(Algorithm::Sha512, b"m"), 7)?;
        assert_eq!(referrer.subject, Digest::of(Algorithm::Sha256, b"s"));
        let json = serde_json::from_slice(&referrer.descriptor).unwrap();
        Some((referrer.artifact_type.map(Into::into), json))
    }

    #[test]
    fn the_config_type_stands_in_for_the_artifact_type() {
        let (kind, json) =
            referrer(MediaType::OCI_MANIFEST, r#","config":$D,"subject":$D"#).unwrap();
        assert_eq!(kind.as_deref(), Some("c/d"));
        assert_eq!(json["artifactType"], "c/d");
        assert_eq!(json["mediaType"], MediaType::OCI_MANIFEST);
        assert_eq!(json["size"], 7);
        assert_eq!(
            json["digest"],
            Digest::of(Algorithm::Sha512, b"m").to_string()
        );
        assert_eq!(json.get("annotations"), None);
        let members = r#","config":$D,"subject":$D,"artifactType":"x/y""#;
        assert_eq!(
            referrer(MediaType::OCI_MANIFEST, members)
                .unwrap()
                .0
                .as_deref(),
            Some("x/y")
        );
    }

    #[test]
    fn an_index_without_a_type_has_none_and_annotations_are_copied() {
        let members = r#","manifests":[],"subject":$D,"annotations":{"k\"":"v"}"#;
        let (kind, json) = referrer(MediaType::OCI_INDEX, members).unwrap();
        assert_eq!(kind, None);
        assert_eq!(json.get("artifactType"), None);
        assert_eq!(json["annotations"]["k\""], "v");
    }

    #[test]
    fn without_a_subject_there_is_no_referrer() {
        assert_eq!(referrer(MediaType::OCI_INDEX, r#","subject":null"#), None);
    }
}
