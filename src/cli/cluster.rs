//! `windlass cluster …`: asks a running node over its address for operators.

use std::io::{self, Write as _};
use std::thread;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::Deserialize;

use super::arguments::ClusterCommand;
use super::operator::{Operator, OperatorError, parse};
use super::plain::Plain;
use super::status::{Status, render};
use super::watch::Bars;
use crate::config::Config;

/// How often `--watch` looks.
const LOOK_PERIOD: Duration = Duration::from_millis(500);

/// Carries the command out through the node of this configuration.
pub(super) fn run(command: &ClusterCommand, config: &Config) -> Result<(), OperatorError> {
    let node = Operator::new(config)?;
    match command {
        ClusterCommand::Status { json: true, .. } => {
            let text = node.get("cluster")?;
            Ok(io::stdout().write_all(text.as_bytes())?)
        }
        ClusterCommand::Status { watch: true, .. } => watch(&node),
        ClusterCommand::Status { peers, .. } => {
            let tables = render(&status_of(&node)?, *peers);
            Ok(writeln!(io::stdout(), "{tables}")?)
        }
        ClusterCommand::Add => {
            let answer = node.post("cluster/add", &[])?;
            let answer: Added = parse(&answer)?;
            Ok(writeln!(io::stdout(), "{}", answer.token)?)
        }
        ClusterCommand::Promote {
            node: number,
            force,
        } => promote(&node, *number, *force),
        ClusterCommand::Demote { node: number } => change(&node, "demote", Some(*number)).map(drop),
        ClusterCommand::Remove {
            node: number,
            force,
        } => {
            let wish = if *force { "force-remove" } else { "remove" };
            change(&node, wish, Some(*number)).map(drop)
        }
        ClusterCommand::TransferLeader { node: number } => {
            let answer = change(&node, "transfer-leader", *number)?;
            let Led { leader } = parse(&answer)?;
            Ok(writeln!(io::stdout(), "node {leader} leads")?)
        }
        ClusterCommand::Drain { node: number } => drain(&node, *number),
    }
}

#[derive(Debug, Deserialize)]
struct Added {
    token: String,
}

#[derive(Debug, Deserialize)]
struct Led {
    leader: u64,
}

fn status_of(operator: &Operator) -> Result<Status, OperatorError> {
    parse(&operator.get("cluster")?)
}

fn change(operator: &Operator, wish: &str, node: Option<u64>) -> Result<String, OperatorError> {
    let query: Vec<_> = node.iter().map(|node| ("node", node.to_string())).collect();
    operator.post(&format!("cluster/{wish}"), &query)
}

/// How far a change is.
#[derive(Debug, Deserialize)]
struct Changed {
    status: String,
}

/// Lets a node vote, and says when it will.
fn promote(operator: &Operator, node: u64, is_forced: bool) -> Result<(), OperatorError> {
    let wish = if is_forced {
        "force-promote"
    } else {
        "promote"
    };
    let changed: Changed = parse(&change(operator, wish, Some(node))?)?;
    let is_pending = changed.status == "pending";
    Ok(writeln!(
        io::stdout(),
        "{}",
        promoted(node, is_pending, is_forced)
    )?)
}

fn promoted(node: u64, is_pending: bool, is_forced: bool) -> String {
    let follow = "`windlass cluster status --watch` shows how far it is";
    match (is_pending, is_forced) {
        (true, false) => {
            format!("node {node} is to vote, and will by itself once it holds everything: {follow}")
        }
        (true, true) => format!(
            "node {node} is to vote, and does not yet: it will by itself once it holds everything, \
             or when it is forced again while it answers and lacks little of the journal; {follow}"
        ),
        (false, true) => format!(
            "node {node} votes. What it lacks may be on fewer than a majority of the voters until \
             it has fetched that: wait for it before another node goes; {follow}"
        ),
        (false, false) => format!("node {node} votes"),
    }
}

/// Shows a bar for each node until none lacks anything.
fn watch(operator: &Operator) -> Result<(), OperatorError> {
    let mut bars = Bars::new(MultiProgress::new());
    while !bars.show(&status_of(operator)?) {
        thread::park_timeout(LOOK_PERIOD);
    }
    Ok(())
}

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
    let (mut refused, mut plain) = (0, Plain::beside_bars());
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
        let (done, all) = (bar.position(), bar.length().unwrap_or_default());
        plain.say(node, &format!("{done}/{all} blobs {}", bar.message()))?;
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

    #[test]
    fn a_vote_that_was_forced_and_is_not_there_is_not_said_to_need_blobs_only() {
        let waits = promoted(4, true, false);
        assert!(
            waits.contains("node 4 is to vote, and will by itself"),
            "{waits}"
        );
        let forced = promoted(4, true, true);
        assert!(
            forced.contains("does not yet") && forced.contains("forced again"),
            "{forced}"
        );
        assert_eq!(promoted(4, false, false), "node 4 votes");
        assert!(promoted(4, false, true).starts_with("node 4 votes. What it lacks"));
    }
}
