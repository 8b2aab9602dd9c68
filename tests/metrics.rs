//! `deploy/METRICS.md` and the exposition name the same metrics.

#![expect(
    clippy::unwrap_used,
    reason = "a check that cannot read its input must fail"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use windlass::telemetry::Metrics;

/// Name and kind of every metric.
type Named = BTreeSet<(String, String)>;

fn exported() -> Named {
    let page = Metrics::new().render();
    let declarations = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    declarations
        .map(|declaration| declaration.split_once(' ').unwrap())
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect()
}

/// Rows of the form ``| `name` | kind | …``.
fn documented() -> Named {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/METRICS.md");
    let text = fs::read_to_string(path).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| row.split_once("` | ").unwrap())
        .map(|(name, rest)| (name, rest.split_once(" | ").unwrap().0))
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect()
}

#[test]
fn every_exported_metric_is_documented_and_every_documented_one_exported() {
    assert_eq!(documented(), exported());
}
