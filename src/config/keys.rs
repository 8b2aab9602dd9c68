//! The list of all keys: which exist, and which one somebody meant.

use toml::{Table, Value};

/// Below this likeness a suggestion confuses more than it helps.
const LIKENESS_RATIOS_MIN: f64 = 0.6;
/// A key in the same section is the likelier of two equals.
const SAME_SECTION_RATIOS: f64 = 0.1;

/// Stands for the folder in which systemd puts credentials of a service.
///
/// - Source: systemd.exec(5), `LoadCredential=`.
const CREDENTIALS_MARK: &str = "$CREDENTIALS_DIRECTORY/";

/// What keys there are, and which of them hold a secret.
pub(super) struct Keys {
    /// Every key with a value of its type.
    pub(super) table: Table,
    /// Full names of keys for which `<key>_file` names a file with the value.
    pub(super) secrets: &'static [&'static str],
    /// Full names of lists that are no secrets and give them away with time: hashes.
    pub(super) hashes: &'static [&'static str],
    /// Where the service manager puts secrets for this process.
    pub(super) credentials: Option<String>,
}

impl Keys {
    /// A value of the type that the key `path` has.
    pub(super) fn find(&self, path: &[String]) -> Option<&Value> {
        let (first, rest) = path.split_first()?;
        rest.iter()
            .try_fold(self.table.get(first)?, |value, key| value.get(key))
    }

    /// The full name of the secret that the key `path` names a file for.
    pub(super) fn secret_of_file(&self, path: &[String]) -> Option<&'static str> {
        let name = path.join(".");
        let secret = name.strip_suffix("_file")?;
        self.secrets.iter().copied().find(|each| *each == secret)
    }

    /// The file that `value` names, which may stand in the folder of the service manager.
    pub(super) fn file(&self, value: &str) -> String {
        match (value.strip_prefix(CREDENTIALS_MARK), &self.credentials) {
            (Some(name), Some(folder)) => format!("{folder}/{name}"),
            (None, _) | (_, None) => value.to_owned(),
        }
    }

    /// Puts the folder of the service manager into every value that names a file there.
    pub(super) fn find_files(&self, value: &mut Value) {
        match value {
            Value::String(text) if text.starts_with(CREDENTIALS_MARK) => *text = self.file(text),
            Value::Array(values) => values.iter_mut().for_each(|each| self.find_files(each)),
            Value::Table(table) => table.iter_mut().for_each(|(_, each)| self.find_files(each)),
            _ => {}
        }
    }

    /// Whether the key `path` holds a secret.
    pub(super) fn is_secret(&self, path: &[String]) -> bool {
        let name = path.join(".");
        self.secrets.iter().any(|each| *each == name)
    }

    /// Whether the key `path` holds hashes of secrets.
    pub(super) fn holds_hashes(&self, path: &[String]) -> bool {
        let name = path.join(".");
        self.hashes.iter().any(|each| *each == name)
    }

    /// The existing key that looks most like the unknown key `path`.
    pub(super) fn suggestion(&self, path: &[String]) -> Option<String> {
        let (leaf, section) = path.split_last()?;
        let mut names = Vec::new();
        list(&self.table, &mut Vec::new(), &mut names);
        let likeness = |name: &[String]| {
            let (near, near_section) = name.split_last()?;
            let bonus = f64::from(u8::from(near_section == section)) * SAME_SECTION_RATIOS;
            Some(strsim::normalized_damerau_levenshtein(leaf, near) + bonus)
        };
        names
            .iter()
            .filter_map(|name| Some((likeness(name)?, name)))
            .max_by(|(left, _), (right, _)| left.total_cmp(right))
            .filter(|(ratio, _)| *ratio >= LIKENESS_RATIOS_MIN)
            .map(|(_, name)| name.join("."))
    }
}

/// Collects the full names of all keys and sections.
fn list(table: &Table, path: &mut Vec<String>, names: &mut Vec<Vec<String>>) {
    for (key, value) in table {
        path.push(key.clone());
        names.push(path.clone());
        if let Value::Table(section) = value {
            list(section, path, names);
        }
        path.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        Keys {
            table: toml::from_str("listen = ''\n[http]\nidle_timeout = ''\n[runtime]\nshards = 1")
                .unwrap(),
            secrets: &["runtime.password"],
            hashes: &[],
            credentials: None,
        }
    }

    fn suggest(name: &str) -> Option<String> {
        let path: Vec<String> = name.split('.').map(str::to_owned).collect();
        keys().suggestion(&path)
    }

    #[test]
    fn a_suggestion_is_the_nearest_key_in_any_section() {
        assert_eq!(suggest("lisen").as_deref(), Some("listen"));
        assert_eq!(suggest("runtime.shrads").as_deref(), Some("runtime.shards"));
        assert_eq!(suggest("shards").as_deref(), Some("runtime.shards"));
        assert_eq!(suggest("runtme").as_deref(), Some("runtime"));
        assert_eq!(suggest("colour"), None);
    }

    #[test]
    fn keys_are_found_by_path_and_secrets_by_their_file() {
        let path = |name: &str| -> Vec<String> { name.split('.').map(str::to_owned).collect() };
        assert!(keys().find(&path("http.idle_timeout")).is_some());
        assert!(keys().find(&path("http.idle_timeout.more")).is_none());
        assert_eq!(
            keys().secret_of_file(&path("runtime.password_file")),
            Some("runtime.password")
        );
        assert_eq!(keys().secret_of_file(&path("runtime.shards_file")), None);
    }
}
