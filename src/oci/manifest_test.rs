//! Tests of the manifest rules, one body per rule.

use super::*;
use crate::oci::{Algorithm, Digest, JsonFault};
use proptest::prelude::*;

const BOTH_KINDS: [&str; 2] = [MediaType::OCI_MANIFEST, MediaType::OCI_INDEX];

const LAYER: &str = r#"{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","size":9,
    "digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}"#;

/// Reads a body after putting a descriptor for each `$n`.
fn parse(content_type: &str, body: &str) -> Result<Manifest, ManifestError> {
    let mut body = body.to_owned();
    for index in 0..4 {
        let digest = Digest::of(Algorithm::Sha256, &[index]);
        let one =
            format!(r#"{{"mediaType":"a/b{index}+json","digest":"{digest}","size":{index}}}"#);
        body = body.replace(&format!("${index}"), &one);
    }
    Manifest::parse(body.as_bytes(), &MediaType::parse(content_type).unwrap())
}

fn roles(manifest: &Manifest) -> Vec<(Role, u64)> {
    manifest
        .descriptors()
        .map(|(role, one)| (role, one.size_bytes))
        .collect()
}

#[test]
fn an_image_names_config_layers_and_subject() {
    let body = r#"{"schemaVersion":2,"config":$0,"layers":[$1,$2],"subject":$3,
        "annotations":{"b":"2","a":"1"},"artifactType":"x/y","unknown":[{}]}"#;
    let manifest = parse(MediaType::OCI_MANIFEST, body).unwrap();
    assert_eq!(manifest.kind, ManifestKind::Image);
    let expected = [
        (Role::Config, 0),
        (Role::Layer, 1),
        (Role::Layer, 2),
        (Role::Subject, 3),
    ];
    assert_eq!(roles(&manifest), expected);
    assert_eq!(manifest.artifact_type.as_deref(), Some("x/y"));
    assert_eq!(manifest.annotations.len(), 2);
}

#[test]
fn an_index_names_children_and_may_be_empty() {
    let body = r#"{"schemaVersion":2,"manifests":[$0,$1],"mediaType":null}"#;
    for content_type in [MediaType::OCI_INDEX, MediaType::DOCKER_LIST] {
        let manifest = parse(content_type, body).unwrap();
        assert_eq!(roles(&manifest), [(Role::Child, 0), (Role::Child, 1)]);
        for empty in ["[]", "null"] {
            let body = format!(r#"{{"schemaVersion":2,"manifests":{empty}}}"#);
            assert_eq!(roles(&parse(content_type, &body).unwrap()), []);
        }
    }
}

#[test]
fn a_child_that_cannot_be_a_manifest_is_a_blob() {
    let body = r#"{"schemaVersion":2,"manifests":[$0,$1]}"#.replace("$1", LAYER);
    let manifest = parse(MediaType::OCI_INDEX, &body).unwrap();
    assert_eq!(roles(&manifest), [(Role::Child, 0), (Role::Layer, 9)]);
}

#[test]
fn layers_may_be_absent_empty_or_null() {
    for layers in ["", r#","layers":[]"#, r#","layers":null"#] {
        let body = format!(r#"{{"schemaVersion":2,"config":$0{layers}}}"#);
        let manifest = parse(MediaType::DOCKER_MANIFEST, &body).unwrap();
        assert_eq!(roles(&manifest), [(Role::Config, 0)]);
    }
}

#[test]
fn artifact_manifests_and_unknown_json_types_are_read_for_what_they_name() {
    let body = r#"{"blobs":[$0],"subject":$1,"artifactType":"x/y"}"#;
    let artifact = parse(MediaType::OCI_ARTIFACT, body).unwrap();
    assert_eq!(artifact.kind, ManifestKind::Artifact);
    assert_eq!(roles(&artifact), [(Role::Layer, 0), (Role::Subject, 1)]);
    let other = parse(
        "application/vnd.example+json",
        r#"{"hello":1,"manifests":[$2]}"#,
    )
    .unwrap();
    assert_eq!(
        (other.kind, roles(&other)),
        (ManifestKind::Other, vec![(Role::Child, 2)])
    );
    let unsafe_shape = parse("application/vnd.example+json", r#"{"layers":{"a":1}}"#);
    assert!(matches!(unsafe_shape, Err(ManifestError::Json(_))));
}

#[test]
fn a_body_that_two_readers_could_see_differently_is_refused() {
    let both = r#"{"schemaVersion":2,"config":$0,"layers":[$1],"manifests":[$2]}"#;
    for content_type in [
        MediaType::OCI_MANIFEST,
        MediaType::OCI_INDEX,
        "application/x+json",
    ] {
        assert_eq!(
            parse(content_type, both),
            Err(ManifestError::Ambiguous),
            "{content_type}"
        );
    }
    let empty = r#"{"schemaVersion":2,"config":$0,"manifests":[]}"#;
    for content_type in BOTH_KINDS {
        assert_eq!(
            parse(content_type, empty),
            Err(ManifestError::Ambiguous),
            "{content_type}"
        );
    }
}

#[test]
fn the_type_in_the_body_must_be_the_type_of_the_push() {
    for content_type in BOTH_KINDS {
        let body = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}"}}"#,
            MediaType::DOCKER_LIST
        );
        assert_eq!(
            parse(content_type, &body),
            Err(ManifestError::MediaTypeMismatch)
        );
    }
    let body = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}"}}"#,
        MediaType::DOCKER_LIST
    );
    assert!(parse(MediaType::DOCKER_LIST, &body).is_ok());
}

#[test]
fn versions_other_than_two_are_refused_and_schema_one_is_named() {
    let signed = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    assert_eq!(parse(signed, "{}"), Err(ManifestError::Schema1));
    assert_eq!(ManifestError::Schema1.code(), ErrorCode::Unsupported);
    let body = r#"{"schemaVersion":1,"name":"a","fsLayers":[]}"#;
    assert_eq!(parse("application/json", body), Err(ManifestError::Schema1));
    assert_eq!(
        parse("application/json", r#"{"fsLayers":[]}"#),
        Err(ManifestError::Schema1)
    );
    for version in ["", r#""schemaVersion":3"#] {
        let parsed = parse(MediaType::OCI_INDEX, &format!("{{{version}}}"));
        assert_eq!(parsed, Err(ManifestError::SchemaVersion));
    }
    let quoted = parse(MediaType::OCI_INDEX, r#"{"schemaVersion":"2"}"#);
    assert!(matches!(quoted, Err(ManifestError::Json(_))));
}

#[test]
fn bodies_that_are_no_json_object_are_refused() {
    assert_eq!(parse("text/plain", "{}"), Err(ManifestError::NotJson));
    for body in [
        "",
        "[]",
        "null",
        "{}x",
        "{\"a\":1,\"a\":2}",
        r#"{"annotations":{"a":1}}"#,
    ] {
        let parsed = parse(MediaType::OCI_INDEX, body);
        assert!(
            matches!(parsed, Err(ManifestError::Json(_))),
            "{body}: {parsed:?}"
        );
    }
    let parsed = parse(
        MediaType::OCI_MANIFEST,
        r#"{"schemaVersion":2,"layers":[]}"#,
    );
    assert_eq!(parsed, Err(ManifestError::NoConfig));
}

#[test]
fn a_negative_size_names_its_place() {
    let body = r#"{"layers":[{"size":-1}]}"#;
    let parsed = parse(MediaType::OCI_MANIFEST, body);
    let expected = JsonError {
        fault: JsonFault::Size,
        at_bytes: 21,
    };
    assert_eq!(parsed, Err(ManifestError::Json(expected)));
}

proptest! {
    #[test]
    fn any_bytes_are_answered(body: Vec<u8>, content_type in prop::sample::select(BOTH_KINDS.to_vec())) {
        drop(Manifest::parse(&body, &MediaType::parse(content_type).unwrap()));
    }

    #[test]
    fn a_cut_body_is_refused(cut in 1_usize..300) {
        let body = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"a/b","digest":"{}","size":1}},"annotations":{{"é":"\u00e9"}},"x":[1,true,null]}}"#,
            Digest::of(Algorithm::Sha256, b""),
        );
        let content_type = MediaType::parse(MediaType::OCI_MANIFEST).unwrap();
        prop_assert!(Manifest::parse(body.as_bytes(), &content_type).is_ok());
        let kept = body.len().saturating_sub(cut);
        prop_assert!(Manifest::parse(&body.as_bytes()[..kept], &content_type).is_err());
    }
}
