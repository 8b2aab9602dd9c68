//! Lines in place of bars, where nobody watches: in a log, or behind a pipe.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use crate::base::Clock;

/// A node is written of again no sooner than this.
const LINE_PERIOD: Duration = Duration::from_secs(5);

/// What was written of each node, and when.
pub(super) struct Plain {
    /// Whether lines are wanted.
    is_on: bool,
    said: BTreeMap<u64, (Instant, String)>,
}

impl Plain {
    /// For a program whose bars go to standard error.
    pub(super) fn beside_bars() -> Self {
        Self {
            is_on: !io::stderr().is_terminal(),
            said: BTreeMap::new(),
        }
    }

    /// Writes what is to be said of a node, if it is news.
    ///
    /// - Errors: standard error is closed.
    pub(super) fn say(&mut self, node: u64, line: &str) -> io::Result<()> {
        if self.is_on && self.is_news(node, line, Clock::system().now()) {
            writeln!(io::stderr(), "node {node}: {line}")?;
        }
        Ok(())
    }

    fn is_news(&mut self, node: u64, line: &str, now: Instant) -> bool {
        if let Some((at, said)) = self.said.get(&node)
            && (said == line || now.duration_since(*at) < LINE_PERIOD)
        {
            return false;
        }
        self.said.insert(node, (now, line.to_owned()));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_written_of_when_something_changed_and_not_too_often() {
        let mut plain = Plain {
            is_on: true,
            said: BTreeMap::new(),
        };
        let start = Clock::system().now();
        let mut is_news = |node, line, seconds| {
            let now = start + Duration::from_secs(seconds);
            plain.is_news(node, line, now)
        };
        assert!(is_news(1, "3/9 blobs", 0));
        assert!(is_news(2, "3/9 blobs", 1), "another node");
        assert!(!is_news(1, "4/9 blobs", 4), "too soon");
        assert!(is_news(1, "5/9 blobs", 5));
        assert!(!is_news(1, "5/9 blobs", 20), "nothing new");
    }
}
