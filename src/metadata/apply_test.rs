//! Tests of single commands: what each decides, and what it leaves alone.

use super::*;
use crate::metadata::world::{Body, HOUR_MS, World, digest, image, index, link, name, put, tag};
use crate::metadata::{
    Acknowledge, EventKind, Expected, Kept, ReferrerQuery, Refusal, What, blob, events,
    extent_checksums, find_anywhere, has_repository, inline_content, linked_blob, manifest,
    next_generation, referrers, repositories, state_hash, tag as tag_of, tag_history, tags,
};
use crate::oci::Digest;
use bytes::Bytes;

const STORED: Outcome = Outcome::Stored {
    is_new: true,
    is_change: true,
};
const LINKED: Outcome = Outcome::BlobLinked { generation: 0 };

fn condemn(content: &str, generation: u64) -> Command {
    Command::Condemn {
        digest: digest(content),
        generation,
    }
}

fn unlink(repository: &str, content: &str) -> Command {
    Command::UnlinkBlob {
        repository: name(repository),
        digest: digest(content),
    }
}

fn mount(source: Option<&str>, target: &str, content: &str) -> Command {
    let (source, target) = (source.map(name), name(target));
    Command::MountBlob {
        source,
        target,
        digest: digest(content),
    }
}

fn delete(repository: &str, digest: Digest) -> Command {
    Command::DeleteManifest {
        repository: name(repository),
        digest,
    }
}

fn delete_tag(repository: &str, text: &str) -> Command {
    Command::DeleteTag {
        repository: name(repository),
        tag: tag(text),
    }
}

fn set_policy(prefix: &str, policy: Option<Policy>) -> Command {
    Command::SetPolicy {
        prefix: Some(name(prefix)),
        policy,
    }
}

fn tag_names(world: &World, repository: &str) -> Vec<String> {
    let page = tags(&world.view, &name(repository), None, 1000).unwrap();
    page.entries.iter().map(ToString::to_string).collect()
}

/// A world with one image in `a`, tagged `t`.
fn with_image() -> (World, Body) {
    let mut world = World::default();
    world.link("a", "config");
    world.link("a", "layer");
    let body = image("config", &["layer"], None);
    assert_eq!(world.put("a", &body, &["t"]), STORED);
    (world, body)
}

#[test]
fn a_linked_blob_is_there_with_its_checksums_and_a_lease() {
    let mut world = World {
        time_ms: 5,
        ..World::default()
    };
    assert_eq!(world.link("a", "x"), LINKED);
    let record = linked_blob(&world.view, &name("a"), &digest("x"))
        .unwrap()
        .unwrap();
    assert_eq!(
        (record.size_bytes, record.generation, record.is_inline),
        (1, 0, false)
    );
    assert!(record.lease_until_ms >= 5 + HOUR_MS);
    let checksums = extent_checksums(&world.view, &digest("x")).unwrap();
    assert_eq!(checksums, Some(vec![crc32fast::hash(b"x")]));
    assert!(has_repository(&world.view, &name("a")).unwrap());
    assert_eq!(
        linked_blob(&world.view, &name("b"), &digest("x")).unwrap(),
        None
    );
}

#[test]
fn a_second_upload_of_a_live_blob_keeps_the_first_generation() {
    let mut world = World::default();
    world.link("a", "x");
    assert_eq!(next_generation(&world.view, &digest("x")).unwrap(), 1);
    assert_eq!(world.run(&link("b", "x", 1)), LINKED);
    assert!(
        linked_blob(&world.view, &name("b"), &digest("x"))
            .unwrap()
            .is_some()
    );
}

#[test]
fn an_inline_blob_lives_in_the_state() {
    let mut world = World::default();
    let content = Bytes::from_static(b"small");
    let command = Command::LinkBlob {
        repository: name("a"),
        digest: digest("small"),
        size_bytes: 5,
        generation: 0,
        extent_checksums: Vec::new(),
        inline: Some(content.clone()),
    };
    assert_eq!(world.run(&command), LINKED);
    assert_eq!(
        inline_content(&world.view, &digest("small")).unwrap(),
        Some(content)
    );
    assert!(
        blob(&world.view, &digest("small"))
            .unwrap()
            .unwrap()
            .is_inline
    );
    world.time_ms = 3 * HOUR_MS;
    assert_eq!(world.run(&condemn("small", 0)), Outcome::Condemned);
    assert_eq!(inline_content(&world.view, &digest("small")).unwrap(), None);
    assert_eq!(world.run(&command), Outcome::BlobLinked { generation: 1 });
}

#[test]
fn a_mount_needs_a_source_that_has_the_blob() {
    let mut world = World::default();
    world.link("a", "x");
    assert_eq!(
        world.run(&mount(Some("b"), "c", "x")),
        Outcome::NotFound(What::Blob)
    );
    assert!(!has_repository(&world.view, &name("c")).unwrap());
    assert_eq!(world.run(&mount(Some("a"), "c", "x")), LINKED);
    assert_eq!(world.run(&mount(None, "d", "x")), LINKED);
    assert_eq!(
        world.run(&mount(None, "d", "y")),
        Outcome::NotFound(What::Blob)
    );
    assert_eq!(
        find_anywhere(&world.view, &digest("x")).unwrap(),
        Some(name("a"))
    );
}

#[test]
fn unlinking_takes_the_blob_from_one_repository_only() {
    let mut world = World::default();
    world.link("a", "x");
    world.link("b", "x");
    assert_eq!(world.run(&unlink("a", "x")), Outcome::Deleted);
    assert_eq!(
        linked_blob(&world.view, &name("a"), &digest("x")).unwrap(),
        None
    );
    assert!(
        linked_blob(&world.view, &name("b"), &digest("x"))
            .unwrap()
            .is_some()
    );
    assert_eq!(world.run(&unlink("a", "x")), Outcome::NotFound(What::Blob));
    assert_eq!(
        world.run(&unlink("c", "x")),
        Outcome::NotFound(What::Repository)
    );
}

#[test]
fn a_manifest_needs_everything_it_names_in_its_own_repository() {
    let mut world = World::default();
    world.link("b", "config");
    world.link("a", "layer");
    let body = image("config", &["layer"], None);
    let missing = Outcome::BlobsMissing(vec![digest("config")]);
    assert_eq!(world.put("a", &body, &["t"]), missing);
    assert_eq!(tag_names(&world, "a"), Vec::<String>::new());
    world.run(&mount(None, "a", "config"));
    assert_eq!(world.put("a", &body, &["t"]), STORED);
    let parent = index(&[&body]);
    let missing = Outcome::BlobsMissing(vec![body.digest()]);
    assert_eq!(world.put("b", &parent, &[]), missing);
    assert_eq!(world.put("a", &parent, &[]), STORED);
}

#[test]
fn a_layer_that_is_a_manifest_and_a_child_that_is_a_blob_are_missing() {
    let (mut world, body) = with_image();
    let text = std::str::from_utf8(&body.bytes).unwrap();
    let odd = image("config", &[text], None);
    assert_eq!(
        world.put("a", &odd, &[]),
        Outcome::BlobsMissing(vec![body.digest()])
    );
    let other = image("layer", &[], None);
    world.link("a", std::str::from_utf8(&other.bytes).unwrap());
    let parent = index(&[&other]);
    assert_eq!(
        world.put("a", &parent, &[]),
        Outcome::BlobsMissing(vec![other.digest()])
    );
}

#[test]
fn a_size_that_differs_from_the_stored_blob_is_told() {
    let mut world = World::default();
    world.link("a", "config");
    let body = image("config", &[], None);
    let text = std::str::from_utf8(&body.bytes)
        .unwrap()
        .replace("\"size\":6", "\"size\":7");
    let body = Body {
        bytes: text.into(),
        ..body
    };
    assert_eq!(
        world.put("a", &body, &[]),
        Outcome::SizesDiffer(vec![digest("config")])
    );
}

#[test]
fn foreign_layers_and_subjects_may_be_absent() {
    let mut world = World::default();
    world.link("a", "config");
    let absent = image("other", &[], None);
    let body = image("config", &["~elsewhere"], Some(&absent));
    assert_eq!(world.put("a", &body, &[]), STORED);
}

#[test]
fn a_foreign_layer_that_came_later_is_kept_after_the_next_push() {
    let mut world = World::default();
    world.link("a", "config");
    let body = image("config", &["~elsewhere"], None);
    world.put("a", &body, &[]);
    world.link("a", "elsewhere");
    assert_eq!(
        world.put("a", &body, &[]),
        Outcome::Stored {
            is_new: false,
            is_change: true
        }
    );
    world.time_ms = 9 * HOUR_MS;
    assert_eq!(
        world.run(&condemn("elsewhere", 0)),
        Outcome::Kept(Kept::Referenced)
    );
}

#[test]
fn a_foreign_layer_that_left_is_let_go_by_the_next_push() {
    let mut world = World::default();
    world.link("a", "config");
    world.link("a", "elsewhere");
    let body = image("config", &["~elsewhere"], None);
    world.put("a", &body, &[]);
    world.run(&unlink("a", "elsewhere"));
    world.put("a", &body, &[]);
    world.time_ms = 9 * HOUR_MS;
    assert_eq!(world.run(&condemn("elsewhere", 0)), Outcome::Condemned);
}

#[test]
fn pushing_the_same_again_changes_nothing_and_still_checks() {
    let (mut world, body) = with_image();
    let unchanged = Outcome::Stored {
        is_new: false,
        is_change: false,
    };
    let before = world.view.clone();
    assert_eq!(world.put("a", &body, &["t"]), unchanged);
    assert_eq!(world.view, before);
    world.run(&unlink("a", "layer"));
    let missing = Outcome::BlobsMissing(vec![digest("layer")]);
    assert_eq!(world.put("a", &body, &["t"]), missing);
}

#[test]
fn a_hundred_tags_move_in_one_step_or_not_at_all() {
    let (mut world, body) = with_image();
    let names: Vec<String> = (0..100).map(|number| format!("v{number:03}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(
        world.put("a", &body, &names),
        Outcome::Stored {
            is_new: false,
            is_change: true
        }
    );
    assert_eq!(tag_names(&world, "a").len(), 101);
    let other = image("layer", &["config", "absent"], None);
    assert!(matches!(
        world.put("a", &other, &names),
        Outcome::BlobsMissing(_)
    ));
    assert_eq!(
        tag_of(&world.view, &name("a"), &tag("v042")).unwrap(),
        Some(body.digest())
    );
}

#[test]
fn a_tag_remembers_the_last_places_it_pointed_at() {
    let mut world = World::default();
    world.link("a", "config");
    let layers: Vec<String> = (0..14).map(|number| format!("~layer{number}")).collect();
    let bodies: Vec<_> = layers
        .iter()
        .map(|layer| image("config", &[layer], None))
        .collect();
    for body in &bodies {
        assert_eq!(world.put("a", body, &["t"]), STORED);
    }
    let history = tag_history(&world.view, &name("a"), &tag("t")).unwrap();
    let expected: Vec<Digest> = bodies
        .iter()
        .rev()
        .skip(1)
        .take(10)
        .map(Body::digest)
        .collect();
    assert_eq!(
        history.iter().map(|one| one.digest).collect::<Vec<_>>(),
        expected
    );
    world.run(&delete_tag("a", "t"));
    assert_eq!(tag_history(&world.view, &name("a"), &tag("t")).unwrap(), []);
}

#[test]
fn deleting_a_tag_leaves_the_manifest() {
    let (mut world, body) = with_image();
    assert_eq!(world.run(&delete_tag("a", "t")), Outcome::Deleted);
    assert_eq!(tag_names(&world, "a"), Vec::<String>::new());
    assert!(
        manifest(&world.view, &name("a"), &body.digest())
            .unwrap()
            .is_some()
    );
    assert_eq!(
        world.run(&delete_tag("a", "t")),
        Outcome::NotFound(What::Tag)
    );
    assert_eq!(
        world.run(&delete_tag("b", "t")),
        Outcome::NotFound(What::Repository)
    );
}

#[test]
fn deleting_a_manifest_takes_its_tags_and_only_its_own() {
    let (mut world, body) = with_image();
    let parent = index(&[&body]);
    world.put("a", &body, &["u"]);
    world.put("a", &parent, &["v"]);
    assert_eq!(world.run(&delete("a", body.digest())), Outcome::Deleted);
    assert_eq!(tag_names(&world, "a"), ["v"]);
    assert_eq!(
        manifest(&world.view, &name("a"), &body.digest()).unwrap(),
        None
    );
    assert!(
        manifest(&world.view, &name("a"), &parent.digest())
            .unwrap()
            .is_some()
    );
    assert_eq!(
        world.run(&delete("a", body.digest())),
        Outcome::NotFound(What::Manifest)
    );
    assert_eq!(
        world.run(&delete("z", body.digest())),
        Outcome::NotFound(What::Repository)
    );
    assert_eq!(
        repositories(&world.view, None, 9).unwrap().entries,
        [name("a")]
    );
}

#[test]
fn manifest_bytes_go_with_the_last_repository_that_has_them() {
    let (mut world, body) = with_image();
    world.run(&mount(None, "b", "config"));
    world.run(&mount(None, "b", "layer"));
    assert_eq!(world.put("b", &body, &[]), STORED);
    world.run(&delete("a", body.digest()));
    let stored = manifest(&world.view, &name("b"), &body.digest())
        .unwrap()
        .unwrap();
    assert_eq!(stored.bytes, body.bytes);
    world.run(&delete("b", body.digest()));
    assert_eq!(
        world
            .view
            .iter()
            .filter(|(key, _)| key.starts_with(b"content/"))
            .count(),
        0
    );
}

#[test]
fn a_referrer_is_listed_until_its_manifest_goes_whatever_its_subject_does() {
    let (mut world, subject) = with_image();
    let body = image("config", &[], Some(&subject));
    world.put("a", &body, &[]);
    let count = |world: &World| {
        let query = ReferrerQuery {
            artifact_type: None,
            after: None,
            limit: 10,
        };
        referrers(&world.view, &name("a"), &subject.digest(), query)
            .unwrap()
            .descriptors
            .len()
    };
    assert_eq!(count(&world), 1);
    world.run(&delete("a", subject.digest()));
    assert_eq!(count(&world), 1);
    world.run(&delete("a", body.digest()));
    assert_eq!(count(&world), 0);
}

#[test]
fn another_content_type_for_the_same_bytes_replaces_the_first() {
    let (mut world, body) = with_image();
    let content_type = crate::oci::MediaType::parse("application/x+json").unwrap();
    let other = Body {
        content_type,
        ..body.clone()
    };
    let outcome = world.put("a", &other, &[]);
    assert_eq!(
        outcome,
        Outcome::Stored {
            is_new: false,
            is_change: true
        }
    );
    let stored = manifest(&world.view, &name("a"), &body.digest())
        .unwrap()
        .unwrap();
    assert_eq!(stored.media_type, other.content_type);
    world.run(&delete("a", body.digest()));
    let is_reference = |key: &Bytes| key.starts_with(b"reference/");
    assert_eq!(
        world
            .view
            .iter()
            .filter(|(key, _)| is_reference(key))
            .count(),
        0
    );
}

#[test]
fn condemn_spares_the_leased_the_referenced_and_the_renewed() {
    let (mut world, body) = with_image();
    assert_eq!(world.run(&condemn("layer", 0)), Outcome::Kept(Kept::Leased));
    world.time_ms = 10 * HOUR_MS;
    assert_eq!(
        world.run(&condemn("layer", 0)),
        Outcome::Kept(Kept::Referenced)
    );
    world.run(&delete("a", body.digest()));
    assert_eq!(
        world.run(&condemn("layer", 1)),
        Outcome::Kept(Kept::OtherGeneration)
    );
    assert_eq!(
        world.run(&condemn("nothing", 0)),
        Outcome::Kept(Kept::Absent)
    );
    let digests = vec![digest("layer")];
    assert_eq!(
        world.run(&Command::ExtendLeases { digests }),
        Outcome::Applied
    );
    assert_eq!(world.run(&condemn("layer", 0)), Outcome::Kept(Kept::Leased));
    world.time_ms = 20 * HOUR_MS;
    assert_eq!(world.run(&condemn("layer", 0)), Outcome::Condemned);
    assert_eq!(
        linked_blob(&world.view, &name("a"), &digest("layer")).unwrap(),
        None
    );
    assert_eq!(blob(&world.view, &digest("layer")).unwrap(), None);
    assert_eq!(find_anywhere(&world.view, &digest("layer")).unwrap(), None);
}

#[test]
fn a_condemned_generation_never_comes_back() {
    let mut world = World::default();
    world.link("a", "x");
    world.time_ms = 3 * HOUR_MS;
    assert_eq!(world.run(&condemn("x", 0)), Outcome::Condemned);
    assert_eq!(
        world.link("a", "x"),
        Outcome::GenerationCondemned { next: 1 }
    );
    assert_eq!(blob(&world.view, &digest("x")).unwrap(), None);
    assert_eq!(next_generation(&world.view, &digest("x")).unwrap(), 1);
    assert_eq!(
        world.run(&link("a", "x", 1)),
        Outcome::BlobLinked { generation: 1 }
    );
    assert_eq!(
        world.run(&condemn("x", 0)),
        Outcome::Kept(Kept::OtherGeneration)
    );
}

#[test]
fn extending_leases_tells_what_is_gone() {
    let mut world = World::default();
    world.link("a", "x");
    let command = Command::ExtendLeases {
        digests: vec![digest("x"), digest("y")],
    };
    assert_eq!(
        world.run(&command),
        Outcome::BlobsMissing(vec![digest("y")])
    );
}

#[test]
fn time_never_runs_backwards() {
    let mut world = World {
        time_ms: 10 * HOUR_MS,
        ..World::default()
    };
    world.link("a", "x");
    world.time_ms = 0;
    world.link("a", "y");
    let record = blob(&world.view, &digest("y")).unwrap().unwrap();
    assert!(record.lease_until_ms >= 11 * HOUR_MS);
}

#[test]
fn immutable_tags_stay_and_new_ones_may_come() {
    let (mut world, body) = with_image();
    let policy = Policy {
        tags_are_immutable: true,
        ..Policy::default()
    };
    world.run(&set_policy("a", Some(policy)));
    let other = image("layer", &[], None);
    let refused = Outcome::Refused(Refusal::TagImmutable(tag("t")));
    assert_eq!(world.put("a", &other, &["u", "t"]), refused);
    assert_eq!(world.run(&delete_tag("a", "t")), refused);
    assert_eq!(
        world.put("a", &body, &["t"]),
        Outcome::Stored {
            is_new: false,
            is_change: false
        }
    );
    assert_eq!(world.put("a", &other, &["u"]), STORED);
    world.run(&set_policy("a", None));
    assert_eq!(
        world.put("a", &other, &["t"]),
        Outcome::Stored {
            is_new: false,
            is_change: true
        }
    );
}

#[test]
fn the_longest_prefix_rules() {
    let mut world = World::default();
    let deny = Policy {
        deletes_are_refused: true,
        acknowledge: Acknowledge::One,
        ..Policy::default()
    };
    for (repository, prefix, policy) in [
        ("a/b/c", "a", Some(deny)),
        ("a/b/d", "a/b", Some(Policy::default())),
        ("ab", "b", Some(deny)),
    ] {
        world.run(&set_policy(prefix, policy));
        world.link(repository, "x");
    }
    world.link("a/x", "x");
    let refused = Outcome::Refused(Refusal::DeletesRefused);
    assert_eq!(world.run(&unlink("a/x", "x")), refused);
    assert_eq!(world.run(&unlink("a/b/c", "x")), Outcome::Deleted);
    assert_eq!(world.run(&unlink("ab", "x")), Outcome::Deleted);
    let everywhere = Command::SetPolicy {
        prefix: None,
        policy: Some(deny),
    };
    world.run(&everywhere);
    world.link("z", "x");
    assert_eq!(world.run(&unlink("z", "x")), refused);
}

#[test]
fn a_tag_moves_only_from_where_the_client_expects_it() {
    let (mut world, body) = with_image();
    let other = image("layer", &[], None);
    let expecting = |expected| match put("a", &other, &["t"]) {
        Command::PutManifest(put) => {
            Command::PutManifest(Box::new(crate::metadata::PutManifest { expected, ..*put }))
        }
        command => command,
    };
    let moved = Outcome::Refused(Refusal::TagMoved(tag("t")));
    assert_eq!(world.run(&expecting(Expected::Absent)), moved);
    assert_eq!(
        world.run(&expecting(Expected::Digest(other.digest()))),
        moved
    );
    assert_eq!(
        world.run(&expecting(Expected::Digest(body.digest()))),
        STORED
    );
}

#[test]
fn events_tell_what_happened_and_leave_with_the_window() {
    let (mut world, body) = with_image();
    world.run(&delete_tag("a", "t"));
    let kinds = |world: &World, after| {
        let page = events(&world.view, after, 10).unwrap();
        page.entries
            .into_iter()
            .map(|(_, event)| event.kind)
            .collect::<Vec<_>>()
    };
    let (pushed, gone) = (EventKind::ManifestPushed, EventKind::TagDeleted);
    assert_eq!(kinds(&world, None), [pushed, gone]);
    let first = events(&world.view, None, 1).unwrap();
    assert_eq!(
        (first.more, first.entries[0].1.digest),
        (true, Some(body.digest()))
    );
    assert_eq!(kinds(&world, Some(first.entries[0].0)), [gone]);
    world.index += crate::base::limits::EVENT_INDEXES_MAX;
    world.run(&delete("a", body.digest()));
    assert_eq!(kinds(&world, None), [EventKind::ManifestDeleted]);
}

#[test]
fn the_hash_tells_order_and_nothing_changes_it_but_changes() {
    let run = |contents: [&str; 2]| {
        let mut world = World::default();
        for content in contents {
            world.link("a", content);
        }
        world.run(&Command::Probe);
        world.run(&delete_tag("a", "t"));
        state_hash(&world.view).unwrap()
    };
    assert_eq!(run(["x", "y"]), run(["x", "y"]));
    assert_ne!(run(["x", "y"]), run(["y", "x"]));
}

#[test]
fn holders_come_and_go_with_the_blob() {
    let mut world = World::default();
    world.link("a", "x");
    let holders = |add: &[&str], remove: &[&str]| Command::Holders {
        node: 1,
        add: add.iter().map(|content| digest(content)).collect(),
        remove: remove.iter().map(|content| digest(content)).collect(),
    };
    let count = |world: &World| {
        world
            .view
            .iter()
            .filter(|(key, _)| key.starts_with(b"holder/"))
            .count()
    };
    world.run(&holders(&["x", "unknown"], &[]));
    assert_eq!(count(&world), 1);
    world.run(&holders(&[], &["x"]));
    assert_eq!(count(&world), 0);
    world.run(&holders(&["x"], &[]));
    world.time_ms = 3 * HOUR_MS;
    world.run(&condemn("x", 0));
    assert_eq!(count(&world), 0);
}
