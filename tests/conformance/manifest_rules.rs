//! What a manifest is refused for: its size, its JSON, its descriptors.

use serde_json::{Value, json};

use super::support::{
    CONFIG_TYPE, INDEX_TYPE, LAYER_TYPE, MANIFEST_TYPE, Registry, Request, image, sha256,
};
use super::{registry, repository};

/// The largest manifest that is accepted.
const MANIFEST_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A valid image over two blobs that are in `name`.
fn valid(registry: &mut Registry, name: &str) -> Value {
    let config = registry.push_blob(name, b"{}");
    let layer = registry.push_blob(name, b"layer");
    image((&config, 2), &[(&layer, 5)])
}

/// The manifest with an annotation that brings it to exactly `size` bytes.
fn padded(mut manifest: Value, size: usize) -> Vec<u8> {
    manifest["annotations"] = json!({"pad": ""});
    let bare = serde_json::to_vec(&manifest).unwrap().len();
    manifest["annotations"]["pad"] = json!("x".repeat(size - bare));
    let bytes = serde_json::to_vec(&manifest).unwrap();
    assert_eq!(bytes.len(), size);
    bytes
}

#[track_caller]
fn refuse(registry: &mut Registry, name: &str, media_type: &str, body: &[u8]) {
    let answer = registry.put_manifest(name, "refused", media_type, body);
    let shown = String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
    assert_eq!(answer.status, 400, "accepted: {shown}");
    let codes = [
        "MANIFEST_INVALID",
        "SIZE_INVALID",
        "DIGEST_INVALID",
        "UNSUPPORTED",
    ];
    answer.says(&codes);
    registry
        .get(&format!("/v2/{name}/manifests/refused"))
        .expect(404);
}

#[test]
fn four_mebibytes_are_accepted_and_one_byte_more_is_413() {
    let mut registry = registry();
    let name = repository("huge");
    let manifest = valid(&mut registry, &name);
    let largest = padded(manifest.clone(), MANIFEST_BYTES_MAX);
    registry
        .put_manifest(&name, "largest", MANIFEST_TYPE, &largest)
        .expect(201);
    let answer = registry
        .get(&format!("/v2/{name}/manifests/largest"))
        .expect(200);
    assert!(answer.body == largest);
    let target = format!("/v2/{name}/manifests/chunked");
    let put = |target: &str| Request::new("PUT", target).header("Content-Type", MANIFEST_TYPE);
    registry.send(&put(&target).chunked(largest)).expect(201);

    let larger = padded(manifest, MANIFEST_BYTES_MAX + 1);
    let target = format!("/v2/{name}/manifests/larger");
    let codes = ["SIZE_INVALID", "MANIFEST_INVALID"];
    registry
        .send(&put(&target).chunked(larger.clone()))
        .expect(413)
        .says(&codes);
    // By length the answer comes before the body is read.
    let announced = put(&target).body(larger);
    registry.client.close();
    registry.client.write(&announced.head_bytes()).unwrap();
    registry
        .client
        .read_response("PUT")
        .unwrap()
        .expect(413)
        .says(&codes);
    registry.client.close();
    registry.get(&target).expect(404);
}

#[test]
fn bodies_that_are_no_json_object_are_refused() {
    let mut registry = registry();
    let name = repository("no-json");
    let manifest = serde_json::to_string(&valid(&mut registry, &name)).unwrap();
    for body in [
        "", " ", "null", "[]", "\"text\"", "1", "{", "{}}", "{\"a\":}", "{'a':1}", "{}",
    ] {
        refuse(&mut registry, &name, MANIFEST_TYPE, body.as_bytes());
    }
    for body in [
        format!("{manifest}x"),
        format!("{manifest}{manifest}"),
        format!("\u{feff}{manifest}"),
        manifest[..manifest.len() - 1].to_owned(),
        manifest.replacen(
            "\"schemaVersion\":2",
            "\"schemaVersion\":2,\"schemaVersion\":2",
            1,
        ),
        manifest.replacen("\"config\":", "\"layers\":[],\"config\":", 1),
        manifest.replacen(
            "\"schemaVersion\":2",
            "\"a\":{\"b\":1,\"b\":2},\"schemaVersion\":2",
            1,
        ),
        manifest.replacen(
            "\"schemaVersion\":2",
            "\"a\":1,\"\\u0061\":2,\"schemaVersion\":2",
            1,
        ),
    ] {
        refuse(&mut registry, &name, MANIFEST_TYPE, body.as_bytes());
    }
    let mut invalid = manifest.clone().into_bytes();
    let at = manifest.find("schemaVersion").unwrap() + 2;
    invalid[at] = 0xff;
    refuse(&mut registry, &name, MANIFEST_TYPE, &invalid);
    registry
        .put_manifest(&name, "fine", MANIFEST_TYPE, manifest.as_bytes())
        .expect(201);
}

#[test]
fn nesting_ends_at_32() {
    let mut registry = registry();
    let name = repository("depth");
    let manifest = serde_json::to_string(&valid(&mut registry, &name)).unwrap();
    let nested = |depth: usize| {
        let value = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        manifest.replacen(
            "\"schemaVersion\"",
            &format!("\"a\":{value},\"schemaVersion\""),
            1,
        )
    };
    for body in [nested(40), nested(33), nested(100_000)] {
        refuse(&mut registry, &name, MANIFEST_TYPE, body.as_bytes());
    }
    registry
        .put_manifest(&name, "deep", MANIFEST_TYPE, nested(30).as_bytes())
        .expect(201);
}

#[test]
fn shapes_that_contradict_themselves_are_refused() {
    let mut registry = registry();
    let name = repository("shapes");
    let good = valid(&mut registry, &name);
    let change = |path: &[&str], value: Value| {
        let mut changed = good.clone();
        let mut place = &mut changed;
        for step in path {
            place = match step.parse::<usize>() {
                Ok(index) => &mut place[index],
                Err(_) => &mut place[*step],
            };
        }
        *place = value;
        serde_json::to_vec(&changed).unwrap()
    };
    let other = sha256(b"x");
    for body in [
        change(&["schemaVersion"], json!(1)),
        change(&["schemaVersion"], json!("2")),
        change(&["mediaType"], json!(INDEX_TYPE)),
        change(&["mediaType"], json!("text/html")),
        change(&["mediaType"], json!(7)),
        change(&["layers"], json!({})),
        change(&["layers"], json!("none")),
        change(&["layers", "0"], json!(null)),
        change(&["layers", "0", "digest"], json!("sha256:short")),
        change(&["layers", "0", "digest"], json!(null)),
        change(&["layers", "0", "size"], json!(-1)),
        change(&["layers", "0", "size"], json!(6)),
        change(&["layers", "0", "size"], json!(5.5)),
        change(&["layers", "0", "size"], json!("5")),
        change(&["layers", "0", "size"], json!(1e300)),
        change(&["layers", "0", "size"], json!(u64::MAX)),
        change(&["layers", "0", "mediaType"], json!(1)),
        change(&["config"], json!([])),
        change(&["config", "size"], json!(3)),
        change(
            &["manifests"],
            json!([{"mediaType": MANIFEST_TYPE, "digest": other, "size": 1}]),
        ),
        change(&["subject"], json!("sha256:x")),
        change(
            &["subject"],
            json!({"mediaType": MANIFEST_TYPE, "digest": "nope", "size": 1}),
        ),
        change(&["annotations"], json!({"key": 1})),
    ] {
        refuse(&mut registry, &name, MANIFEST_TYPE, &body);
    }
    let bytes = serde_json::to_vec(&good).unwrap();
    registry
        .put_manifest(&name, "fine", MANIFEST_TYPE, &bytes)
        .expect(201);
}

#[test]
fn the_content_type_decides_and_must_agree() {
    let mut registry = registry();
    let name = repository("content-type");
    let manifest = valid(&mut registry, &name);
    let bytes = serde_json::to_vec(&manifest).unwrap();
    for wrong in [
        INDEX_TYPE,
        CONFIG_TYPE,
        LAYER_TYPE,
        "application/json",
        "nonsense",
        "",
    ] {
        let answer = registry.put_manifest(&name, "refused", wrong, &bytes);
        answer
            .expect_any(&[400, 415])
            .says(&["MANIFEST_INVALID", "UNSUPPORTED"]);
    }
    // Parameters do not count, and a manifest need not repeat its type.
    let with_parameter = format!("{MANIFEST_TYPE}; charset=utf-8");
    registry
        .put_manifest(&name, "parameter", &with_parameter, &bytes)
        .expect(201);
    let answer = registry
        .get(&format!("/v2/{name}/manifests/parameter"))
        .expect(200);
    assert_eq!(answer.only("Content-Type"), MANIFEST_TYPE);
    let mut silent = manifest;
    silent.as_object_mut().unwrap().remove("mediaType");
    let silent = serde_json::to_vec(&silent).unwrap();
    registry
        .put_manifest(&name, "silent", MANIFEST_TYPE, &silent)
        .expect(201);
    let answer = registry
        .get(&format!("/v2/{name}/manifests/silent"))
        .expect(200);
    assert_eq!(answer.only("Content-Type"), MANIFEST_TYPE);
}

#[test]
fn docker_schema_1_is_refused_clearly() {
    let mut registry = registry();
    let name = repository("schema1");
    let body = json!({
        "schemaVersion": 1, "name": name, "tag": "v1", "architecture": "amd64",
        "fsLayers": [], "history": [], "signatures": [],
    });
    let body = serde_json::to_vec(&body).unwrap();
    for media_type in [
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "application/vnd.docker.distribution.manifest.v1+json",
        MANIFEST_TYPE,
    ] {
        let answer = registry.put_manifest(&name, "v1", media_type, &body);
        answer
            .expect_any(&[400, 415])
            .says(&["UNSUPPORTED", "MANIFEST_INVALID"]);
    }
}

#[test]
fn an_unknown_json_type_is_stored_as_it_is() {
    let mut registry = registry();
    let name = repository("unknown-type");
    let config = registry.push_blob(&name, b"{}");
    let media_type = "application/vnd.example.bundle.v1+json";
    let mut manifest = image((&config, 2), &[]);
    manifest["mediaType"] = json!(media_type);
    let bytes = serde_json::to_vec(&manifest).unwrap();
    registry
        .put_manifest(&name, "bundle", media_type, &bytes)
        .expect(201);
    let answer = registry
        .get(&format!("/v2/{name}/manifests/bundle"))
        .expect(200);
    assert_eq!(answer.only("Content-Type"), media_type);
    assert!(answer.body == bytes);
}
