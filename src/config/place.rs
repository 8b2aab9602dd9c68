//! Where a value came from, so that a message can point there.

use std::fmt;
use std::ops::Range;
use std::path::Path;

/// A line of a file, a variable of the environment, or the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place(String);

impl Place {
    /// The line of `text`, the content of the file `path`, that holds `span`.
    pub(super) fn in_file(path: &Path, text: &str, span: Option<Range<usize>>) -> Self {
        let Some(before) = span.and_then(|span| text.get(..span.start)) else {
            return Self(path.display().to_string());
        };
        let line = before.matches('\n').count() + 1;
        Self(format!("{}:{line}", path.display()))
    }

    /// A variable of the environment.
    pub(super) fn in_environment(name: &str) -> Self {
        Self(format!("environment variable {name}"))
    }

    /// All layers together: where no single place is to blame.
    pub(super) fn merged() -> Self {
        Self("configuration".to_owned())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_counts_lines_from_one() {
        let place = |span| Place::in_file(Path::new("w.toml"), "a\nbc\nd", span).to_string();
        assert_eq!(place(Some(0..1)), "w.toml:1");
        assert_eq!(place(Some(3..4)), "w.toml:2");
        assert_eq!(place(Some(99..100)), "w.toml");
        assert_eq!(place(None), "w.toml");
    }
}
