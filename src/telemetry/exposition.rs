//! The text format that Prometheus scrapes, version 0.0.4.
//!
//! Source: Prometheus, "Exposition formats".

use std::fmt::Write as _;

use super::by_node::{ByNode, Exchanged};
use super::family::Family;
use super::followers::FollowerLags;
use super::histogram::{CountHistogram, DurationHistogram, Snapshot};
use super::label::LabelSet;
use super::value::{Counter, Gauge};

/// Content-Type of a rendered page.
pub const METRICS_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page of metrics being written. Writing to a `String` cannot fail, so the
/// results of `write!` are not looked at.
#[derive(Debug, Default)]
pub struct Page(String);

impl Page {
    /// Writes a counter.
    pub fn counter(&mut self, name: &str, help: &str, counter: &Counter) {
        self.reading(name, help, counter.value());
    }

    /// Writes a gauge.
    pub fn gauge(&mut self, name: &str, help: &str, gauge: &Gauge) {
        self.reading(name, help, gauge.value());
    }

    /// Writes a value that was read just now: a counter when it is named like
    /// one, else a gauge.
    pub(super) fn reading(&mut self, name: &str, help: &str, value: impl std::fmt::Display) {
        let is_counter = name.ends_with("_total");
        self.head(name, help, if is_counter { "counter" } else { "gauge" });
        let _ = writeln!(self.0, "{name} {value}");
    }

    /// Writes a gauge that is always 1 and tells something in its labels.
    pub(super) fn info(&mut self, name: &str, help: &str, labels: &str) {
        self.head(name, help, "gauge");
        let _ = writeln!(self.0, "{name}{{{labels}}} 1");
    }

    /// Writes the counters of a family that have counted something.
    pub fn counters<S: LabelSet>(&mut self, name: &str, help: &str, family: &Family<S, Counter>) {
        self.head(name, help, "counter");
        for (labels, counter) in family.entries().filter(|(_, each)| each.value() > 0) {
            self.0.push_str(name);
            self.0.push('{');
            labels.write(&mut self.0);
            let _ = writeln!(self.0, "}} {}", counter.value());
        }
    }

    /// Writes a histogram of durations, in seconds.
    pub fn durations(&mut self, name: &str, help: &str, histogram: &DurationHistogram) {
        self.head(name, help, "histogram");
        self.histogram(name, "", &histogram.snapshot());
    }

    /// Writes a histogram of batch sizes.
    pub fn counts(&mut self, name: &str, help: &str, histogram: &CountHistogram) {
        self.head(name, help, "histogram");
        self.histogram(name, "", &histogram.snapshot());
    }

    /// Writes the histograms of a family that have observed something.
    pub fn durations_of<S: LabelSet>(
        &mut self,
        name: &str,
        help: &str,
        family: &Family<S, DurationHistogram>,
    ) {
        self.head(name, help, "histogram");
        for (labels, histogram) in family.entries().filter(|(_, each)| each.count() > 0) {
            let mut text = String::new();
            labels.write(&mut text);
            self.histogram(name, &text, &histogram.snapshot());
        }
    }

    /// Writes a gauge for every follower.
    pub(super) fn followers(&mut self, name: &str, help: &str, lags: &FollowerLags) {
        self.head(name, help, "gauge");
        self.0.push_str(&lags.series(name));
    }

    /// Writes a counter for every node with which something was exchanged.
    pub(super) fn exchanged(
        &mut self,
        name: &str,
        help: &str,
        nodes: &ByNode<Exchanged>,
        value: impl Fn(&Exchanged) -> u64,
    ) {
        self.head(name, help, "counter");
        self.0.push_str(&nodes.series(name, value));
    }

    /// Writes a counter for every reason why a fetch from a node failed.
    pub(super) fn fetch_failures(&mut self, name: &str, help: &str, nodes: &ByNode<Exchanged>) {
        self.head(name, help, "counter");
        self.0.push_str(&nodes.failures(name));
    }

    /// Ends the page.
    #[must_use]
    pub fn finish(self) -> String {
        self.0
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn histogram(&mut self, name: &str, labels: &str, snapshot: &Snapshot) {
        let (open, close) = if labels.is_empty() {
            (String::new(), String::new())
        } else {
            (format!("{labels},"), format!("{{{labels}}}"))
        };
        for (bound, count) in &snapshot.buckets {
            let _ = writeln!(self.0, "{name}_bucket{{{open}le=\"{bound}\"}} {count}");
        }
        let Snapshot { count, sum, .. } = snapshot;
        let _ = writeln!(self.0, "{name}_bucket{{{open}le=\"+Inf\"}} {count}");
        let _ = writeln!(self.0, "{name}_sum{close} {sum}");
        let _ = writeln!(self.0, "{name}_count{close} {count}");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::telemetry::Route;

    #[test]
    fn a_page_holds_each_kind_in_its_form() {
        let counter = Counter::default();
        counter.add(7);
        let by_route: Family<Route, DurationHistogram> = Family::default();
        by_route.of(Route::Tags).observe(Duration::from_secs(2));
        let mut page = Page::default();
        page.counter("a_total", "Things.", &counter);
        page.durations_of("b_seconds", "Time.", &by_route);
        page.info("c_info", "Build.", "version=\"1\"");
        let text = page.finish();
        assert!(text.starts_with("# HELP a_total Things.\n# TYPE a_total counter\na_total 7\n"));
        for line in [
            "# TYPE b_seconds histogram",
            "b_seconds_bucket{route=\"tags\",le=\"1\"} 0",
            "b_seconds_bucket{route=\"tags\",le=\"2.5\"} 1",
            "b_seconds_bucket{route=\"tags\",le=\"+Inf\"} 1",
            "b_seconds_sum{route=\"tags\"} 2",
            "b_seconds_count{route=\"tags\"} 1",
            "c_info{version=\"1\"} 1",
        ] {
            assert!(text.lines().any(|each| each == line), "{line} in\n{text}");
        }
        assert!(!text.contains("route=\"blob\""));
    }
}
