//! The configuration as an operator meets it: the documented file against the
//! defaults, and the built program's `check-config`, `--help` and `--version`.

#![expect(
    clippy::unwrap_used,
    reason = "a check that cannot read its input must fail"
)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use toml::Table;
use windlass::config::Config;

const EXIT_CONFIG: Option<i32> = Some(78);

fn documented() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/windlass.toml");
    fs::read_to_string(path).unwrap()
}

/// The documented file with every key that has no default switched on.
fn documented_in_full() -> String {
    let switch = |line: &str| {
        let is_key = line.strip_prefix('#').is_some_and(|rest| {
            rest.starts_with(|first: char| first.is_ascii_lowercase()) && rest.contains(" = ")
        });
        line.get(usize::from(is_key)..).unwrap().to_owned() + "\n"
    };
    documented().lines().map(switch).collect()
}

/// Full names of all keys, sections excluded.
fn names(table: &Table, prefix: &str, into: &mut Vec<String>) {
    for (key, value) in table {
        let name = format!("{prefix}{key}");
        match value.as_table() {
            Some(section) => names(section, &format!("{name}."), into),
            None => into.push(name),
        }
    }
}

fn names_of(text: &str) -> Vec<String> {
    let mut list = Vec::new();
    names(&toml::from_str(text).unwrap(), "", &mut list);
    list.sort();
    list
}

#[test]
fn the_documented_values_are_the_defaults() {
    let documented: Config = toml::from_str(&documented()).unwrap();
    assert_eq!(documented.to_toml(), Config::default().to_toml());
    let text = self::documented();
    assert_eq!(names_of(&text), names_of(&Config::default().to_toml()));
}

#[test]
fn every_key_is_documented_and_every_documented_key_exists() {
    let text = documented_in_full();
    toml::from_str::<Config>(&text).unwrap();
    assert_eq!(
        names_of(&text),
        names_of(&Config::with_every_key().to_toml())
    );
}

#[test]
fn every_documented_key_has_a_comment_above() {
    let text = documented();
    let mut is_explained = false;
    for line in text.lines() {
        let is_key = line.contains(" = ") && !line.starts_with("# ");
        assert!(!is_key || is_explained, "`{line}` has no comment");
        // A comment explains the keys up to the next blank line or section.
        is_explained = line.starts_with("# ") || (is_explained && is_key);
    }
}

/// Runs the built program in an empty environment.
fn windlass(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_windlass"))
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn check_config_prints_what_would_be_in_force() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("w.toml");
    fs::write(&file, "[http]\nidle_timeout = '7s'").unwrap();
    let arguments = [
        "check-config",
        "--config",
        file.to_str().unwrap(),
        "--listen",
        "127.0.0.1:7001",
    ];
    let output = windlass(&arguments, &[("WINDLASS_RUNTIME__SHARDS", "1")]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let config: Config = toml::from_str(&text(&output.stdout)).unwrap();
    let mut expected = Config::default();
    expected.listen.set_port(7001);
    expected.runtime.shards = Some(1);
    expected.http.idle_timeout = toml::Value::from("7s").try_into().unwrap();
    assert_eq!(config, expected);
}

#[test]
fn check_config_refuses_with_78_the_place_and_a_suggestion() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("w.toml");
    fs::write(&file, "# ours\nlisten_admin = '127.0.0.1:1'\n").unwrap();
    let path = file.to_str().unwrap();
    let output = windlass(&["check-config", "--config", path], &[]);
    assert_eq!(output.status.code(), EXIT_CONFIG);
    assert!(output.stdout.is_empty());
    let expected = "unknown key `listen_admin`";
    assert!(text(&output.stderr).starts_with(&format!("windlass: {path}:2: {expected}")));

    let output = windlass(&["check-config"], &[("WINDLASS_DATADIR", "x")]);
    assert_eq!(output.status.code(), EXIT_CONFIG);
    let message = text(&output.stderr);
    assert!(
        message.contains("did you mean `WINDLASS_DATA_DIR`?"),
        "{message}"
    );
}

#[test]
fn serving_with_an_impossible_configuration_ends_with_78() {
    for arguments in [
        ["--config", "/nowhere/windlass.toml"],
        ["--admin-listen", "127.0.0.1:5000"],
    ] {
        let output = windlass(&arguments, &[]);
        assert_eq!(output.status.code(), EXIT_CONFIG, "{arguments:?}");
        assert_eq!(text(&output.stderr).lines().count(), 1);
    }
}

#[test]
fn help_names_every_option_with_the_default_it_has() {
    let output = windlass(&["--help"], &[]);
    assert_eq!(output.status.code(), Some(0));
    let help = text(&output.stdout);
    let config = Config::default();
    for needle in [
        "--config <FILE>".to_owned(),
        "check-config".to_owned(),
        format!("[default: {}]", config.listen),
        format!("[default: {}]", config.admin_listen),
        format!("[default: {}]", config.data_dir.display()),
    ] {
        assert!(help.contains(&needle), "{needle} in\n{help}");
    }
    assert!(
        help.lines().all(|line| line.chars().count() <= 100),
        "{help}"
    );
}

#[test]
fn the_version_is_the_packages() {
    let output = windlass(&["--version"], &[]);
    let expected = format!("windlass {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(text(&output.stdout), expected);
}
