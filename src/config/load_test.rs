//! Loading through real files: order of the layers, messages, secrets.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde::Deserialize;
use tempfile::TempDir;

use super::*;

/// A schema with what the real one does not have yet: a list and a secret.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Sample {
    name: String,
    origins: Vec<String>,
    store: Store,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Store {
    password: String,
    size: u32,
}

fn sample_keys() -> Keys {
    let text = "name = ''\norigins = []\n[store]\npassword = ''\nsize = 1";
    Keys {
        table: toml::from_str(text).unwrap(),
        secrets: &["store.password"],
        hashes: &[],
        credentials: None,
    }
}

struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        set_mode(&path, 0o640);
        path
    }

    fn write_secret(&self, name: &str, text: &str) -> PathBuf {
        self.write(name, text)
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn environment(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    variables.iter().map(owned).collect()
}

fn message(sources: Sources) -> String {
    load(sources).expect_err("is refused").to_string()
}

#[test]
fn nothing_given_is_the_defaults() {
    assert_eq!(load(Sources::default()).unwrap(), Config::default());
}

#[test]
fn each_layer_lies_over_the_one_before() {
    let files = Files::new();
    let sources = Sources {
        files: vec![
            files.write(
                "a.toml",
                "data_dir = 'a'\nlisten = '127.0.0.1:1'\n[http]\nidle_timeout = '1s'",
            ),
            files.write(
                "b.toml",
                "listen = '127.0.0.1:2'\n[http]\nhead_timeout = '2s'",
            ),
        ],
        environment: environment(&[
            ("WINDLASS_LISTEN", "127.0.0.1:3"),
            ("WINDLASS_RUNTIME__SHARDS", "3"),
            ("WINDLASS_DELETE__ENABLED", "false"),
            ("HOME", "/nowhere"),
        ]),
        command_line: toml::from_str("listen = '127.0.0.1:4'").unwrap(),
    };
    let config = load(sources).unwrap();
    assert_eq!(config.listen.port(), 4);
    assert_eq!(config.data_dir, PathBuf::from("a"));
    assert_eq!(config.http.idle_timeout.to_string(), "1s");
    assert_eq!(config.http.head_timeout.to_string(), "2s");
    assert_eq!(config.runtime.shards, Some(3));
    assert!(!config.delete.enabled);
    assert_eq!(config.admin_listen, Config::default().admin_listen);
}

#[test]
fn lists_append_over_files_and_environment() {
    let files = Files::new();
    let sources = Sources {
        files: vec![
            files.write("a.toml", "origins = ['one']"),
            files.write("b.toml", "origins = ['two']"),
        ],
        environment: environment(&[("WINDLASS_ORIGINS", "['three']")]),
        ..Sources::default()
    };
    let sample: Sample = load_as(sources, &sample_keys()).unwrap();
    assert_eq!(sample.origins, ["one", "two", "three"]);
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_the_nearest_key() {
    let files = Files::new();
    let path = files.write("w.toml", "\n[runtime]\n# more\nshrads = 2\n");
    let place = path.display().to_string();
    let sources = Sources {
        files: vec![path],
        ..Sources::default()
    };
    let expected = "unknown key `runtime.shrads`; did you mean `runtime.shards`?";
    assert_eq!(message(sources), format!("{place}:4: {expected}"));
}

#[test]
fn a_value_of_the_wrong_type_is_refused_with_its_line() {
    let files = Files::new();
    for (text, words) in [
        ("listen = '127.0.0.1:0'\n[runtime]\nshards = 'two'", ":3: "),
        ("listen = 'localhost'", ":1: invalid socket address"),
        ("[http]\nidle_timeout = 'soon'", ":2: a time is"),
        ("[log]\n\nformat = 'xml'", ":3: unknown variant `xml`"),
        ("runtime = 3", ":1: "),
        ("listen = ", ":1: "),
    ] {
        let sources = Sources {
            files: vec![files.write("w.toml", text)],
            ..Sources::default()
        };
        let message = message(sources);
        assert!(message.contains("w.toml"), "{message}");
        assert!(message.contains(words), "{message}");
        assert!(!message.contains('\n'), "{message}");
    }
}

#[test]
fn a_variable_is_refused_by_name_when_unknown_or_of_the_wrong_type() {
    for (name, value, expected) in [
        (
            "WINDLASS_LISTN",
            "x",
            "environment variable WINDLASS_LISTN: unknown key `listn`; did you mean `WINDLASS_LISTEN`?",
        ),
        (
            "WINDLASS_HTTP__IDLE_TIMEOUTS",
            "x",
            "environment variable WINDLASS_HTTP__IDLE_TIMEOUTS: unknown key `http.idle_timeouts`; \
             did you mean `WINDLASS_HTTP__IDLE_TIMEOUT`?",
        ),
    ] {
        let sources = Sources {
            environment: environment(&[(name, value)]),
            ..Sources::default()
        };
        assert_eq!(message(sources), expected);
    }
    let sources = Sources {
        environment: environment(&[("WINDLASS_RUNTIME__SHARDS", "many")]),
        ..Sources::default()
    };
    let message = message(sources);
    assert!(
        message.starts_with("environment variable WINDLASS_RUNTIME__SHARDS: "),
        "{message}"
    );
}

#[test]
fn variables_of_a_scheduler_for_a_service_of_our_name_are_left_alone() {
    let sources = Sources {
        environment: environment(&[
            ("WINDLASS_SERVICE_HOST", "10.0.0.1"),
            ("WINDLASS_SERVICE_PORT_HTTP", "5000"),
            ("WINDLASS_PORT", "tcp://10.0.0.1:5000"),
            ("WINDLASS_PORT_5000_TCP_ADDR", "10.0.0.1"),
            ("WINDLASS_ADMIN_PORT_5001_TCP_PROTO", "tcp"),
        ]),
        ..Sources::default()
    };
    assert_eq!(load(sources).unwrap(), Config::default());
}

#[test]
fn a_text_variable_keeps_its_text_whatever_it_looks_like() {
    let sources = Sources {
        environment: environment(&[
            ("WINDLASS_DATA_DIR", "7"),
            ("WINDLASS_STORAGE__HARD_FREE", "4096"),
        ]),
        ..Sources::default()
    };
    let config = load(sources).unwrap();
    assert_eq!(config.data_dir, PathBuf::from("7"));
    assert_eq!(config.storage.hard_free.bytes(), 4096);
}

#[test]
fn a_secret_may_stand_in_a_file_of_its_own() {
    let files = Files::new();
    let secret = files.write_secret("secret", "pass word\n");
    let text = format!("[store]\nsize = 3\npassword_file = '{}'", secret.display());
    let from_file = Sources {
        files: vec![files.write("w.toml", &text)],
        ..Sources::default()
    };
    let from_environment = Sources {
        environment: environment(&[(
            "WINDLASS_STORE__PASSWORD_FILE",
            &secret.display().to_string(),
        )]),
        ..Sources::default()
    };
    for (sources, size) in [(from_file, 3), (from_environment, 0)] {
        let sample: Sample = load_as(sources, &sample_keys()).unwrap();
        assert_eq!(sample.store.password, "pass word");
        assert_eq!(sample.store.size, size);
    }
}

#[test]
fn a_later_secret_file_overrides_an_earlier_secret() {
    let files = Files::new();
    let secret = files.write_secret("secret", "new");
    let upper = format!("store.password_file = '{}'", secret.display());
    let sources = Sources {
        files: vec![
            files.write("a.toml", "store.password = 'old'"),
            files.write("b.toml", &upper),
        ],
        ..Sources::default()
    };
    let sample: Sample = load_as(sources, &sample_keys()).unwrap();
    assert_eq!(sample.store.password, "new");
}

#[test]
fn a_secret_given_twice_or_missing_is_refused() {
    let files = Files::new();
    let secret = files.write_secret("secret", "x");
    let twice = format!(
        "[store]\npassword = 'y'\npassword_file = '{}'",
        secret.display()
    );
    for (text, words) in [
        (
            twice.as_str(),
            "`store.password` and `store.password_file` are both given",
        ),
        (
            "store.password_file = '/nowhere/secret'",
            "cannot read /nowhere/secret",
        ),
        (
            "store.password_file = 3",
            "expected the path of a file, found integer",
        ),
        ("store.size_file = 'x'", "unknown key `store.size_file`"),
    ] {
        let sources = Sources {
            files: vec![files.write("w.toml", text)],
            ..Sources::default()
        };
        let error = load_as::<Sample>(sources, &sample_keys()).expect_err("is refused");
        assert!(error.to_string().contains(words), "{error}");
    }
    let sources = Sources {
        environment: environment(&[
            ("WINDLASS_STORE__PASSWORD", "y"),
            ("WINDLASS_STORE__PASSWORD_FILE", "/nowhere/secret"),
        ]),
        ..Sources::default()
    };
    let error = load_as::<Sample>(sources, &sample_keys()).expect_err("is refused");
    assert!(matches!(error, ConfigError::SecretTwice { .. }), "{error}");
}

#[test]
fn a_secret_that_everybody_may_read_is_refused() {
    let files = Files::new();
    let secret = files.write_secret("secret", "0123456789abcdef");
    let name = secret.display().to_string();
    for (key, variable) in [
        ("secret_file", "WINDLASS_CLUSTER__SECRET_FILE"),
        ("join_secret_file", "WINDLASS_CLUSTER__JOIN_SECRET_FILE"),
    ] {
        let text = format!("[cluster]\n{key} = '{name}'");
        let sources = || {
            let file = Sources {
                files: vec![files.write("w.toml", &text)],
                ..Sources::default()
            };
            let environment = Sources {
                environment: environment(&[(variable, &name)]),
                ..Sources::default()
            };
            [file, environment]
        };
        for mode in [0o644, 0o601, 0o602] {
            set_mode(&secret, mode);
            for sources in sources() {
                let expected = format!("{name} has mode {mode:04o}: ");
                let message = message(sources);
                assert!(message.starts_with(&expected), "{message}");
            }
        }
        for mode in [0o640, 0o400] {
            set_mode(&secret, mode);
            for sources in sources() {
                // Whether the rest of the section is in order is not asked here.
                let read = load(sources).map_err(|error| error.to_string());
                let error = read.err().unwrap_or_default();
                assert!(!error.contains(" has mode "), "{error}");
            }
        }
    }
}

#[test]
fn a_file_with_a_secret_in_it_is_as_secret() {
    let files = Files::new();
    let file = files.write("w.toml", "cluster.secret = '0123456789abcdef'");
    let sources = || Sources {
        files: vec![file.clone()],
        ..Sources::default()
    };
    assert!(load(sources()).is_ok());
    set_mode(&file, 0o644);
    let expected = format!("{} has mode 0644: ", file.display());
    let message = message(sources());
    assert!(message.starts_with(&expected), "{message}");
}

/// The file that is read gives its name to a better one while it is read.
#[test]
fn a_file_is_judged_by_itself_and_not_by_what_has_its_name_by_then() {
    let files = Files::new();
    let file = files.0.path().join("w.toml");
    let text = "cluster.secret = '0123456789abcdef'";
    let better = files.write("better.toml", text);
    mknodat(CWD, &file, FileType::Fifo, Mode::empty(), 0).unwrap();
    set_mode(&file, 0o644);
    let (name, target) = (better, file.clone());
    let writer = std::thread::spawn(move || {
        // Opens when the other side has.
        let mut open = File::options().write(true).open(&target).unwrap();
        fs::rename(name, target).unwrap();
        open.write_all(text.as_bytes()).unwrap();
    });
    let message = message(Sources {
        files: vec![file],
        ..Sources::default()
    });
    writer.join().unwrap();
    assert!(message.contains(" has mode 0644: "), "{message}");
}

#[test]
fn a_file_with_hashes_in_it_is_secret_and_one_with_room_for_them_is_not() {
    let files = Files::new();
    let load_as = |users: &str, mode| {
        let text = format!("[auth]\nmode = 'users'\nusers = [{users}]");
        let file = files.write("w.toml", &text);
        set_mode(&file, mode);
        let loaded = load(Sources {
            files: vec![file],
            ..Sources::default()
        });
        loaded.map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(load_as("", 0o644), Ok(()));
    assert_eq!(load_as("'bob:hash'", 0o640), Ok(()));
    let error = load_as("'bob:hash'", 0o644).unwrap_err();
    assert!(error.contains("has mode 0644: "), "{error}");
}

#[test]
fn credentials_of_the_service_manager_are_found_in_their_folder() {
    let files = Files::new();
    let folder = files.0.path().display().to_string();
    files.write_secret("join", "0123456789abcdef\n");
    let text = "[cluster]\njoin_secret_file = '$CREDENTIALS_DIRECTORY/join'\n\
                [auth]\nmode = 'users'\nsigning_key_file = '$CREDENTIALS_DIRECTORY/token.key'\n\
                identities = [{ name = 'ci', issuer = 'i', audiences = ['a'], key_files = ['$CREDENTIALS_DIRECTORY/k'] }]";
    let sources = |variables: &[(&str, &str)]| Sources {
        files: vec![files.write("w.toml", text)],
        environment: environment(variables),
        ..Sources::default()
    };
    let directory = ("CREDENTIALS_DIRECTORY", folder.as_str());
    let key = ("WINDLASS_TLS__KEY_FILE", "$CREDENTIALS_DIRECTORY/tls.key");
    let pem = ("WINDLASS_TLS__CERTIFICATE_FILE", "/etc/tls.pem");
    let config = load(sources(&[directory, key, pem])).unwrap();
    let secret = config.cluster.join_secret.unwrap();
    assert_eq!(secret.reveal(), "0123456789abcdef");
    let at = |name: &str| Some(files.0.path().join(name));
    assert_eq!(config.auth.signing_key_file, at("token.key"));
    assert_eq!(config.auth.identities[0].key_files, [at("k").unwrap()]);
    assert_eq!(config.tls.key_file, at("tls.key"));
    // As a variable of a secret, too.
    let variable = "WINDLASS_CLUSTER__JOIN_SECRET_FILE";
    let value = "$CREDENTIALS_DIRECTORY/join";
    let config = load(Sources {
        environment: environment(&[directory, (variable, value)]),
        ..Sources::default()
    });
    assert!(config.unwrap().cluster.join_secret.is_some());
    let message = message(sources(&[]));
    assert!(message.contains("$CREDENTIALS_DIRECTORY/join"), "{message}");
}
