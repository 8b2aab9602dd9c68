//! end-8: tag lists, whole and in pages.

use serde_json::json;

use super::support::{MANIFEST_TYPE, Registry, sha256};
use super::{registry, repository};

fn push_tags(registry: &mut Registry, name: &str, tags: &[&str]) {
    let (bytes, digest) = registry.push_image(name, tags[0], 101);
    let query: Vec<String> = tags.iter().map(|tag| format!("tag={tag}")).collect();
    let reference = format!("{digest}?{}", query.join("&"));
    registry
        .put_manifest(name, &reference, MANIFEST_TYPE, &bytes)
        .expect(201);
}

fn names(list: &serde_json::Value) -> Vec<String> {
    let tags = list["tags"].as_array().expect("tags is a list");
    tags.iter()
        .map(|tag| tag.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn tags_come_in_lexical_order_and_hold_no_digest() {
    let mut registry = registry();
    let name = repository("tag-order");
    push_tags(
        &mut registry,
        &name,
        &["v10", "v9", "latest", "Zed", "_x", "1.0", "a.b", "a-b"],
    );
    let answer = registry.get(&format!("/v2/{name}/tags/list")).expect(200);
    assert_eq!(answer.only("Content-Type"), "application/json");
    let list = answer.json();
    assert_eq!(list["name"], name.as_str());
    let got = names(&list);
    let mut sorted = got.clone();
    // The specification's lexical order does not tell capitals from small letters.
    sorted.sort_by_key(|tag| tag.to_ascii_lowercase());
    assert_eq!(got, sorted);
    assert_eq!(got.len(), 8);
    assert!(answer.next_page().is_none());
    let (bytes, digest) = registry.push_image(&name, "v9", 102);
    registry
        .put_manifest(&name, &digest, MANIFEST_TYPE, &bytes)
        .expect(201);
    let list = registry
        .get(&format!("/v2/{name}/tags/list"))
        .expect(200)
        .json();
    assert_eq!(names(&list), got);
}

#[test]
fn pages_walk_the_whole_list_once() {
    let mut registry = registry();
    let name = repository("tag-pages");
    let tags: Vec<String> = (0..25).map(|number| format!("t{number:02}")).collect();
    let views: Vec<&str> = tags.iter().map(String::as_str).collect();
    push_tags(&mut registry, &name, &views);
    for size in [1, 2, 5, 7, 24, 25, 26] {
        let mut target = format!("/v2/{name}/tags/list?n={size}");
        let (mut walked, mut pages) = (Vec::new(), 0);
        loop {
            let answer = registry.get(&target).expect(200);
            let page = names(&answer.json());
            assert!(page.len() <= size, "{target}");
            walked.extend(page);
            pages += 1;
            match answer.next_page() {
                Some(next) => target = next,
                None => break,
            }
        }
        assert_eq!(walked, tags, "n={size}");
        assert_eq!(
            pages,
            25_usize.div_ceil(size),
            "no empty last page for n={size}"
        );
    }
}

#[test]
fn last_is_exclusive_and_need_not_exist() {
    let mut registry = registry();
    let name = repository("tag-last");
    push_tags(&mut registry, &name, &["a", "b", "c", "d"]);
    for (query, expected) in [
        ("last=b", json!(["c", "d"])),
        ("last=bb", json!(["c", "d"])),
        ("last=d", json!([])),
        ("last=zzz", json!([])),
        ("last=", json!(["a", "b", "c", "d"])),
        ("n=2&last=a", json!(["b", "c"])),
        ("last=a&n=1", json!(["b"])),
        ("last=%62", json!(["c", "d"])),
        ("last=A", json!(["a", "b", "c", "d"])),
    ] {
        let answer = registry
            .get(&format!("/v2/{name}/tags/list?{query}"))
            .expect(200);
        assert_eq!(answer.json()["tags"], expected, "{query}");
    }
}

#[test]
fn zero_entries_are_an_empty_list_without_a_link() {
    let mut registry = registry();
    let name = repository("tag-zero");
    push_tags(&mut registry, &name, &["a", "b"]);
    let answer = registry
        .get(&format!("/v2/{name}/tags/list?n=0"))
        .expect(200);
    assert_eq!(answer.json()["tags"], json!([]));
    assert!(answer.header("Link").is_none());
}

#[test]
fn page_sizes_are_digits_and_clamped() {
    let mut registry = registry();
    let name = repository("tag-size");
    push_tags(&mut registry, &name, &["a", "b"]);
    for huge in [
        "1000",
        "1001",
        "999999999",
        "18446744073709551615",
        "99999999999999999999999",
    ] {
        let answer = registry
            .get(&format!("/v2/{name}/tags/list?n={huge}"))
            .expect_any(&[200, 400]);
        if answer.status == 200 {
            assert_eq!(answer.json()["tags"], json!(["a", "b"]), "{huge}");
        }
    }
    for bad in ["-1", "+1", "a", "1.5", "0x10", "%2B1", "1e3", " 1"] {
        let target = format!("/v2/{name}/tags/list?n={}", bad.replace(' ', "%20"));
        registry.get(&target).expect(400);
    }
}

#[test]
fn a_page_holds_a_thousand_tags_whatever_is_asked_for() {
    let mut registry = registry();
    let name = repository("tag-thousand");
    let tags: Vec<String> = (0..1100).map(|number| format!("t{number:04}")).collect();
    for hundred in tags.chunks(100) {
        let views: Vec<&str> = hundred.iter().map(String::as_str).collect();
        push_tags(&mut registry, &name, &views);
    }
    for query in ["", "?n=1000", "?n=1001", "?n=99999999999999999999999"] {
        let first = registry
            .get(&format!("/v2/{name}/tags/list{query}"))
            .expect(200);
        let next = first.next_page().expect("a second page");
        let mut walked = names(&first.json());
        assert_eq!(walked.len(), 1000, "{query}");
        let second = registry.get(&next).expect(200);
        assert!(second.next_page().is_none());
        walked.extend(names(&second.json()));
        assert_eq!(walked, tags);
    }
}

#[test]
fn values_in_links_are_percent_encoded() {
    let mut registry = registry();
    let name = repository("tag-link");
    push_tags(&mut registry, &name, &["a", "b", "c"]);
    // What a client sent is not put back into a header as it came.
    let target = format!("/v2/{name}/tags/list?n=1&last=%0D%0ASet-Cookie:%20x=1");
    let answer = registry.get(&target).expect_any(&[200, 400]);
    assert!(answer.header("Set-Cookie").is_none());
    let target = format!("/v2/{name}/tags/list?n=1&other=%3E%22%0a");
    let answer = registry.get(&target).expect(200);
    let next = answer.next_page().expect("a second page");
    assert!(!next.contains(['<', '>', '"', ' ']), "{next}");
}

#[test]
fn a_repository_that_is_not_there_is_404() {
    let mut registry = registry();
    let target = format!("/v2/{}/tags/list", repository("nowhere"));
    registry.get(&target).expect(404).says(&["NAME_UNKNOWN"]);
    registry
        .get(&format!("{target}?n=0"))
        .expect(404)
        .says(&["NAME_UNKNOWN"]);
}

#[test]
fn a_repository_without_tags_has_an_empty_list() {
    let mut registry = registry();
    let name = repository("untagged");
    let (bytes, _) = registry.push_image(&name, "only", 103);
    registry
        .call("DELETE", &format!("/v2/{name}/manifests/only"))
        .expect(202);
    let answer = registry.get(&format!("/v2/{name}/tags/list")).expect(200);
    assert_eq!(answer.json()["tags"], json!([]));
    registry
        .get(&format!("/v2/{name}/manifests/{}", sha256(&bytes)))
        .expect(200);
}
