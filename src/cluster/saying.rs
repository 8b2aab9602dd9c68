//! Whether the state knows all that each node holds, by what they say themselves.

use std::time::{Duration, Instant};

use super::report::Report;

/// A node of an older version does not say: this is left to it.
const UNTOLD_LIMIT: Duration = Duration::from_secs(3);
/// A node that answers nothing for so long is away. It is asked several times meanwhile,
/// so that no single call that was lost makes it so.
const AWAY_AFTER: Duration = Duration::from_secs(5);

/// Whether the state knows what a node holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It does.
    Said,
    /// Not yet, or the node is silent just now.
    Saying,
    /// It does not answer.
    Away,
}

/// Of each node, how it went.
#[derive(Debug)]
pub(super) struct Said(Vec<(u64, Standing)>);

impl Said {
    /// How it went with a node.
    pub(super) fn of(&self, node: u64) -> Standing {
        let mut nodes = self.0.iter();
        let found = nodes.find(|(other, _)| *other == node);
        found.map_or(Standing::Away, |(_, standing)| *standing)
    }

    /// Whether nothing changes when they are asked again.
    pub(super) fn is_final(&self) -> bool {
        let mut nodes = self.0.iter();
        nodes.all(|(_, standing)| *standing != Standing::Saying)
    }
}

/// Since when each node has been silent. Lives as long as one wish of an operator.
#[derive(Debug)]
pub(super) struct Hearing(Vec<Ear>);

#[derive(Debug)]
struct Ear {
    node: u64,
    silent_since: Instant,
    is_away: bool,
}

/// What the nodes are asked about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// Index of the entry up to which the state must know everything.
    pub(super) index: u64,
    /// How long they have been asked.
    pub(super) waited: Duration,
}

impl Hearing {
    /// Nobody was asked before `now`.
    pub(super) fn new(nodes: impl Iterator<Item = u64>, now: Instant) -> Self {
        let ear = |node| Ear {
            node,
            silent_since: now,
            is_away: false,
        };
        Self(nodes.map(ear).collect())
    }

    /// Begins to ask: while nobody was asked nobody was silent, but for those who were
    /// found away.
    pub(super) fn begin(&mut self, now: Instant) {
        for ear in self.0.iter_mut().filter(|ear| !ear.is_away) {
            ear.silent_since = now;
        }
    }

    /// Takes in what the nodes answered by `now`, in their order.
    pub(super) fn take(&mut self, reports: &[Option<Report>], asked: Asked, now: Instant) -> Said {
        let nodes = self.0.iter_mut().zip(reports);
        let standings = nodes.map(|(ear, report)| {
            if report.is_some() {
                ear.silent_since = now;
            }
            let silence = now.saturating_duration_since(ear.silent_since);
            ear.is_away = silence >= AWAY_AFTER;
            let standing = match report {
                Some(report) if has_said(report, asked) => Standing::Said,
                None if ear.is_away => Standing::Away,
                Some(_) | None => Standing::Saying,
            };
            (ear.node, standing)
        });
        Said(standings.collect())
    }
}

/// Whether all that a node held when the entry was the last one is in the state by now.
fn has_said(report: &Report, asked: Asked) -> bool {
    let is_surveyed = report.activity.as_ref();
    let is_surveyed = is_surveyed.is_none_or(|activity| activity.copies.is_surveyed);
    let is_written = report
        .unsaid
        .map_or(asked.waited >= UNTOLD_LIMIT, |blobs| blobs == 0);
    report.applied_index >= asked.index && is_surveyed && is_written
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Clock;
    use crate::cluster::Activity;

    fn surveyed() -> Activity {
        let mut activity = Activity::default();
        activity.copies.is_surveyed = true;
        activity
    }

    fn report(applied_index: u64) -> Report {
        Report {
            applied_index,
            activity: Some(surveyed()),
            unsaid: Some(0),
            ..Report::default()
        }
    }

    #[test]
    fn a_node_has_said_what_it_holds_when_nothing_waits_to_be_written() {
        let asked = |index, waited| Asked { index, waited };
        let none = Duration::ZERO;
        assert!(has_said(&report(5), asked(5, none)));
        assert!(!has_said(&report(5), asked(6, none)));
        let saying = Report {
            unsaid: Some(1),
            ..report(5)
        };
        assert!(!has_said(&saying, asked(5, UNTOLD_LIMIT)));
        let old = Report {
            unsaid: None,
            ..report(5)
        };
        assert!(!has_said(&old, asked(5, none)) && has_said(&old, asked(5, UNTOLD_LIMIT)));
        let looking = Report {
            activity: Some(Activity::default()),
            ..report(5)
        };
        assert!(!has_said(&looking, asked(5, UNTOLD_LIMIT)));
    }

    #[test]
    fn a_node_is_away_after_a_while_in_silence_and_not_after_one_call_that_was_lost() {
        let start = Clock::system().now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut hearing = Hearing::new([3, 4].into_iter(), start);
        let mut ask = |report_of_4: Option<Report>, seconds| {
            let asked = Asked {
                index: 5,
                waited: Duration::from_secs(seconds),
            };
            let reports = [Some(report(5)), report_of_4];
            let said = hearing.take(&reports, asked, at(seconds));
            assert_eq!(said.of(3), Standing::Said);
            assert_eq!(said.is_final(), said.of(4) != Standing::Saying);
            said.of(4)
        };
        assert_eq!(ask(None, 2), Standing::Saying);
        assert_eq!(ask(Some(report(4)), 4), Standing::Saying);
        assert_eq!(ask(None, 8), Standing::Saying, "it answered just now");
        assert_eq!(ask(Some(report(5)), 8), Standing::Said);
        assert_eq!(ask(None, 12), Standing::Saying);
        assert_eq!(ask(None, 13), Standing::Away);
        assert_eq!(ask(Some(report(5)), 14), Standing::Said);
        // Whoever asked had something else to do for a while.
        hearing.begin(at(30));
        let mut ask = |seconds| {
            let asked = Asked {
                index: 5,
                waited: Duration::ZERO,
            };
            hearing
                .take(&[Some(report(5)), None], asked, at(seconds))
                .of(4)
        };
        assert_eq!(ask(32), Standing::Saying);
        assert_eq!(ask(35), Standing::Away);
        hearing.begin(at(60));
        assert_eq!(
            hearing
                .take(
                    &[Some(report(5)), None],
                    Asked {
                        index: 5,
                        waited: Duration::ZERO
                    },
                    at(61)
                )
                .of(4),
            Standing::Away,
            "it was away before"
        );
        let asked = Asked {
            index: 0,
            waited: Duration::ZERO,
        };
        // It is no member.
        assert_eq!(hearing.take(&[], asked, start).of(9), Standing::Away);
    }
}
