//! Random commands against a naive model, with every query compared after each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use super::world::{Body, HOUR_MS, World, batch, digest, image, index, link, name, put, tag};
use super::*;
use crate::oci::{Digest, Repository};
use proptest::prelude::*;

const REPOSITORIES: [&str; 3] = ["a", "a/b", "b"];
const CONTENTS: [&str; 3] = ["one", "two", "three"];
const TAGS: [&str; 2] = ["t", "u"];

/// One random command, by position in the lists above.
#[derive(Debug, Clone)]
enum Step {
    Wait {
        hours: u64,
    },
    Link {
        to: usize,
        content: usize,
        generation: u64,
        is_inline: bool,
    },
    Mount {
        from: Option<usize>,
        to: usize,
        content: usize,
    },
    Unlink {
        from: usize,
        content: usize,
    },
    Put {
        to: usize,
        body: usize,
        tags: usize,
    },
    Delete {
        from: usize,
        body: usize,
    },
    DeleteTag {
        from: usize,
        tag: usize,
    },
    Extend {
        content: usize,
    },
    Condemn {
        content: usize,
        generation: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let (place, content, generation) = (0..3_usize, 0..3_usize, 0..3_u64);
    prop_oneof![
        2 => (1..4_u64).prop_map(|hours| Step::Wait { hours }),
        6 => (place.clone(), content.clone(), generation.clone(), any::<bool>()).prop_map(
            |(to, content, generation, is_inline)| Step::Link { to, content, generation, is_inline }),
        2 => (prop::option::of(place.clone()), place.clone(), content.clone()).prop_map(
            |(from, to, content)| Step::Mount { from, to, content }),
        2 => (place.clone(), content.clone()).prop_map(|(from, content)| Step::Unlink { from, content }),
        8 => (place.clone(), 0..4_usize, 0..4_usize).prop_map(
            |(to, body, tags)| Step::Put { to, body, tags }),
        2 => (place.clone(), 0..4_usize).prop_map(|(from, body)| Step::Delete { from, body }),
        1 => (place, 0..2_usize).prop_map(|(from, tag)| Step::DeleteTag { from, tag }),
        1 => content.clone().prop_map(|content| Step::Extend { content }),
        3 => (content, generation).prop_map(
            |(content, generation)| Step::Condemn { content, generation }),
    ]
}

/// An image, one with a foreign layer about it, an index of both, one about the index.
static BODIES: LazyLock<[Body; 4]> = LazyLock::new(|| {
    let plain = image("one", &["two"], None);
    let about = image("two", &["~three"], Some(&plain));
    let parent = index(&[&plain, &about]);
    let last = image("three", &[], Some(&parent));
    [plain, about, parent, last]
});

/// What body `index` needs: blobs, optional blobs, children.
const NEEDS: [(&[usize], &[usize], &[usize]); 4] = [
    (&[0, 1], &[], &[]),
    (&[1], &[2], &[]),
    (&[], &[], &[0, 1]),
    (&[2], &[], &[]),
];
/// What each body is about.
const SUBJECTS: [Option<usize>; 4] = [None, Some(0), None, Some(2)];

#[derive(Debug, Clone, Copy, PartialEq)]
struct Blob {
    generation: u64,
    is_live: bool,
    lease_until_ms: u64,
}

/// The registry as a few plain collections.
#[derive(Default)]
struct Model {
    now_ms: u64,
    known: BTreeSet<usize>,
    links: BTreeSet<(usize, usize)>,
    blobs: BTreeMap<usize, Blob>,
    /// Repository and body, with the blobs that were there at the push.
    manifests: BTreeMap<(usize, usize), BTreeSet<usize>>,
    tags: BTreeMap<(usize, usize), usize>,
}

impl Model {
    fn run(&mut self, step: &Step) -> Option<Outcome> {
        Some(match *step {
            Step::Wait { hours } => {
                self.now_ms += hours * HOUR_MS;
                return None;
            }
            Step::Link {
                to,
                content,
                generation,
                is_inline,
            } => self.link(to, content, generation, is_inline),
            Step::Mount { from, to, content } => {
                let has = |from| self.links.contains(&(from, content));
                let is_there = match from {
                    Some(from) => has(from),
                    None => (0..3).any(has),
                };
                if has(to) || is_there {
                    self.enter(to, content)
                } else {
                    Outcome::NotFound(What::Blob)
                }
            }
            Step::Unlink { from, content } => {
                let is_there = self.links.remove(&(from, content));
                self.gone(is_there, from, What::Blob)
            }
            Step::Put { to, body, tags } => self.put(to, body, tags),
            Step::Delete { from, body } => {
                let is_there = self.manifests.remove(&(from, body)).is_some();
                self.tags
                    .retain(|place, target| (place.0, *target) != (from, body));
                self.gone(is_there, from, What::Manifest)
            }
            Step::DeleteTag { from, tag } => {
                let is_there = self.tags.remove(&(from, tag)).is_some();
                self.gone(is_there, from, What::Tag)
            }
            Step::Extend { content } => match self.blobs.get(&content) {
                Some(blob) if blob.is_live => {
                    self.lease(content);
                    Outcome::Applied
                }
                _ => Outcome::BlobsMissing(vec![digest(CONTENTS[content])]),
            },
            Step::Condemn {
                content,
                generation,
            } => self.condemn(content, generation),
        })
    }

    fn gone(&self, is_there: bool, place: usize, what: What) -> Outcome {
        if is_there {
            Outcome::Deleted
        } else if self.known.contains(&place) {
            Outcome::NotFound(what)
        } else {
            Outcome::NotFound(What::Repository)
        }
    }

    fn link(&mut self, to: usize, content: usize, generation: u64, is_inline: bool) -> Outcome {
        let before = self.blobs.get(&content).copied();
        if before.is_none_or(|before| !before.is_live) {
            let next = before.map_or(0, |before| before.generation + 1);
            if generation < next && !is_inline {
                return Outcome::GenerationCondemned { next };
            }
            let generation = generation.max(next);
            self.blobs.insert(
                content,
                Blob {
                    generation,
                    is_live: true,
                    lease_until_ms: 0,
                },
            );
        }
        self.enter(to, content)
    }

    fn enter(&mut self, to: usize, content: usize) -> Outcome {
        self.known.insert(to);
        self.links.insert((to, content));
        self.lease(content);
        Outcome::BlobLinked {
            generation: self.blobs[&content].generation,
        }
    }

    fn lease(&mut self, content: usize) {
        let blob = self.blobs.get_mut(&content).unwrap();
        if blob.lease_until_ms < self.now_ms + HOUR_MS {
            blob.lease_until_ms = self.now_ms + 2 * HOUR_MS;
        }
    }

    fn put(&mut self, to: usize, body: usize, tags: usize) -> Outcome {
        let (needed, optional, children) = NEEDS[body];
        let all = &*BODIES;
        let mut missing: Vec<Digest> = Vec::new();
        let has = |content: &&usize| self.links.contains(&(to, **content));
        missing.extend(
            needed
                .iter()
                .filter(|one| !has(one))
                .map(|one| digest(CONTENTS[*one])),
        );
        let is_absent = |child: &&usize| !self.manifests.contains_key(&(to, **child));
        missing.extend(
            children
                .iter()
                .filter(is_absent)
                .map(|child| all[*child].digest()),
        );
        missing.sort_unstable();
        if !missing.is_empty() {
            return Outcome::BlobsMissing(missing);
        }
        let parts: BTreeSet<usize> = needed.iter().chain(optional).filter(has).copied().collect();
        let before = self.manifests.insert((to, body), parts.clone());
        let is_new = before.is_none();
        self.known.insert(to);
        let mut is_change = before != Some(parts);
        for tag in 0..tags.min(TAGS.len()) {
            is_change |= self.tags.insert((to, tag), body) != Some(body);
        }
        Outcome::Stored { is_new, is_change }
    }

    fn condemn(&mut self, content: usize, generation: u64) -> Outcome {
        let is_referenced = self
            .manifests
            .values()
            .any(|parts| parts.contains(&content));
        let Some(blob) = self.blobs.get_mut(&content).filter(|blob| blob.is_live) else {
            return Outcome::Kept(Kept::Absent);
        };
        if blob.generation != generation {
            return Outcome::Kept(Kept::OtherGeneration);
        }
        if blob.lease_until_ms > self.now_ms {
            return Outcome::Kept(Kept::Leased);
        }
        if is_referenced {
            return Outcome::Kept(Kept::Referenced);
        }
        blob.is_live = false;
        self.links.retain(|(_, linked)| *linked != content);
        Outcome::Condemned
    }

    /// Compares everything that can be asked.
    fn check(&self, view: &dyn View) {
        for content in 0..CONTENTS.len() {
            self.check_blob(view, content);
        }
        for (place, text) in REPOSITORIES.iter().enumerate() {
            self.check_repository(view, place, &name(text));
        }
        let expected = REPOSITORIES
            .iter()
            .enumerate()
            .filter(|(place, _)| self.known.contains(place));
        let listed = repositories(view, None, 10).unwrap().entries;
        assert_eq!(
            listed,
            expected.map(|(_, text)| name(text)).collect::<Vec<_>>()
        );
    }

    fn check_blob(&self, view: &dyn View, content: usize) {
        let digest = digest(CONTENTS[content]);
        let expected = self.blobs.get(&content).filter(|blob| blob.is_live);
        let found = blob(view, &digest).unwrap();
        let brief = found.map(|record| (record.generation, record.lease_until_ms));
        assert_eq!(
            brief,
            expected.map(|blob| (blob.generation, blob.lease_until_ms))
        );
        for (place, text) in REPOSITORIES.iter().enumerate() {
            let expected = found.filter(|_| self.links.contains(&(place, content)));
            assert_eq!(linked_blob(view, &name(text), &digest).unwrap(), expected);
        }
        let home = (0..3).find(|place| self.links.contains(&(*place, content)));
        let expected = home.map(|place| name(REPOSITORIES[place]));
        assert_eq!(find_anywhere(view, &digest).unwrap(), expected);
        let next = self
            .blobs
            .get(&content)
            .map_or(0, |blob| blob.generation + 1);
        assert_eq!(next_generation(view, &digest).unwrap(), next);
        let is_inline = found.is_some_and(|record| record.is_inline);
        assert_eq!(inline_content(view, &digest).unwrap().is_some(), is_inline);
        let has_extents = found.is_some() && !is_inline;
        assert_eq!(
            extent_checksums(view, &digest).unwrap().is_some(),
            has_extents
        );
    }

    fn check_repository(&self, view: &dyn View, place: usize, repository: &Repository) {
        assert_eq!(
            has_repository(view, repository).unwrap(),
            self.known.contains(&place)
        );
        let all = &*BODIES;
        let mut listed = Vec::new();
        for (at, text) in TAGS.iter().enumerate() {
            let target = self.tags.get(&(place, at)).map(|body| all[*body].digest());
            assert_eq!(super::tag(view, repository, &tag(text)).unwrap(), target);
            listed.extend(target.map(|_| tag(text)));
        }
        assert_eq!(tags(view, repository, None, 10).unwrap().entries, listed);
        for (at, body) in all.iter().enumerate() {
            let stored = manifest(view, repository, &body.digest()).unwrap();
            let expected = self
                .manifests
                .contains_key(&(place, at))
                .then_some(&body.bytes);
            assert_eq!(stored.as_ref().map(|stored| &stored.bytes), expected);
            let is_about = |other: &usize| {
                SUBJECTS[*other] == Some(at) && self.manifests.contains_key(&(place, *other))
            };
            let query = ReferrerQuery {
                artifact_type: None,
                after: None,
                limit: 10,
            };
            let page = referrers(view, repository, &body.digest(), query).unwrap();
            assert_eq!(page.descriptors.len(), (0..4).filter(is_about).count());
        }
    }
}

fn command(step: &Step) -> Option<Command> {
    let blob = |content: usize| digest(CONTENTS[content]);
    let place = |at: usize| name(REPOSITORIES[at]);
    Some(match *step {
        Step::Wait { .. } => return None,
        Step::Link {
            to,
            content,
            generation,
            is_inline,
        } => {
            let mut command = link(REPOSITORIES[to], CONTENTS[content], generation);
            if let Command::LinkBlob { inline, .. } = &mut command {
                *inline = is_inline.then(|| CONTENTS[content].into());
            }
            command
        }
        Step::Mount { from, to, content } => Command::MountBlob {
            source: from.map(place),
            target: place(to),
            digest: blob(content),
        },
        Step::Unlink { from, content } => Command::UnlinkBlob {
            repository: place(from),
            digest: blob(content),
        },
        Step::Put { to, body, tags } => put(
            REPOSITORIES[to],
            &BODIES[body],
            &TAGS[..tags.min(TAGS.len())],
        ),
        Step::Delete { from, body } => Command::DeleteManifest {
            repository: place(from),
            digest: BODIES[body].digest(),
        },
        Step::DeleteTag { from, tag: at } => Command::DeleteTag {
            repository: place(from),
            tag: tag(TAGS[at]),
        },
        Step::Extend { content } => Command::ExtendLeases {
            digests: vec![blob(content)],
        },
        Step::Condemn {
            content,
            generation,
        } => Command::Condemn {
            digest: blob(content),
            generation,
        },
    })
}

/// Every key and value that a scan of everything visits.
fn everything(view: &dyn View) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut all = Vec::new();
    view.scan(&[], &[255], &mut |key, value| {
        all.push((key.to_vec(), value.to_vec()));
        true
    })
    .unwrap();
    all
}

proptest! {
    #[test]
    fn random_commands_do_what_the_model_does(steps in prop::collection::vec(step(), 1..60)) {
        let (mut world, mut model) = (World::default(), Model::default());
        for step in &steps {
            let expected = model.run(step);
            world.time_ms = model.now_ms;
            let outcome = command(step).map(|command| world.run(&command));
            prop_assert_eq!(outcome, expected, "{:?}", step);
            model.check(&world.view);
        }
    }

    #[test]
    fn a_batch_over_an_overlay_is_the_same_as_one_by_one(
        steps in prop::collection::vec(step(), 1..60), cut in any::<prop::sample::Index>(),
    ) {
        let (mut one_by_one, mut start) = (MemoryView::default(), MemoryView::default());
        let mut late = Vec::new();
        let (mut time_ms, cut) = (0, cut.index(steps.len()));
        for (at, step) in steps.iter().enumerate() {
            if let Step::Wait { hours } = step {
                time_ms += hours * HOUR_MS;
            }
            let Some(command) = command(step) else { continue };
            let context = Context { index: u64::try_from(at).unwrap() + 1, time_ms };
            let (_, delta) = apply(&one_by_one, context, &command).unwrap();
            one_by_one.absorb(&delta);
            if at < cut {
                start.absorb(&delta);
            } else {
                late.push((context, command));
            }
        }
        let delta = batch(&start, &late);
        let mut overlay = Overlay::new(&start);
        overlay.absorb(delta.clone());
        prop_assert_eq!(everything(&overlay), everything(&one_by_one));
        start.absorb(&delta);
        prop_assert_eq!(start, one_by_one);
    }

    #[test]
    fn a_scan_over_an_overlay_stops_where_it_is_told(
        steps in prop::collection::vec(step(), 1..30), cut in any::<prop::sample::Index>(), stop in 1..20_usize,
    ) {
        let mut view = MemoryView::default();
        let (early, late) = steps.split_at(cut.index(steps.len()));
        let contexts = |steps: &[Step]| {
            let context = Context { index: 1, time_ms: 1 };
            steps.iter().filter_map(command).map(|command| (context, command)).collect::<Vec<_>>()
        };
        view.absorb(&batch(&view, &contexts(early)));
        let mut overlay = Overlay::new(&view);
        overlay.absorb(batch(&view, &contexts(late)));
        let mut visited = Vec::new();
        overlay.scan(b"c", b"t", &mut |key, value| {
            visited.push((key.to_vec(), value.to_vec()));
            visited.len() < stop
        }).unwrap();
        let is_inside = |(key, _): &(Vec<u8>, Vec<u8>)| (&b"c"[..]..&b"t"[..]).contains(&key.as_slice());
        let expected = everything(&overlay).into_iter().filter(is_inside).take(stop);
        prop_assert_eq!(visited, expected.collect::<Vec<_>>());
    }
}
