//! What a test changes on the machine goes away with the test, however it ends.

use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A shell that waits for the end of the test process, or of this value, and then
/// cleans up. Signals from a terminal do not end it first.
pub(crate) struct Undo(Child);

impl Undo {
    /// Runs `script` with `words` as its arguments when this value is gone.
    pub(crate) fn new(script: &str, words: &[String]) -> Self {
        let script = format!("trap '' INT TERM HUP; read -r line; {script}");
        let child = Command::new("sh")
            .args(["-c", &script, "undo"])
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.expect("a shell"))
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        drop(self.0.wait());
    }
}

/// Runs a command line; its output, when it succeeds.
pub(crate) fn output(line: &str) -> Option<String> {
    let mut words = line.split(' ');
    let output = Command::new(words.next()?).args(words).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then_some(text)
}

/// Runs a command line that must succeed.
#[track_caller]
pub(crate) fn run(line: &str) -> String {
    let ran = output(line);
    ran.unwrap_or_else(|| panic!("{line} failed; it needs root"))
}

/// As [`run`], with words that may hold blanks.
#[track_caller]
pub(crate) fn run_words(program: &str, words: &[&str]) {
    let status = Command::new(program).args(words).status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "{program} {words:?} failed"
    );
}

/// A path as a word.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a path of letters")
}
