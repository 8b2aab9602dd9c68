//! Layers of configuration, one on top of the other. Pure.

use toml::{Table, Value};

/// Lays `upper` over `lower`: sections merge, lists append, anything else is replaced.
pub(super) fn merge(lower: &mut Table, upper: Table) {
    for (key, value) in upper {
        match (lower.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => merge(below, above),
            (Some(Value::Array(below)), Value::Array(above)) => below.extend(above),
            (_, value) => {
                lower.insert(key, value);
            }
        }
    }
}

/// A table that holds `value` under the path, and nothing else.
pub(super) fn nested(path: &[String], value: Value) -> Table {
    let wrapped = path.iter().rev().fold(value, |inner, key| {
        Value::Table(Table::from_iter([(key.clone(), inner)]))
    });
    match wrapped {
        Value::Table(table) => table,
        _ => Table::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Table {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn later_layers_override_and_lists_append() {
        let mut lower = table("a = 1\nlist = [1]\n[s]\nx = 1\ny = 1\nlist = ['p']");
        merge(
            &mut lower,
            table("b = 2\nlist = [2, 3]\n[s]\ny = 2\nlist = ['q']"),
        );
        let expected = "a = 1\nb = 2\nlist = [1, 2, 3]\n[s]\nx = 1\ny = 2\nlist = ['p', 'q']";
        assert_eq!(lower, table(expected));
    }

    #[test]
    fn a_path_nests() {
        let path = ["a".to_owned(), "b".to_owned()];
        assert_eq!(nested(&path, Value::Integer(1)), table("[a]\nb = 1"));
    }
}
