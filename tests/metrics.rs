//! `deploy/METRICS.md` and the exposition name the same metrics, and the same values of
//! their labels.

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

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Rows of the form ``| `name` | kind | …``.
fn documented() -> Named {
    let text = read("deploy/METRICS.md");
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

/// A label and all its values; several labels may have one key.
type Values = BTreeSet<(String, BTreeSet<String>)>;

/// What stands in quotes: every second part.
fn quoted(text: &str, quote: char) -> impl Iterator<Item = String> {
    text.split(quote).skip(1).step_by(2).map(str::to_owned)
}

/// The `label! { … Name "key" { … Value "value", … } }` of the program.
fn labels() -> Values {
    let mut labels = Values::new();
    for file in ["label.rs", "label_peer.rs"] {
        let text = read(&format!("src/telemetry/{file}"));
        for block in text.split("\nlabel! {\n").skip(1) {
            let block = block.split("\n}\n").next().unwrap();
            let code = block.lines().filter(|line| !line.trim().starts_with("///"));
            let code = code.collect::<Vec<_>>().concat();
            let mut words = quoted(&code, '"');
            labels.insert((words.next().unwrap(), words.collect()));
        }
    }
    labels
}

/// Lines of the form ``- `key` …: `value`, `value` (what it means), …``.
fn documented_labels() -> Values {
    let text = read("deploy/METRICS.md");
    let section = text.split("\n## Label values\n").nth(1).unwrap();
    let lines = section.split("\n## ").next().unwrap().lines();
    let lines = lines.filter_map(|line| line.strip_prefix("- "));
    let label = |line: &str| {
        let (key, values) = line.split_once(": ").unwrap();
        let mut spoken = String::new();
        let mut depth = 0_u32;
        for letter in values.chars() {
            depth += u32::from(letter == '(');
            if depth == 0 {
                spoken.push(letter);
            }
            depth = depth.saturating_sub(u32::from(letter == ')'));
        }
        let key = quoted(key, '`').next().unwrap();
        (key, quoted(&spoken, '`').collect())
    };
    let labels = lines.map(label);
    // Numbers of nodes are no fixed values.
    labels.filter(|(key, _)| key != "node").collect()
}

#[test]
fn every_value_of_a_label_is_documented_and_every_documented_one_exists() {
    let (exported, documented) = (labels(), documented_labels());
    let missing: Vec<_> = exported.difference(&documented).collect();
    let stale: Vec<_> = documented.difference(&exported).collect();
    assert!(
        missing.is_empty() && stale.is_empty(),
        "not documented: {missing:#?}\nnot in the program: {stale:#?}"
    );
    assert!(exported.len() > 20);
}
