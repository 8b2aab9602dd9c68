//! `windlass cluster …`: asks a running node over its address for operators.

use std::io::{self, Write as _};
use std::thread;
use std::time::Duration;

use comfy_table::{Table, presets};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::Deserialize;

use super::arguments::ClusterCommand;
use super::operator::{Operator, OperatorError, parse};
use crate::config::Config;

/// How often `--watch` looks.
const LOOK_PERIOD: Duration = Duration::from_millis(500);

/// What the node answers to `GET /cluster`.
#[derive(Debug, Clone, Deserialize)]
struct Status {
    node: u64,
    is_confirmed: bool,
    term: u64,
    blobs: u64,
    nodes: Vec<Node>,
}

#[derive(Debug, Clone, Deserialize)]
struct Node {
    #[serde(rename = "node")]
    number: u64,
    address: String,
    role: String,
    lag: Option<u64>,
    report: Option<Report>,
}

#[derive(Debug, Clone, Deserialize)]
struct Report {
    build: String,
    applied_index: u64,
    blobs_missing: u64,
    free_bytes: u64,
    disk_bytes: u64,
}

/// Carries the command out through the node of this configuration.
pub(super) fn run(command: &ClusterCommand, config: &Config) -> Result<(), OperatorError> {
    let node = Operator::new(config)?;
    match command {
        ClusterCommand::Status { json: true, .. } => {
            let text = node.get("cluster")?;
            Ok(io::stdout().write_all(text.as_bytes())?)
        }
        ClusterCommand::Status { watch: true, .. } => watch(&node),
        ClusterCommand::Status { .. } => {
            let table = render(&status_of(&node)?);
            Ok(writeln!(io::stdout(), "{table}")?)
        }
        ClusterCommand::Add => {
            let answer = node.post("cluster/add", &[])?;
            let answer: Added = parse(&answer)?;
            Ok(writeln!(io::stdout(), "{}", answer.token)?)
        }
        ClusterCommand::Promote { node: number } => change(&node, "promote", Some(*number)),
        ClusterCommand::Demote { node: number } => change(&node, "demote", Some(*number)),
        ClusterCommand::Remove {
            node: number,
            force,
        } => {
            let wish = if *force { "force-remove" } else { "remove" };
            change(&node, wish, Some(*number))
        }
        ClusterCommand::TransferLeader { node: number } => {
            change(&node, "transfer-leader", *number)
        }
        ClusterCommand::Drain { node: number } => drain(&node, *number),
    }
}

#[derive(Debug, Deserialize)]
struct Added {
    token: String,
}

fn status_of(operator: &Operator) -> Result<Status, OperatorError> {
    parse(&operator.get("cluster")?)
}

fn change(operator: &Operator, wish: &str, node: Option<u64>) -> Result<(), OperatorError> {
    let query: Vec<_> = node.iter().map(|node| ("node", node.to_string())).collect();
    operator.post(&format!("cluster/{wish}"), &query).map(drop)
}

/// The table that `status` prints.
fn render(status: &Status) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "node", "address", "role", "lag", "applied", "missing", "free", "version",
    ]);
    for node in &status.nodes {
        let of = |read: fn(&Report) -> String| {
            let unknown = || "?".to_owned();
            node.report.as_ref().map_or_else(unknown, read)
        };
        let me = if node.number == status.node { "*" } else { "" };
        table.add_row([
            format!("{}{me}", node.number),
            node.address.clone(),
            node.role.clone(),
            node.lag
                .map_or_else(|| "?".to_owned(), |lag| lag.to_string()),
            of(|report| report.applied_index.to_string()),
            node.report.as_ref().map_or_else(
                || "?".to_owned(),
                |report| format!("{} of {}", report.blobs_missing, status.blobs),
            ),
            of(free),
            of(|report| report.build.clone()),
        ]);
    }
    let note = if status.is_confirmed {
        ""
    } else {
        "\nno leader answers: this is what the node knew last"
    };
    format!("{table}\n\nterm {}; * answers{note}", status.term)
}

fn free(report: &Report) -> String {
    let percent = (report.free_bytes / (report.disk_bytes / 100).max(1)).min(100);
    format!(
        "{} ({percent} %)",
        indicatif::BinaryBytes(report.free_bytes)
    )
}

/// Shows a bar for each node until none lacks anything.
fn watch(operator: &Operator) -> Result<(), OperatorError> {
    let bars = MultiProgress::new();
    let style = ProgressStyle::with_template("{prefix:>12} [{bar:40}] {pos}/{len} {msg}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    let mut shown: Vec<(u64, ProgressBar)> = Vec::new();
    loop {
        let status = status_of(operator)?;
        for node in &status.nodes {
            let known = shown.iter().position(|(number, _)| *number == node.number);
            if known.is_none() {
                let bar = bars.add(ProgressBar::new(0).with_style(style.clone()));
                bar.set_prefix(format!("node {}", node.number));
                shown.push((node.number, bar));
            }
            let bar = shown.iter().find(|(number, _)| *number == node.number);
            if let Some((_, bar)) = bar {
                show(bar, node);
            }
        }
        if status.nodes.iter().all(is_whole) {
            return Ok(());
        }
        thread::park_timeout(LOOK_PERIOD);
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
    bar.set_message(format!("{}, {lag} entries behind", node.role));
}

/// Whether a node lacks nothing.
fn is_whole(node: &Node) -> bool {
    let has_all = |report: &Report| report.blobs_missing == 0;
    node.report.as_ref().is_some_and(has_all) && node.lag.is_some_and(|lag| lag < LAG_ENTRIES_MAX)
}

/// Entries behind that only say that the cluster is in use.
const LAG_ENTRIES_MAX: u64 = 64;

/// What still leans on a node that is drained.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Leaning {
    blobs: u64,
    left: u64,
    sole: u64,
}

/// Takes leadership and vote off a node, and waits until so many other nodes hold what
/// it holds that it is not missed.
fn drain(operator: &Operator, node: u64) -> Result<(), OperatorError> {
    let style = ProgressStyle::with_template("{prefix} [{bar:40}] {pos}/{len} blobs {msg}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(0).with_style(style);
    bar.set_prefix(format!("node {node}"));
    let mut refused = 0;
    loop {
        match operator.post("cluster/drain", &[("node", node.to_string())]) {
            Ok(answer) => {
                let leaning: Leaning = parse(&answer)?;
                bar.set_length(leaning.blobs);
                bar.set_position(leaning.blobs.saturating_sub(leaning.left));
                bar.set_message(format!("({} nowhere else)", leaning.sole));
                if leaning.left == 0 && leaning.sole == 0 {
                    bar.finish_and_clear();
                    return Ok(writeln!(io::stdout(), "{}", drained(node, leaning))?);
                }
                refused = 0;
            }
            // An election, or a node that has to catch up first.
            Err(OperatorError::Refused(reason)) if refused < DRAIN_REFUSALS_MAX => {
                bar.set_message(reason);
                refused += 1;
            }
            Err(error) => return Err(error),
        }
        thread::park_timeout(LOOK_PERIOD);
    }
}

fn drained(node: u64, leaning: Leaning) -> String {
    format!(
        "node {node} does not lead and does not vote, and a majority of the other voters holds \
         each of the {} blobs: it may be stopped, or taken out with `windlass cluster remove {node}`",
        leaning.blobs
    )
}

/// A drain that is refused so many times in a row will not succeed.
const DRAIN_REFUSALS_MAX: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = r#"{"node":1,"is_confirmed":true,"term":7,"blobs":8,"nodes":[
        {"node":1,"address":"a:1","role":"leader","lag":0,"report":{"build":"0.1.0",
         "applied_index":12,"blobs_missing":0,"free_bytes":1073741824,"disk_bytes":4294967296}},
        {"node":4,"address":"b:2","role":"learner","lag":null,"report":null}]}"#;

    #[test]
    fn the_table_shows_what_is_known_and_what_is_not() {
        let status: Status = serde_json::from_str(ANSWER).unwrap();
        let text = render(&status);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].contains("1*") && lines[1].contains("leader"));
        assert!(lines[1].contains("1.00 GiB (25 %)"), "{text}");
        assert!(lines[1].contains("0 of 8"), "{text}");
        assert!(lines[2].contains("learner") && lines[2].contains('?'));
        assert!(!is_whole(&status.nodes[1]) && is_whole(&status.nodes[0]));
    }
}
