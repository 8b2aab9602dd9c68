//! The plan against a naive model, and its rules one by one.

use proptest::prelude::*;

use super::super::attempt::Replaced;
use super::super::plan_sources::{LIAR_REST, SOURCE_REST_MAX, SOURCE_REST_MIN};
use super::*;
use crate::base::Clock;
use crate::oci::{Algorithm, Digest};

const CAPS: Caps = Caps {
    background_fetches: 2,
    fetches: 3,
    backlog: 5,
    wanted: 3,
};

fn file(number: u8) -> BlobFile {
    BlobFile {
        digest: Digest::of(Algorithm::Sha256, &[number]),
        generation: u64::from(number) % 2,
    }
}

fn start(number: u8, source: u64, urgency: Urgency) -> Start {
    let file = file(number);
    Start {
        file,
        source,
        urgency,
    }
}

/// The same rules over a list that is walked for every question.
struct Model {
    /// In the order of arrival.
    blobs: Vec<Blob>,
    sources: BTreeMap<u64, (u32, Option<Instant>)>,
    rests_until: Option<Instant>,
}

#[derive(Clone)]
struct Blob {
    number: u8,
    is_known: bool,
    waiters: usize,
    rests_until: Option<Instant>,
    running_from: Option<u64>,
    failures: u32,
    last_end: Option<Instant>,
    avoided: BTreeMap<u64, Instant>,
}

impl Blob {
    fn urgency(&self) -> Urgency {
        if self.waiters > 0 {
            Urgency::OnDemand
        } else {
            Urgency::Background
        }
    }

    fn rest(&self) -> Duration {
        let longest = [REST_MAX, REST_URGENT_MAX][usize::from(self.waiters > 0)];
        (1..self.failures.min(30)).fold(REST_MIN, |rest, _| (rest * 2).min(longest))
    }
}

impl Model {
    fn new() -> Self {
        Self {
            blobs: Vec::new(),
            sources: BTreeMap::new(),
            rests_until: None,
        }
    }

    fn find(&mut self, number: u8) -> Option<&mut Blob> {
        self.blobs.iter_mut().find(|blob| blob.number == number)
    }

    fn enter(&mut self, number: u8) -> &mut Blob {
        if self.find(number).is_none() {
            self.blobs.push(Blob {
                number,
                is_known: false,
                waiters: 0,
                rests_until: None,
                running_from: None,
                failures: 0,
                last_end: None,
                avoided: BTreeMap::new(),
            });
        }
        self.find(number).unwrap()
    }

    fn drop_useless(&mut self) {
        let is_useful =
            |blob: &Blob| blob.is_known || blob.waiters > 0 || blob.running_from.is_some();
        self.blobs.retain(is_useful);
    }

    fn running(&self) -> usize {
        let running = |blob: &&Blob| blob.running_from.is_some();
        self.blobs.iter().filter(running).count()
    }

    fn add(&mut self, number: u8) -> bool {
        if self.find(number).is_none() && self.blobs.len() >= CAPS.backlog {
            return false;
        }
        self.enter(number).is_known = true;
        true
    }

    fn want(&mut self, number: u8, now: Instant) -> bool {
        let wanted = self.blobs.iter().filter(|blob| blob.waiters > 0).count();
        let is_wanted = self.find(number).is_some_and(|blob| blob.waiters > 0);
        if !is_wanted && wanted >= CAPS.wanted {
            return false;
        }
        let blob = self.enter(number);
        blob.waiters += 1;
        if blob.waiters == 1 {
            let soonest = blob.last_end.map_or(now, |end| end + REST_URGENT_MAX);
            blob.rests_until = blob.rests_until.map(|until| until.min(soonest));
            for until in blob.avoided.values_mut() {
                *until = (*until).min(soonest);
            }
        }
        true
    }

    fn unwant(&mut self, number: u8) {
        if let Some(blob) = self.find(number) {
            blob.waiters = blob.waiters.saturating_sub(1);
        }
        self.drop_useless();
    }

    fn remove(&mut self, number: u8) -> bool {
        if let Some(blob) = self.find(number) {
            (blob.is_known, blob.waiters) = (false, 0);
        }
        self.drop_useless();
        self.find(number).is_some()
    }

    fn next(&mut self, now: Instant, holders: &[Vec<u64>]) -> Option<Start> {
        if self.rests_until.is_some_and(|until| now < until) {
            return None;
        }
        loop {
            let is_ready = |blob: &&Blob| {
                blob.running_from.is_none() && blob.rests_until.is_none_or(|until| until <= now)
            };
            let mut ready: Vec<Blob> = self.blobs.iter().filter(is_ready).cloned().collect();
            ready.sort_by_key(Blob::urgency);
            let first = ready.first()?.clone();
            let most = match first.urgency() {
                Urgency::OnDemand => CAPS.fetches,
                Urgency::Background => CAPS.background_fetches,
            };
            if self.running() >= most {
                return None;
            }
            let candidates = &holders[usize::from(first.number)];
            let mut free = Vec::new();
            let mut later = Vec::new();
            for (position, source) in candidates.iter().enumerate() {
                let source_until = self.sources.get(source).and_then(|(_, until)| *until);
                let until = source_until.max(first.avoided.get(source).copied());
                let from = |blob: &&Blob| blob.running_from == Some(*source);
                let busy = self.blobs.iter().filter(from).count();
                match until {
                    Some(until) if until > now => later.push(until),
                    _ => free.push((first.avoided.contains_key(source), busy, position)),
                }
            }
            free.sort_unstable();
            let blob = self.find(first.number).unwrap();
            if let Some((_, _, position)) = free.first() {
                let source = candidates[*position];
                (blob.running_from, blob.rests_until) = (Some(source), None);
                return Some(start(first.number, source, first.urgency()));
            }
            blob.failures += u32::from(later.is_empty());
            let due = later.iter().min().copied();
            blob.rests_until = Some(due.unwrap_or_else(|| now + blob.rest()));
        }
    }

    fn ended(&mut self, number: u8, how: Ended, now: Instant) {
        let Some(blob) = self.find(number) else {
            return;
        };
        let Some(source) = blob.running_from.take() else {
            return;
        };
        blob.last_end = Some(now);
        blob.failures = if how.has_moved() {
            1
        } else {
            blob.failures + 1
        };
        if how == Ended::Sealed {
            (blob.is_known, blob.waiters) = (false, 0);
        }
        self.note(number, source, how, now);
        if how == Ended::LocalFailed {
            self.rests_until = Some(now + LOCAL_REST);
        }
        self.drop_useless();
    }

    fn replaced(&mut self, number: u8, who: Replaced, now: Instant) {
        let Replaced {
            source,
            how,
            successor,
        } = who;
        self.note(number, source, how, now);
        if let Some(blob) = self.find(number)
            && blob.running_from == Some(source)
        {
            blob.running_from = Some(successor);
        }
    }

    /// What becomes of a source.
    fn note(&mut self, number: u8, source: u64, how: Ended, now: Instant) {
        let has_moved = how == Ended::SourceFailed { has_moved: true };
        if let Some(blob) = self.find(number) {
            let rest = match how {
                Ended::SourceFailed { .. }
                | Ended::SourceLacks { .. }
                | Ended::SourceBusy { .. } => Some(blob.rest()),
                Ended::SourceLied => Some(blob.rest().max(LIAR_REST)),
                Ended::Sealed | Ended::LocalFailed | Ended::GivenUp => None,
            };
            blob.avoided.extend(rest.map(|rest| (source, now + rest)));
        }
        let entry = self.sources.entry(source).or_default();
        match how {
            Ended::SourceFailed { .. } => {
                entry.0 = if has_moved { 1 } else { entry.0 + 1 };
                let rest = (1..entry.0.min(30)).fold(SOURCE_REST_MIN, |rest, _| rest * 2);
                entry.1 = Some(now + rest.min(SOURCE_REST_MAX));
            }
            Ended::Sealed => *entry = (0, None),
            Ended::LocalFailed
            | Ended::SourceLacks { .. }
            | Ended::SourceBusy { .. }
            | Ended::SourceLied
            | Ended::GivenUp => {}
        }
    }

    /// Whom else to ask for a blob that is being fetched.
    fn others(&self, number: u8, candidates: &[u64], now: Instant) -> Vec<u64> {
        let find = |blob: &&Blob| blob.number == number;
        let blob = self.blobs.iter().find(find).unwrap();
        let mut free = Vec::new();
        for (position, source) in candidates.iter().enumerate() {
            let rests_until = self.sources.get(source).and_then(|(_, until)| *until);
            let avoided_until = blob.avoided.get(source).copied();
            let is_free = [rests_until, avoided_until]
                .iter()
                .flatten()
                .all(|until| *until <= now);
            if is_free && blob.running_from != Some(*source) {
                let from = |blob: &&Blob| blob.running_from == Some(*source);
                let busy = self.blobs.iter().filter(from).count();
                free.push((avoided_until.is_some(), busy, position, *source));
            }
        }
        free.sort_unstable();
        free.into_iter()
            .map(|(.., source)| source)
            .take(3)
            .collect()
    }
}

#[derive(Debug, Clone)]
enum Step {
    Add(u8),
    Want(u8),
    Unwant(u8),
    Remove(u8),
    Hold(u8, Vec<u64>),
    Next,
    /// Ends one of the running fetches.
    Ended(usize, Ended),
    /// A source of one of them fails, and another one goes on.
    Replaced(usize, Replaced),
    Pass(Duration),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let blob = || 0_u8..8;
    let ends = prop_oneof![
        3 => Just(Ended::Sealed),
        2 => any::<bool>().prop_map(|has_moved| Ended::SourceFailed { has_moved }),
        1 => any::<bool>().prop_map(|has_moved| Ended::SourceLacks { has_moved }),
        1 => any::<bool>().prop_map(|has_moved| Ended::SourceBusy { has_moved }),
        1 => Just(Ended::SourceLied),
        1 => Just(Ended::LocalFailed),
        1 => Just(Ended::GivenUp),
    ];
    let failures = prop_oneof![
        2 => any::<bool>().prop_map(|has_moved| Ended::SourceFailed { has_moved }),
        1 => any::<bool>().prop_map(|has_moved| Ended::SourceLacks { has_moved }),
        1 => Just(Ended::SourceLied),
    ];
    let replaced = (any::<usize>(), 1_u64..4, failures, 1_u64..4);
    let step = prop_oneof![
        2 => replaced.prop_map(|(index, source, how, successor)| {
            Step::Replaced(index, Replaced { source, how, successor })
        }),
        4 => blob().prop_map(Step::Add),
        2 => blob().prop_map(Step::Want),
        2 => blob().prop_map(Step::Unwant),
        1 => blob().prop_map(Step::Remove),
        3 => (blob(), prop::collection::vec(1_u64..4, 0..3))
            .prop_map(|(blob, nodes)| Step::Hold(blob, nodes)),
        6 => Just(Step::Next),
        4 => (any::<usize>(), ends).prop_map(|(index, how)| Step::Ended(index, how)),
        3 => (1_u64..12_000).prop_map(|ms| Step::Pass(Duration::from_millis(ms))),
    ];
    prop::collection::vec(step, 1..120)
}

proptest! {
    #[test]
    fn the_plan_does_what_the_naive_model_does(steps in steps()) {
        let clock = Clock::hand_moved();
        let (mut plan, mut model) = (Plan::new(CAPS), Model::new());
        let mut holders: Vec<Vec<u64>> = vec![vec![1]; 8];
        let mut running: Vec<u8> = Vec::new();
        for step in steps {
            let now = clock.now();
            match step {
                Step::Add(blob) => prop_assert_eq!(plan.add(file(blob)), model.add(blob)),
                Step::Want(blob) => {
                    prop_assert_eq!(plan.want(file(blob), now), model.want(blob, now));
                }
                Step::Unwant(blob) => {
                    plan.unwant(file(blob));
                    model.unwant(blob);
                }
                Step::Remove(blob) => {
                    prop_assert_eq!(plan.remove(file(blob)), model.remove(blob));
                }
                Step::Hold(blob, nodes) => holders[usize::from(blob)] = nodes,
                Step::Next => {
                    let of = |wanted: &BlobFile| {
                        let number = (0..8).find(|number| file(*number) == *wanted).unwrap();
                        holders[usize::from(number)].clone()
                    };
                    let begun = plan.next(now, of);
                    prop_assert_eq!(begun, model.next(now, &holders));
                    if let Some(begun) = begun {
                        let number = (0..8).find(|number| file(*number) == begun.file).unwrap();
                        prop_assert!(!running.contains(&number), "two fetches of one blob");
                        let all = &holders[usize::from(number)];
                        let others = plan.others(&begun.file, all, now);
                        prop_assert_eq!(others, model.others(number, all, now));
                        running.push(number);
                    } else if let Some(due) = plan.due() {
                        prop_assert!(due > now, "due {:?} would spin", due - now);
                        prop_assert!(due <= now + REST_MAX + LOCAL_REST, "forgotten");
                    }
                }
                Step::Ended(index, how) if !running.is_empty() => {
                    let number = running.swap_remove(index % running.len());
                    plan.ended(file(number), how, now);
                    model.ended(number, how, now);
                }
                Step::Replaced(index, who) if !running.is_empty() => {
                    let number = running[index % running.len()];
                    plan.replaced(file(number), who, now);
                    model.replaced(number, who, now);
                }
                Step::Ended(..) | Step::Replaced(..) => {}
                Step::Pass(time) => clock.advance(time),
            }
            prop_assert!(plan.running_count() <= CAPS.fetches);
            prop_assert_eq!(plan.running_count(), running.len());
            prop_assert_eq!(plan.count(), model.blobs.len());
            let known = model.blobs.iter().filter(|blob| blob.is_known).count();
            prop_assert_eq!(plan.known_count(), known);
        }
    }
}

fn plan() -> (Plan, Clock) {
    (Plan::new(CAPS), Clock::hand_moved())
}

#[test]
fn what_somebody_waits_for_comes_before_what_is_older() {
    let (mut plan, clock) = plan();
    assert!(plan.add(file(0)) && plan.add(file(1)));
    assert!(plan.want(file(2), clock.now()));
    let mut next = || plan.next(clock.now(), |_| vec![1]);
    assert_eq!(next(), Some(start(2, 1, Urgency::OnDemand)));
    assert_eq!(next(), Some(start(0, 1, Urgency::Background)));
    assert_eq!(next(), None, "two are under way");
    assert!(plan.want(file(1), clock.now()));
    let next = plan.next(clock.now(), |_| vec![1]);
    assert_eq!(next, Some(start(1, 1, Urgency::OnDemand)));
}

#[test]
fn the_first_holder_is_asked_first_and_a_busy_one_last() {
    let (mut plan, clock) = plan();
    assert!(plan.add(file(0)) && plan.add(file(1)));
    let mut next = || plan.next(clock.now(), |_| vec![7, 3]);
    assert_eq!(next(), Some(start(0, 7, Urgency::Background)));
    assert_eq!(next(), Some(start(1, 3, Urgency::Background)));
}

#[test]
fn another_source_takes_over_at_once_and_the_failed_one_rests() {
    let (mut plan, clock) = plan();
    assert!(plan.add(file(0)));
    let mut source = |how| {
        let begun = plan.next(clock.now(), |_| vec![1, 2])?;
        plan.ended(begun.file, how, clock.now());
        Some(begun.source)
    };
    assert_eq!(source(Ended::SourceFailed { has_moved: true }), Some(1));
    assert_eq!(source(Ended::SourceLied), Some(2));
    assert_eq!(source(Ended::Sealed), None);
    clock.advance(REST_MIN);
    let begun = plan.next(clock.now(), |_| vec![1, 2]).unwrap();
    assert_eq!(begun.source, 1, "the liar rests longer");
}

#[test]
fn what_nobody_can_give_is_asked_for_ever_more_rarely_but_for_ever() {
    let (mut plan, clock) = plan();
    assert!(plan.add(file(0)));
    let mut pauses = Vec::new();
    for _ in 0..14 {
        assert_eq!(plan.next(clock.now(), |_| Vec::new()), None);
        let pause = plan.due().unwrap() - clock.now();
        pauses.push(pause);
        clock.advance(pause);
    }
    assert!(pauses.is_sorted());
    assert_eq!((pauses[0], pauses[13]), (REST_MIN, REST_MAX));
    assert_eq!(plan.known_count(), 1);
    assert!(plan.want(file(0), clock.now()));
    let begun = plan.next(clock.now(), |_| vec![4]);
    assert_eq!(begun, Some(start(0, 4, Urgency::OnDemand)));
}

#[test]
fn what_comes_piece_by_piece_from_a_busy_source_is_asked_for_again_soon() {
    let (mut plan, clock) = plan();
    assert!(plan.add(file(0)));
    for _ in 0..14 {
        let begun = plan.next(clock.now(), |_| vec![1]).unwrap();
        let how = Ended::SourceLacks { has_moved: true };
        plan.ended(begun.file, how, clock.now());
        assert_eq!(plan.next(clock.now(), |_| vec![1]), None);
        assert_eq!(plan.due(), Some(clock.now() + REST_MIN));
        clock.advance(REST_MIN);
    }
}

#[test]
fn nothing_begins_while_this_node_cannot_write() {
    let (mut plan, clock) = plan();
    assert!(plan.add(file(0)) && plan.add(file(1)));
    let begun = plan.next(clock.now(), |_| vec![1]).unwrap();
    plan.ended(begun.file, Ended::LocalFailed, clock.now());
    assert_eq!(plan.next(clock.now(), |_| vec![1]), None);
    assert_eq!(plan.due(), Some(clock.now() + LOCAL_REST));
    clock.advance(LOCAL_REST);
    assert!(plan.next(clock.now(), |_| vec![1]).is_some());
}

#[test]
fn what_comes_by_itself_is_not_fetched_unless_it_fails() {
    let (mut plan, clock) = plan();
    let now = clock.now();
    assert!(plan.begin(file(1), 7) && plan.is_running(&file(1)));
    assert!(!plan.begin(file(1), 8), "once is enough");
    assert!(plan.add(file(1)));
    assert_eq!(plan.next(now, |_| vec![7]), None);
    plan.ended(file(1), Ended::GivenUp, now);
    let next = plan.next(now, |_| vec![7]);
    assert_eq!(next, Some(start(1, 7, Urgency::Background)));
    assert!(!plan.begin(file(1), 7), "it is being fetched");
    assert!(plan.begin(file(2), 7));
    plan.ended(file(2), Ended::Sealed, now);
    assert!(!plan.contains(&file(2)));
}
