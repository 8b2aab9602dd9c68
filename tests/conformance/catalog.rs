//! The catalog: every repository, in order and in pages.

use super::support::{Registry, Response};
use super::{registry, repository};

fn names(answer: &Response) -> Vec<String> {
    let body = answer.json();
    let list = body["repositories"]
        .as_array()
        .expect("repositories is a list");
    list.iter()
        .map(|name| name.as_str().unwrap().to_owned())
        .collect()
}

fn walk(registry: &mut Registry, start: String) -> Vec<String> {
    let mut walked = Vec::new();
    let mut target = Some(start);
    while let Some(page) = target {
        let answer = registry.get(&page).expect(200);
        walked.extend(names(&answer));
        target = answer.next_page();
    }
    walked
}

#[test]
fn pushed_repositories_appear_once_and_in_order() {
    let mut registry = registry();
    let base = repository("catalog");
    let mine = ["a", "a-b", "a.b", "a/b", "a0", "b"].map(|leaf| format!("{base}/{leaf}"));
    for name in &mine {
        registry.push_image(name, "v1", 111);
    }
    for start in ["/v2/_catalog".to_owned(), "/v2/_catalog?n=3".to_owned()] {
        let all = walk(&mut registry, start);
        let mut expected = mine.to_vec();
        expected.sort_unstable();
        let found: Vec<String> = all
            .iter()
            .filter(|name| name.starts_with(&format!("{base}/")))
            .cloned()
            .collect();
        assert_eq!(found, expected);
        assert!(all.is_sorted(), "{all:?}");
    }
}

#[test]
fn pages_start_after_last() {
    let mut registry = registry();
    let base = repository("catalog-last");
    for leaf in ["a", "b", "c"] {
        registry.push_image(&format!("{base}/{leaf}"), "v1", 112);
    }
    let last = format!("{base}/a").replace('/', "%2F");
    let answer = registry
        .get(&format!("/v2/_catalog?n=2&last={last}"))
        .expect(200);
    assert_eq!(names(&answer), [format!("{base}/b"), format!("{base}/c")]);
    let answer = registry
        .get(&format!("/v2/_catalog?n=1&last={last}"))
        .expect(200);
    let next = answer.next_page().expect("more repositories");
    assert_eq!(
        names(&registry.get(&next).expect(200)),
        [format!("{base}/c")]
    );
}

#[test]
fn page_sizes_follow_the_rules_of_tag_lists() {
    let mut registry = registry();
    registry.push_image(&repository("catalog-size"), "v1", 113);
    let empty = registry.get("/v2/_catalog?n=0").expect(200);
    assert!(names(&empty).is_empty());
    assert!(empty.header("Link").is_none());
    for bad in ["-1", "x", "%2B1"] {
        registry.get(&format!("/v2/_catalog?n={bad}")).expect(400);
    }
    let answer = registry.get("/v2/_catalog?n=1").expect(200);
    assert_eq!(answer.only("Content-Type"), "application/json");
    assert!(names(&answer).len() <= 1);
}
