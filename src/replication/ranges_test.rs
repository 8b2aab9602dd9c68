//! Ranges of a blob over sources whose clock, rates and faults are made up.

use proptest::prelude::*;

use super::*;

const MIB: u64 = 1024 * 1024;
/// Hashing an extent, far faster than any source here.
const TAKE_US: u64 = 200;

/// What a source does.
#[derive(Debug, Clone, Copy)]
enum Nature {
    /// So many MiB in a second.
    Steady(u64),
    /// It fails after so many extents.
    Dies(u64, u64),
    /// Its n-th extent is wrong, the others too.
    Lies(u64, u64),
    /// From the extent `.0` of the blob on, it sends nothing.
    Stalls(u64),
}

impl Nature {
    const fn mib_per_second(self) -> u64 {
        match self {
            Self::Steady(rate) | Self::Dies(_, rate) | Self::Lies(_, rate) => rate,
            Self::Stalls(_) => 50,
        }
    }
}

struct Flight {
    source: usize,
    extents: Range<u64>,
    began_us: u64,
    /// When all of it is here; `None` when it never is.
    ends_us: Option<u64>,
    late_us: u64,
}

struct World {
    natures: Vec<Nature>,
    ranges: Ranges,
    now_us: u64,
    flights: Vec<Flight>,
    /// Extents that each source sent in all.
    sent: Vec<u64>,
    /// Who brought each extent that was taken in.
    taken: Vec<usize>,
    end: u64,
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap()
}

impl World {
    fn new(end: u64, natures: &[Nature]) -> Self {
        Self {
            natures: natures.to_vec(),
            ranges: Ranges::new(0, end, natures.len(), false),
            now_us: 0,
            flights: Vec::new(),
            sent: vec![0; natures.len()],
            taken: Vec::new(),
            end,
        }
    }

    fn extent_us(&self, source: usize) -> Option<u64> {
        let nature = self.natures[source];
        let is_stalled = matches!(nature, Nature::Stalls(from) if self.ranges.head >= from);
        (!is_stalled).then(|| 1_000_000 / nature.mib_per_second())
    }

    fn is_broken(&self, source: usize) -> bool {
        matches!(self.natures[source], Nature::Dies(after, _) if self.sent[source] >= after)
    }

    fn is_lie(&self, source: usize) -> bool {
        matches!(self.natures[source], Nature::Lies(after, _) if self.sent[source] >= after)
    }

    fn begin_ahead(&mut self) {
        while let Some((source, extents)) = self.ranges.next_ahead() {
            let count = extents.end - extents.start;
            assert!(extents.start > self.ranges.head && extents.end <= self.end);
            assert!(self.flights.iter().all(|flight| flight.source != source));
            let late = micros(self.ranges.patience_ahead(source, count));
            self.flights.push(Flight {
                source,
                extents,
                began_us: self.now_us,
                ends_us: self
                    .extent_us(source)
                    .map(|time| self.now_us + time * count),
                late_us: self.now_us + late,
            });
        }
        assert!(self.ranges.ahead_count() <= AHEAD_EXTENTS_MAX);
    }

    /// Lets time pass, and everything happen that is due until then.
    fn pass(&mut self, until_us: u64) {
        loop {
            let due = |flight: &Flight| flight.ends_us.unwrap_or(u64::MAX).min(flight.late_us);
            let next = (0..self.flights.len()).min_by_key(|at| due(&self.flights[*at]));
            let Some(at) = next.filter(|at| due(&self.flights[*at]) <= until_us) else {
                break;
            };
            self.now_us = self.now_us.max(due(&self.flights[at]));
            let flight = self.flights.swap_remove(at);
            self.end_flight(&flight);
            self.begin_ahead();
        }
        self.now_us = self.now_us.max(until_us);
    }

    fn end_flight(&mut self, flight: &Flight) {
        let source = flight.source;
        let is_late = flight.ends_us.is_none_or(|end| end > self.now_us);
        if is_late {
            self.ranges.outdone(source);
        } else if self.is_broken(source) {
            self.fail(source);
        } else {
            let count = flight.extents.end - flight.extents.start;
            let took = Duration::from_micros(self.now_us - flight.began_us);
            self.ranges.landed(source);
            self.ranges.measured(source, count * MIB, took);
            self.sent[source] += count;
        }
    }

    /// As a fetch does: the last one is asked again.
    fn fail(&mut self, source: usize) {
        if self.ranges.alive_count() < 2 {
            self.ranges.outdone(source);
        } else {
            self.ranges.failed(source);
        }
    }

    fn take(&mut self, source: usize) {
        if self.is_lie(source) {
            self.flights.retain(|flight| flight.source != source);
            return self.ranges.lied(source);
        }
        self.taken.push(source);
        self.ranges.took();
        assert_eq!(self.ranges.head, u64::try_from(self.taken.len()).unwrap());
        self.ranges.help(true);
        self.pass(self.now_us + TAKE_US);
        self.begin_ahead();
    }

    fn read(&mut self, source: usize, extents: Range<u64>) {
        assert_eq!(extents.start, self.ranges.head);
        assert!(extents.end > extents.start && extents.end <= self.end);
        for _ in extents {
            let patience = self.ranges.patience(source).map(micros);
            let time = self.extent_us(source);
            if let Some(patience) = patience
                && time.is_none_or(|time| time > patience)
            {
                self.pass(self.now_us + patience);
                return self.ranges.outdone(source);
            }
            // As after twenty seconds of nothing.
            let Some(time) = time.filter(|_| !self.is_broken(source)) else {
                return self.fail(source);
            };
            self.pass(self.now_us + time);
            self.ranges
                .measured(source, MIB, Duration::from_micros(time));
            self.sent[source] += 1;
            let before = self.taken.len();
            self.take(source);
            if self.taken.len() == before {
                return;
            }
        }
        self.ranges.left(source);
    }

    /// Brings the whole blob; says how long that took.
    fn run(mut self) -> (Duration, Vec<usize>) {
        let mut steps = 0;
        while self.ranges.head < self.end {
            steps += 1;
            assert!(steps < 100_000, "it comes to nothing: {:?}", self.ranges);
            self.begin_ahead();
            match self.ranges.next() {
                Next::Read { source, extents } => self.read(source, extents),
                Next::Take { source } => self.take(source),
                Next::Outdo { source } => {
                    self.flights.retain(|flight| flight.source != source);
                    self.ranges.outdone(source);
                }
                Next::Wait => {
                    let due = self
                        .flights
                        .iter()
                        .map(|flight| flight.ends_us.unwrap_or(u64::MAX).min(flight.late_us));
                    let due = due.min().expect("something is on its way");
                    self.pass(due);
                }
            }
        }
        (Duration::from_micros(self.now_us), self.taken)
    }
}

fn count_of(taken: &[usize], source: usize) -> usize {
    taken.iter().filter(|from| **from == source).count()
}

#[test]
fn one_source_is_asked_once_for_everything() {
    let mut ranges = Ranges::new(3, 4000, 1, false);
    let all = Next::Read {
        source: 0,
        extents: 3..4000,
    };
    assert_eq!(ranges.next(), all);
    ranges.help(true);
    ranges.measured(0, MIB, Duration::from_millis(1));
    assert_eq!(ranges.next_ahead(), None);
    assert_eq!(ranges.patience(0), None);
}

#[test]
fn who_is_found_while_the_last_one_sends_helps_after_its_run() {
    let mut ranges = Ranges::new(0, 400, 1, true);
    let run = Next::Read {
        source: 0,
        extents: 0..RUN_EXTENTS_MIN,
    };
    assert_eq!(ranges.next(), run);
    ranges.help(true);
    ranges.measured(0, MIB, Duration::from_millis(100));
    for _ in 0..RUN_EXTENTS_MIN {
        ranges.took();
    }
    ranges.left(0);
    ranges.add();
    assert_eq!(ranges.alive_count(), 2);
    assert!(matches!(ranges.next(), Next::Read { source: 0, .. }));
    assert!(matches!(ranges.next_ahead(), Some((1, _))));
}

#[test]
fn runs_of_a_source_that_needs_no_help_grow() {
    let mut ranges = Ranges::new(0, 400, 3, false);
    let mut runs = Vec::new();
    while ranges.head < 400 {
        let Next::Read { source: 0, extents } = ranges.next() else {
            panic!("the first source is enough");
        };
        runs.push(extents.end - extents.start);
        for _ in extents {
            ranges.took();
        }
        ranges.left(0);
    }
    assert_eq!(runs, [8, 16, 32, 64, 64, 64, 64, 64, 24]);
}

/// Two sources whose rates are known, the first of them at the head.
fn two_at_work() -> Ranges {
    let mut ranges = Ranges::new(0, 400, 2, false);
    ranges.help(true);
    assert!(matches!(ranges.next(), Next::Read { source: 0, .. }));
    for source in 0..2 {
        ranges.measured(source, MIB, Duration::from_millis(100));
    }
    ranges
}

#[test]
fn the_source_of_the_head_is_not_sent_ahead_before_it_is_there() {
    let mut ranges = two_at_work();
    ranges.left(0);
    ranges.outdone(1);
    // One rests, and the head waits for the other one.
    assert_eq!(ranges.next_ahead(), None);
    assert!(matches!(ranges.next(), Next::Read { source: 0, .. }));

    let mut ranges = two_at_work();
    let Some((1, extents)) = ranges.next_ahead() else {
        panic!("one may help");
    };
    ranges.landed(1);
    ranges.left(0);
    let ahead = ranges.next_ahead();
    assert!(!matches!(ahead, Some((0, _))), "{ahead:?}");
    while ranges.head < extents.start {
        ranges.took();
    }
    // What is here is taken at once, and then somebody must read on.
    let ahead = ranges.next_ahead();
    assert!(!matches!(ahead, Some((0, _))), "{ahead:?}");
}

#[test]
fn the_last_source_brings_the_rest_at_once() {
    let mut ranges = two_at_work();
    ranges.left(0);
    ranges.failed(1);
    assert_eq!(ranges.next_ahead(), None);
    let rest = Next::Read {
        source: 0,
        extents: 0..400,
    };
    assert_eq!(ranges.next(), rest);
}

#[test]
fn what_is_asked_for_before_a_rate_is_known_is_not_waited_for_for_ever() {
    let mut ranges = Ranges::new(0, 400, 2, false);
    assert_eq!(ranges.patience_ahead(1, 2), SLOW_WAIT_MAX * 2);
    ranges.measured(0, MIB, Duration::from_millis(10));
    assert!(ranges.patience_ahead(1, 2) < SLOW_WAIT_MAX);
}

#[test]
fn equal_sources_share_a_blob_and_it_comes_sooner() {
    let time_of = |count| World::new(200, &vec![Nature::Steady(10); count]).run();
    let (alone, _) = time_of(1);
    for (count, percent) in [(2, 60), (3, 45), (4, 40)] {
        let (time, taken) = time_of(count);
        assert!(
            time * 100 < alone * percent,
            "{count}: {time:?} of {alone:?}"
        );
        for source in 0..count {
            assert!(count_of(&taken, source) > 20, "{count}: {taken:?}");
        }
    }
}

#[test]
fn a_faster_source_brings_more() {
    let natures = [Nature::Steady(10), Nature::Steady(30)];
    let (time, taken) = World::new(200, &natures).run();
    let fast = count_of(&taken, 1);
    assert!((130..=180).contains(&fast), "{fast}: {taken:?}");
    assert!(time < Duration::from_secs(7), "{time:?}");
}

#[test]
fn a_source_that_crawls_is_left_at_once_and_tried_again_later() {
    let natures = [Nature::Steady(1), Nature::Steady(100)];
    let (time, taken) = World::new(300, &natures).run();
    assert!(count_of(&taken, 0) <= 12, "{taken:?}");
    // The first extents come before anything is known.
    assert!(time < Duration::from_secs(6), "{time:?}");
}

#[test]
fn what_dies_lies_or_stalls_costs_little() {
    for bad in [
        Nature::Dies(20, 10),
        Nature::Lies(20, 10),
        Nature::Stalls(30),
    ] {
        for natures in [[bad, Nature::Steady(10)], [Nature::Steady(10), bad]] {
            let (time, taken) = World::new(100, &natures).run();
            assert_eq!(taken.len(), 100);
            assert!(time < Duration::from_secs(11), "{natures:?}: {time:?}");
        }
    }
}

fn natures() -> impl Strategy<Value = Vec<Nature>> {
    let rate = || prop_oneof![1..10_u64, 10..200_u64];
    let nature = prop_oneof![
        6 => rate().prop_map(Nature::Steady),
        1 => (0..60_u64, rate()).prop_map(|(after, rate)| Nature::Dies(after, rate)),
        1 => (0..60_u64, rate()).prop_map(|(after, rate)| Nature::Lies(after, rate)),
        1 => (0..60_u64).prop_map(Nature::Stalls),
    ];
    let others = prop::collection::vec(nature, 0..4);
    // One that is always there: what happens without is the coordinator's.
    (others, rate(), any::<prop::sample::Index>()).prop_map(|(mut all, rate, at)| {
        let at = at.index(all.len() + 1);
        all.insert(at, Nature::Steady(rate));
        all
    })
}

proptest! {
    #[test]
    fn every_extent_is_taken_once_and_in_order_whatever_the_sources_do(
        natures in natures(), end in 12..300_u64,
    ) {
        let steady = natures.iter().filter_map(|nature| match nature {
            Nature::Steady(rate) => Some(*rate),
            _ => None,
        });
        let best = steady.max().unwrap();
        let (time, taken) = World::new(end, &natures).run();
        prop_assert_eq!(u64::try_from(taken.len()).unwrap(), end);
        // The best one alone would have needed so long; the rest is finding out, which
        // takes an extent of each, now and then.
        let alone = Duration::from_millis(end * 1000 / best);
        let slowest = natures.iter().map(|nature| nature.mib_per_second()).min().unwrap();
        let found_out = Duration::from_millis(12_000 / slowest) + 4 * (PATIENCE_MIN + Duration::from_millis(4000 / best));
        let limit = alone * 3 / 2 + found_out * u32::try_from(natures.len() + 1).unwrap();
        prop_assert!(time < limit, "{:?} of {:?}, alone {:?}", time, limit, alone);
    }
}
