//! The state of a cluster as a node tells it, and as tables.

use comfy_table::{Table, presets};
use indicatif::BinaryBytes;
use serde::Deserialize;

/// What the node answers to `GET /cluster`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Status {
    node: u64,
    is_confirmed: bool,
    term: u64,
    leader: Option<u64>,
    blobs: u64,
    pub(super) nodes: Vec<Node>,
}

/// One node of it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Node {
    #[serde(rename = "node")]
    pub(super) number: u64,
    address: String,
    pub(super) role: String,
    /// What it lacks for a vote, if it is to have one; an older node does not say.
    #[serde(default)]
    pub(super) vote_waits_for: Option<String>,
    pub(super) lag: Option<u64>,
    pub(super) report: Option<Report>,
}

/// What a node says itself. An older one says nothing of consensus and replication.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Report {
    build: String,
    pub(super) applied_index: u64,
    pub(super) blobs_missing: u64,
    free_bytes: u64,
    disk_bytes: u64,
    consensus: Option<Consensus>,
    pub(super) replication: Option<Replication>,
}

#[derive(Debug, Clone, Deserialize)]
struct Consensus {
    term: u64,
    leader: Option<u64>,
    last_index: u64,
    committed_index: u64,
    elections: u64,
    leader_changes: u64,
    proposals: u64,
    proposal_p50_us: u64,
    proposal_p99_us: u64,
    proposal_mean_us: u64,
}

/// The copies of a node.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Replication {
    pub(super) surveyed: bool,
    queued_blobs: u64,
    fetching_blobs: u64,
    peers: Vec<Peer>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct Peer {
    node: Option<u64>,
    received_bytes: u64,
    received_bytes_per_second: u64,
    sent_bytes: u64,
    sent_bytes_per_second: u64,
    failed_fetches: u64,
}

impl Replication {
    /// Bytes of blobs that came in a second, from all other nodes.
    pub(super) fn received_rate(&self) -> u64 {
        self.total().received_bytes_per_second
    }

    fn total(&self) -> Peer {
        let add = |sum: Peer, peer: &Peer| Peer {
            node: None,
            received_bytes: sum.received_bytes + peer.received_bytes,
            received_bytes_per_second: sum.received_bytes_per_second
                + peer.received_bytes_per_second,
            sent_bytes: sum.sent_bytes + peer.sent_bytes,
            sent_bytes_per_second: sum.sent_bytes_per_second + peer.sent_bytes_per_second,
            failed_fetches: sum.failed_fetches + peer.failed_fetches,
        };
        self.peers.iter().fold(Peer::default(), add)
    }
}

/// What `status` prints, with a line for each pair of nodes when `by_peer`.
pub(super) fn render(status: &Status, by_peer: bool) -> String {
    let leader = or_unknown(status.leader);
    let note = if status.is_confirmed {
        ""
    } else {
        "\nno leader answers: this is what the node knew last"
    };
    format!(
        "{}\n\n{}\n\n{}\n\nterm {}, leader {leader}; * answers; counted since each node \
         started{note}",
        nodes(status),
        consensus(status),
        replication(status, by_peer),
        status.term,
    )
}

fn nodes(status: &Status) -> Table {
    let mut table = table(&[
        "node", "address", "role", "lag", "applied", "missing", "free", "version",
    ]);
    for node in &status.nodes {
        let of = |read: fn(&Report) -> String| {
            let report = node.report.as_ref();
            report.map_or_else(unknown, read)
        };
        table.add_row([
            name(status, node),
            node.address.clone(),
            role(node),
            or_unknown(node.lag),
            of(|report| report.applied_index.to_string()),
            node.report
                .as_ref()
                .map_or_else(unknown, |report| missing(report, status.blobs)),
            of(free),
            of(|report| report.build.clone()),
        ]);
    }
    table
}

fn consensus(status: &Status) -> Table {
    let mut table = table(&[
        "node",
        "term",
        "leader",
        "last",
        "committed",
        "elections",
        "leaders",
        "proposals",
        "p50",
        "p99",
        "mean",
    ]);
    for node in &status.nodes {
        let report = node.report.as_ref();
        let seen = report.and_then(|report| report.consensus.as_ref());
        let of = |read: fn(&Consensus) -> String| seen.map_or_else(unknown, read);
        table.add_row([
            name(status, node),
            of(|seen| seen.term.to_string()),
            of(|seen| or_unknown(seen.leader)),
            of(|seen| seen.last_index.to_string()),
            of(|seen| seen.committed_index.to_string()),
            of(|seen| seen.elections.to_string()),
            of(|seen| seen.leader_changes.to_string()),
            of(|seen| seen.proposals.to_string()),
            of(|seen| time(seen.proposal_p50_us)),
            of(|seen| time(seen.proposal_p99_us)),
            of(|seen| time(seen.proposal_mean_us)),
        ]);
    }
    table
}

fn replication(status: &Status, by_peer: bool) -> Table {
    let mut table = table(&[
        "node", "queued", "fetching", "peer", "received", "now", "sent", "now", "failed",
    ]);
    for node in &status.nodes {
        let name = name(status, node);
        let report = node.report.as_ref();
        let Some(copies) = report.and_then(|report| report.replication.as_ref()) else {
            table.add_row([name, unknown()]);
            continue;
        };
        let lead = [
            name,
            copies.queued_blobs.to_string(),
            copies.fetching_blobs.to_string(),
            "all".to_owned(),
        ];
        table.add_row(lead.into_iter().chain(flows(&copies.total())));
        for peer in copies.peers.iter().filter(|_| by_peer) {
            let other = || "other".to_owned();
            let peer_name = peer.node.map_or_else(other, |node| node.to_string());
            let lead = [String::new(), String::new(), String::new(), peer_name];
            table.add_row(lead.into_iter().chain(flows(peer)));
        }
    }
    table
}

fn flows(peer: &Peer) -> [String; 5] {
    [
        BinaryBytes(peer.received_bytes).to_string(),
        rate(peer.received_bytes_per_second),
        BinaryBytes(peer.sent_bytes).to_string(),
        rate(peer.sent_bytes_per_second),
        peer.failed_fetches.to_string(),
    ]
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header);
    table
}

fn name(status: &Status, node: &Node) -> String {
    let me = if node.number == status.node { "*" } else { "" };
    format!("{}{me}", node.number)
}

/// What a node is, and what a vote waits for that it is to have.
pub(super) fn role(node: &Node) -> String {
    match &node.vote_waits_for {
        Some(reason) => format!("{}, to vote: {reason}", node.role),
        None => node.role.clone(),
    }
}

fn missing(report: &Report, blobs: u64) -> String {
    let copies = report.replication.as_ref();
    let more = if copies.is_none_or(|copies| copies.surveyed) {
        ""
    } else {
        "+"
    };
    format!("{}{more} of {blobs}", report.blobs_missing)
}

fn free(report: &Report) -> String {
    let percent = (report.free_bytes / (report.disk_bytes / 100).max(1)).min(100);
    format!("{} ({percent} %)", BinaryBytes(report.free_bytes))
}

/// Bytes per second.
pub(super) fn rate(bytes: u64) -> String {
    format!("{}/s", BinaryBytes(bytes))
}

fn time(us: u64) -> String {
    match us {
        0..1000 => format!("{us} us"),
        1000..1_000_000 => format!("{}.{} ms", us / 1000, us % 1000 / 100),
        _ => format!("{}.{} s", us / 1_000_000, us % 1_000_000 / 100_000),
    }
}

fn or_unknown(value: Option<u64>) -> String {
    value.map_or_else(unknown, |value| value.to_string())
}

fn unknown() -> String {
    "?".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = r#"{"node":1,"is_confirmed":true,"term":7,"leader":1,"blobs":8,"nodes":[
        {"node":1,"address":"a:1","role":"leader","lag":0,"report":{"build":"0.1.0",
         "applied_index":12,"blobs_missing":0,"free_bytes":1073741824,"disk_bytes":4294967296,
         "consensus":{"term":7,"leader":1,"last_index":13,"committed_index":12,"elections":2,
          "leader_changes":3,"proposals":90,"proposal_p50_us":820,"proposal_p99_us":12345,
          "proposal_mean_us":1500000},
         "replication":{"surveyed":false,"queued_blobs":4,"fetching_blobs":2,"peers":[
          {"node":4,"received_bytes":1048576,"received_bytes_per_second":2048,
           "sent_bytes":0,"sent_bytes_per_second":0,"failed_fetches":5},
          {"node":null,"received_bytes":1048576,"received_bytes_per_second":0,
           "sent_bytes":3,"sent_bytes_per_second":1,"failed_fetches":1}]}}},
        {"node":4,"address":"b:2","role":"learner","lag":null,"report":null,
         "vote_waits_for":"does not answer"},
        {"node":5,"address":"c:3","role":"voter","lag":3,"report":{"build":"0.0.9",
         "applied_index":11,"blobs_missing":1,"free_bytes":500,"disk_bytes":1000}}]}"#;

    /// How node 4 is shown.
    const WAITING: &str = "learner, to vote: does not answer";

    /// The cells of each line that has any.
    fn lines(by_peer: bool) -> Vec<Vec<String>> {
        let status: Status = serde_json::from_str(ANSWER).unwrap();
        let text = render(&status, by_peer);
        let cells = |line: &str| {
            let cells = line
                .split("  ")
                .map(str::trim)
                .filter(|cell| !cell.is_empty());
            cells.map(str::to_owned).collect::<Vec<_>>()
        };
        text.lines()
            .map(cells)
            .filter(|cells| !cells.is_empty())
            .collect()
    }

    #[test]
    fn the_tables_show_what_is_known_and_what_is_not() {
        let lines = lines(false);
        let expected: [&[&str]; 13] = [
            &[
                "node", "address", "role", "lag", "applied", "missing", "free", "version",
            ],
            &[
                "1*",
                "a:1",
                "leader",
                "0",
                "12",
                "0+ of 8",
                "1.00 GiB (25 %)",
                "0.1.0",
            ],
            &["4", "b:2", WAITING, "?", "?", "?", "?", "?"],
            &[
                "5",
                "c:3",
                "voter",
                "3",
                "11",
                "1 of 8",
                "500 B (50 %)",
                "0.0.9",
            ],
            &[
                "node",
                "term",
                "leader",
                "last",
                "committed",
                "elections",
                "leaders",
                "proposals",
                "p50",
                "p99",
                "mean",
            ],
            &[
                "1*", "7", "1", "13", "12", "2", "3", "90", "820 us", "12.3 ms", "1.5 s",
            ],
            &["4", "?", "?", "?", "?", "?", "?", "?", "?", "?", "?"],
            &["5", "?", "?", "?", "?", "?", "?", "?", "?", "?", "?"],
            &[
                "node", "queued", "fetching", "peer", "received", "now", "sent", "now", "failed",
            ],
            &[
                "1*",
                "4",
                "2",
                "all",
                "2.00 MiB",
                "2.00 KiB/s",
                "3 B",
                "1 B/s",
                "6",
            ],
            &["4", "?"],
            &["5", "?"],
            &["term 7, leader 1; * answers; counted since each node started"],
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn each_peer_has_a_line_when_they_are_asked_for() {
        let lines = lines(true);
        assert_eq!(lines.len(), 15);
        assert_eq!(
            lines[10],
            ["4", "1.00 MiB", "2.00 KiB/s", "0 B", "0 B/s", "5"]
        );
        assert_eq!(
            lines[11],
            ["other", "1.00 MiB", "0 B/s", "3 B", "1 B/s", "1"]
        );
    }
}
