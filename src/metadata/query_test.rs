//! Tests of lists: order, paging, filters and their bounds.

use crate::metadata::world::{Body, World, image, name, tag};
use crate::metadata::{
    ReferrerQuery, has_repository, referrers, repositories, tag as tag_of, tags,
};
use crate::oci::Digest;

const ALL: ReferrerQuery<'static> = ReferrerQuery {
    artifact_type: None,
    after: None,
    limit: usize::MAX,
};

fn texts<T: ToString>(entries: &[T]) -> Vec<String> {
    entries.iter().map(ToString::to_string).collect()
}

/// A world with an image in `a` and nothing else.
fn with_image() -> (World, Body) {
    let mut world = World::default();
    world.link("a", "config");
    let body = image("config", &[], None);
    world.put("a", &body, &[]);
    (world, body)
}

#[test]
fn tags_come_in_order_whatever_their_case_and_pages_join() {
    let (mut world, body) = with_image();
    world.put(
        "a",
        &body,
        &["b", "C", "a", "B", "A", "a.1", "a-1", "_", "10", "9"],
    );
    let expected = ["10", "9", "_", "A", "a", "a-1", "a.1", "B", "b", "C"];
    let all = tags(&world.view, &name("a"), None, 10).unwrap();
    assert_eq!(
        (texts(&all.entries).as_slice(), all.more),
        (expected.map(String::from).as_slice(), false)
    );
    let mut joined: Vec<String> = Vec::new();
    loop {
        let after = joined.last().map(String::as_str);
        let page = tags(&world.view, &name("a"), after, 3).unwrap();
        joined.extend(texts(&page.entries));
        if !page.more {
            break;
        }
    }
    assert_eq!(joined, expected);
}

#[test]
fn a_page_starts_behind_what_need_not_exist() {
    let (mut world, body) = with_image();
    world.put("a", &body, &["a", "b", "c"]);
    let behind = |after| {
        texts(
            &tags(&world.view, &name("a"), Some(after), 9)
                .unwrap()
                .entries,
        )
    };
    assert_eq!(behind("a"), ["b", "c"]);
    assert_eq!(behind("aa"), ["b", "c"]);
    assert_eq!(behind(""), ["a", "b", "c"]);
    assert_eq!(behind("zzz"), Vec::<String>::new());
    assert_eq!(behind("\u{10ffff}"), Vec::<String>::new());
    assert_eq!(behind("a\0"), ["b", "c"]);
}

#[test]
fn an_empty_page_says_that_nothing_follows() {
    let (mut world, body) = with_image();
    world.put("a", &body, &["t"]);
    let none = tags(&world.view, &name("a"), None, 0).unwrap();
    assert_eq!((none.entries.len(), none.more), (0, false));
    assert!(!has_repository(&world.view, &name("b")).unwrap());
    assert_eq!(tag_of(&world.view, &name("b"), &tag("t")).unwrap(), None);
}

#[test]
fn neighbours_do_not_leak_into_a_list() {
    let mut world = World::default();
    let body = image("config", &[], None);
    for repository in ["a", "a-b", "a.b", "a/b", "a0", "b"] {
        world.link(repository, "config");
        world.put(repository, &body, &[&repository.replace('/', "_")]);
    }
    assert_eq!(
        texts(&tags(&world.view, &name("a"), None, 9).unwrap().entries),
        ["a"]
    );
    let page = repositories(&world.view, Some("a"), 3).unwrap();
    assert_eq!(
        (texts(&page.entries), page.more),
        (vec!["a-b".into(), "a.b".into(), "a/b".into()], true)
    );
}

#[test]
fn referrers_filter_by_type_and_page_by_digest() {
    let (mut world, subject) = with_image();
    let mut expected: Vec<Digest> = Vec::new();
    for number in 0..7 {
        let config = format!("config{number}");
        world.link("a", &config);
        let body = image(&config, &[], Some(&subject));
        world.put("a", &body, &[]);
        expected.push(body.digest());
    }
    expected.sort_unstable();
    let subject = subject.digest();
    let list =
        |query: ReferrerQuery<'_>| referrers(&world.view, &name("a"), &subject, query).unwrap();
    assert_eq!((list(ALL).descriptors.len(), list(ALL).next), (7, None));
    let typed = |kind| {
        list(ReferrerQuery {
            artifact_type: Some(kind),
            ..ALL
        })
        .descriptors
        .len()
    };
    assert_eq!((typed("a/layer"), typed("a/other")), (7, 0));
    let (mut count, mut after) = (0, None);
    loop {
        let page = list(ReferrerQuery {
            after: after.as_ref(),
            limit: 3,
            ..ALL
        });
        for descriptor in &page.descriptors {
            let text = std::str::from_utf8(descriptor).unwrap();
            assert!(text.contains(&expected[count].to_string()), "{text}");
            count += 1;
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(count, 7);
    let other = referrers(&world.view, &name("b"), &subject, ALL).unwrap();
    assert_eq!(other.descriptors.len(), 0);
}

#[test]
fn a_page_of_referrers_ends_before_its_bytes_do() {
    let (mut world, subject) = with_image();
    for number in 0..3 {
        let body = image("config", &[&format!("~{number}")], Some(&subject));
        let filler = format!(
            r#""annotations":{{"a":"{}"}},"config""#,
            "x".repeat(2_000_000)
        );
        let text = std::str::from_utf8(&body.bytes)
            .unwrap()
            .replacen("\"config\"", &filler, 1);
        let body = Body {
            bytes: text.into(),
            ..body
        };
        world.put("a", &body, &[]);
    }
    let first = referrers(&world.view, &name("a"), &subject.digest(), ALL).unwrap();
    assert_eq!(first.descriptors.len(), 2);
    let rest = ReferrerQuery {
        after: first.next.as_ref(),
        ..ALL
    };
    let second = referrers(&world.view, &name("a"), &subject.digest(), rest).unwrap();
    assert_eq!((second.descriptors.len(), second.next), (1, None));
}
