//! What the bars draw, and when they are done.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};

use indicatif::{ProgressDrawTarget, TermLike};
use serde_json::{Value, json};

use super::*;

/// A terminal that hands on what is drawn on it.
#[derive(Debug)]
struct Terminal(Sender<String>);

impl TermLike for Terminal {
    fn width(&self) -> u16 {
        120
    }
    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write_str(text)
    }
    fn write_str(&self, text: &str) -> io::Result<()> {
        self.0.send(text.to_owned()).map_err(io::Error::other)
    }
    fn clear_line(&self) -> io::Result<()> {
        Ok(())
    }
    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Bars whose every change is drawn.
fn bars() -> (Bars, Receiver<String>) {
    let (drawn, lines) = channel();
    let terminal = ProgressDrawTarget::term_like_with_hz(Box::new(Terminal(drawn)), u8::MAX);
    (Bars::new(MultiProgress::with_draw_target(terminal)), lines)
}

fn node(number: u64, applied: u64, missing: u64, surveyed: bool) -> Value {
    json!({
        "node": number, "address": "a:1", "role": "learner", "lag": 2,
        "report": {
            "build": "1", "applied_index": applied, "blobs_missing": missing,
            "free_bytes": 1, "disk_bytes": 1,
            "replication": {
                "surveyed": surveyed, "queued_blobs": missing, "fetching_blobs": 0,
                "peers": [{
                    "node": 9, "received_bytes": 4096, "received_bytes_per_second": 2048,
                    "sent_bytes": 0, "sent_bytes_per_second": 0, "failed_fetches": 0,
                }],
            },
        },
    })
}

fn status(nodes: &[Value]) -> Status {
    let status = json!({
        "node": 1, "is_confirmed": true, "term": 1, "leader": 1, "blobs": 8, "nodes": nodes,
    });
    serde_json::from_value(status).unwrap()
}

#[test]
fn a_bar_fills_as_blobs_come() {
    let (mut bars, lines) = bars();
    let last = || {
        let drawn: Vec<String> = lines.try_iter().collect();
        let line = drawn.iter().rev().find(|line| line.contains("node 7"));
        line.unwrap_or_else(|| panic!("{drawn:?}"))
            .trim()
            .to_owned()
    };
    let whole = "#".repeat(40);
    for (missing, filled) in [(8, String::new()), (4, "#".repeat(20)), (0, whole)] {
        let is_done = bars.show(&status(&[node(7, 5, missing, true)]));
        assert!(!is_done);
        let line = last();
        let shown = line.split(['[', ']']).nth(1).unwrap();
        assert_eq!(shown.matches(['#', '█']).count(), filled.len(), "{line}");
        let end = format!("{}/8 learner, 2 entries behind, 2.00 KiB/s", 8 - missing);
        assert!(line.ends_with(&end), "{line}");
    }
    assert!(bars.show(&status(&[node(7, 5, 0, true)])));
}

#[test]
fn a_node_that_does_not_answer_is_said_and_waited_for() {
    let (mut bars, lines) = bars();
    let silent = json!({
        "node": 7, "address": "a:1", "role": "voter", "lag": null, "report": null,
    });
    for _ in 0..4 {
        assert!(!bars.show(&status(&[node(1, 5, 0, true), silent.clone()])));
    }
    let drawn: Vec<String> = lines.try_iter().collect();
    assert!(
        drawn.iter().any(|line| line.contains("does not answer")),
        "{drawn:?}"
    );
}

#[test]
fn it_is_done_when_every_node_has_what_there_was_at_first_and_not_before() {
    let (mut bars, _lines) = bars();
    let mut look = |second: Value| bars.show(&status(&[node(1, 100, 0, true), second]));
    // It lacks entries, so it does not know which blobs it lacks.
    assert!(!look(node(2, 10, 0, true)));
    assert!(!look(node(2, 99, 0, true)));
    // It has them, and looks what they mean.
    assert!(!look(node(2, 100, 0, false)));
    assert!(!look(node(2, 100, 3, false)));
    assert!(!look(node(2, 100, 1, true)));
    // It has everything; and again something was on its way.
    assert!(!look(node(2, 100, 0, true)));
    assert!(!look(node(2, 100, 1, true)));
    assert!(!look(node(2, 100, 0, true)));
    assert!(look(node(2, 100, 0, true)));
}

#[test]
fn a_node_that_is_to_vote_is_waited_for_until_it_does() {
    let (mut bars, lines) = bars();
    let mut waiting = node(2, 100, 0, true);
    waiting["vote_waits_for"] = "soon".into();
    let mut look = |second: &Value| bars.show(&status(&[node(1, 100, 0, true), second.clone()]));
    assert!(!look(&waiting) && !look(&waiting) && !look(&waiting));
    let drawn: Vec<String> = lines.try_iter().collect();
    let reason = "learner, to vote: soon";
    assert!(drawn.iter().any(|line| line.contains(reason)), "{drawn:?}");
    waiting["vote_waits_for"] = Value::Null;
    assert!(!look(&waiting) && look(&waiting));
}

#[test]
fn a_cluster_in_use_is_not_waited_for_without_end() {
    let (mut bars, _lines) = bars();
    assert!(!bars.show(&status(&[node(1, 100, 0, true), node(2, 100, 0, true)])));
    assert!(bars.show(&status(&[node(1, 900, 0, true), node(2, 850, 0, true)])));
}

#[test]
fn an_older_node_is_whole_when_it_lags_little_and_lacks_nothing() {
    let mut older = node(2, 1, 0, true);
    older["report"]["replication"] = Value::Null;
    let (mut bars, _lines) = bars();
    let mut look = |older: &Value| bars.show(&status(&[node(1, 100, 0, true), older.clone()]));
    older["lag"] = 64.into();
    assert!(!look(&older) && !look(&older));
    older["lag"] = 63.into();
    assert!(!look(&older) && look(&older));
}
