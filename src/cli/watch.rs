//! Bars that show how nodes fill, until none lacks anything; lines where nobody watches.

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::plain::Plain;
use super::status::{Node, Replication, Status, rate, role};

/// Entries that an older node may lack and yet count as whole: the cluster is in use.
const LAG_ENTRIES_MAX: u64 = 64;

/// What is found missing a moment after nothing was, was on its way: so many looks in a
/// row must find nothing.
const WHOLE_LOOKS: u32 = 2;

/// A bar for each node.
pub(super) struct Bars {
    screen: MultiProgress,
    style: ProgressStyle,
    shown: Vec<(u64, ProgressBar)>,
    plain: Plain,
    /// What some node had applied when this began: all that is waited for.
    target_index: Option<u64>,
    whole_looks: u32,
}

impl Bars {
    /// Bars on `screen`.
    pub(super) fn new(screen: MultiProgress) -> Self {
        let style = ProgressStyle::with_template("{prefix:>12} [{bar:40}] {pos}/{len} {msg}");
        Self {
            screen,
            style: style.unwrap_or_else(|_| ProgressStyle::default_bar()),
            shown: Vec::new(),
            plain: Plain::beside_bars(),
            target_index: None,
            whole_looks: 0,
        }
    }

    /// Shows what was seen, and says whether every node has all that there was at the
    /// first look.
    pub(super) fn show(&mut self, status: &Status) -> bool {
        for node in &status.nodes {
            let known = self.shown.iter().find(|(number, _)| *number == node.number);
            let bar = known.map(|(_, bar)| bar.clone());
            let bar = bar.unwrap_or_else(|| self.add(node.number));
            show(&bar, node);
            let (done, all) = (bar.position(), bar.length().unwrap_or_default());
            let line = format!("{done}/{all} blobs, {}", bar.message());
            // Without anybody who reads it goes on, and ends when nothing is missing.
            drop(self.plain.say(node.number, &line));
        }
        let reports = status.nodes.iter().filter_map(|node| node.report.as_ref());
        let newest = reports.map(|report| report.applied_index).max();
        let target = *self
            .target_index
            .get_or_insert_with(|| newest.unwrap_or_default());
        if status.nodes.iter().all(|node| is_whole(node, target)) {
            self.whole_looks += 1;
        } else {
            self.whole_looks = 0;
        }
        self.whole_looks >= WHOLE_LOOKS
    }

    fn add(&mut self, node: u64) -> ProgressBar {
        let bar = ProgressBar::new(0).with_style(self.style.clone());
        let bar = self.screen.add(bar);
        bar.set_prefix(format!("node {node}"));
        self.shown.push((node, bar.clone()));
        bar
    }
}

fn show(bar: &ProgressBar, node: &Node) {
    let Some(report) = &node.report else {
        bar.set_message("does not answer");
        return;
    };
    // The bar begins at what was missing when it was most.
    let most = bar.length().unwrap_or_default().max(report.blobs_missing);
    bar.set_length(most);
    bar.set_position(most - report.blobs_missing);
    let lag = node.lag.unwrap_or_default();
    let copies = report.replication.as_ref();
    let rate = rate(copies.map_or(0, Replication::received_rate));
    bar.set_message(format!("{}, {lag} entries behind, {rate}", role(node)));
}

/// Whether a node has applied the entry `target`, and lacks nothing, its vote included.
fn is_whole(node: &Node, target: u64) -> bool {
    node.vote_waits_for.is_none()
        && node.report.as_ref().is_some_and(|report| {
            let has_all = match &report.replication {
                Some(copies) => copies.surveyed && report.applied_index >= target,
                None => node.lag.is_some_and(|lag| lag < LAG_ENTRIES_MAX),
            };
            has_all && report.blobs_missing == 0
        })
}

#[cfg(test)]
#[path = "watch_test.rs"]
mod tests;
