//! `windlass hash-password` and `windlass acl explain`.

use std::fs;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use super::arguments::Explain;
use super::command::fail;
use crate::auth::{
    Actions, Certified, Login, PasswordHash, Reason, RobotScopes, Rules, Subject, Verdict,
};
use crate::config::{AuthMode, Config};
use crate::net::PeerCertificate;
use crate::oci::Repository;
use crate::server;

/// Stands for a caller without credentials.
const NOBODY: &str = "-";

/// Prints the line of a file of users for a password from standard input.
pub(super) fn hash_password(user: &str) -> ExitCode {
    let password = match read_password() {
        Ok(password) => password,
        Err(error) => return fail(&format!("read the password: {error}")),
    };
    if user.contains(':') || password.is_empty() || Login::new(user, &password).is_err() {
        return fail("the name is empty or has a colon, or the password is empty or too long");
    }
    match PasswordHash::of(&password) {
        Ok(hash) => print(&format!("{user}:{}", hash.as_str())),
        Err(error) => fail(&error.to_string()),
    }
}

/// Reads one line; from a terminal without showing it.
fn read_password() -> io::Result<String> {
    let mut line = String::new();
    let input = io::stdin();
    if input.is_terminal() {
        let shown = tcgetattr(&input)?;
        let mut hidden = shown.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        write!(io::stderr(), "Password: ")?;
        tcsetattr(&input, OptionalActions::Flush, &hidden)?;
        let read = input.lock().read_line(&mut line);
        tcsetattr(&input, OptionalActions::Flush, &shown)?;
        writeln!(io::stderr())?;
        read?;
    } else {
        input.lock().read_line(&mut line)?;
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Says which rule allows what was asked about, or why none does.
pub(super) fn explain(explain: &Explain, config: &Config) -> ExitCode {
    if config.auth.mode == AuthMode::None {
        return print("allowed: `auth.mode` is \"none\", so nobody is asked who they are");
    }
    let Some(needed) = Actions::of_word(&explain.action) else {
        return fail(
            "the action is none of pull, push, tag-create, tag-overwrite, delete and admin",
        );
    };
    if Repository::parse(&explain.repository).is_err() {
        return fail("that is no name of a repository");
    }
    let rules = match server::rules(config) {
        Ok(rules) => rules,
        Err(error) => return fail(&error.to_string()),
    };
    let subject = match subject(explain, config) {
        Ok(subject) => subject,
        Err(reason) => return fail(&reason),
    };
    let mut needed = needed;
    if explain.robot {
        let scopes = match RobotScopes::read(explain.scopes.iter().map(String::as_str)) {
            Ok(scopes) => scopes,
            Err(error) => return fail(&error.to_string()),
        };
        needed = needed & !scopes.given(&explain.repository);
        if needed.is_empty() {
            return print("allowed by the scopes of the token");
        }
    }
    match rules.decide(&subject, &explain.repository, needed) {
        Verdict::Given(rule) => print(&format!("allowed by {rule}")),
        Verdict::Withheld => {
            print(&why_not(&rules, &subject, explain));
            ExitCode::FAILURE
        }
    }
}

/// Whom the question is about.
fn subject(explain: &Explain, config: &Config) -> Result<Subject, String> {
    if let Some(path) = &explain.certificate {
        return certified(path, config).map(|one| Subject::certified(&one, explain.from));
    }
    if explain.robot {
        return Ok(Subject::robot(&explain.user, explain.from));
    }
    if explain.user == NOBODY {
        return Ok(Subject::anonymous(explain.from));
    }
    let mut subject = Subject::user(&explain.user, explain.from);
    if let Some(path) = &explain.claims {
        let told = |error: &dyn std::fmt::Display| format!("the file with claims: {error}");
        let text = fs::read_to_string(path).map_err(|error| told(&error))?;
        let claims: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| told(&error))?;
        subject.subject = claims
            .get("sub")
            .and_then(serde_json::Value::as_str)
            .map(Into::into);
        subject.claims = Some(claims);
    }
    Ok(subject)
}

/// Who a certificate says its owner is, by the names that the configuration takes.
fn certified(path: &Path, config: &Config) -> Result<Certified, String> {
    let told = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = fs::read_to_string(path).map_err(|error| told(&error))?;
    let certificate = PeerCertificate::of_pem(text.as_bytes()).map_err(|error| told(&error))?;
    server::certified(certificate, config).ok_or_else(|| {
        told(&"it has none of the names that `tls.client_identity` takes, so its owner is nobody")
    })
}

fn why_not(rules: &Rules, subject: &Subject, explain: &Explain) -> String {
    let mut text = "not allowed".to_owned();
    if rules.count() == 0 {
        text.push_str(": there are no rules");
    }
    for (rule, reason) in rules.explain(subject, &explain.repository) {
        let reason = match reason {
            Reason::Holds(actions) => format!("gives only {actions}"),
            Reason::Anonymous => "is not for callers without credentials".to_owned(),
            Reason::Robot => "is not for this robot, or is for robots only".to_owned(),
            Reason::Username => "is for other users".to_owned(),
            Reason::Network => "is for other networks".to_owned(),
            Reason::Subject => "is for other subjects".to_owned(),
            Reason::Claims => "wants other claims".to_owned(),
            Reason::Repository => "is about other repositories".to_owned(),
        };
        for part in ["\n  ", &rule.to_string(), " ", &reason] {
            text.push_str(part);
        }
    }
    text
}

fn print(text: &str) -> ExitCode {
    match writeln!(io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
