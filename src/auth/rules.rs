//! Rules: who may do what. Additive: what one gives, no other takes.

use std::fmt;

use serde_json::Value;

use super::action::Actions;
use super::claim::Claims;
use super::matcher::{Matcher, Seen};
use super::read::read_rule;
use super::rule_error::RuleError;
use super::subject::Subject;

/// All rules, compiled. Cheap to ask, and asked for every request.
#[derive(Debug, Default)]
pub struct Rules {
    rules: Vec<Rule>,
}

/// One rule; an absent part matches everything.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) subject: SubjectRule,
    pub(super) repository: Option<Matcher>,
    pub(super) actions: Actions,
    pub(super) comment: Option<Box<str>>,
}

/// Whom a rule is for: all given parts must match.
#[derive(Debug, Default)]
pub(super) struct SubjectRule {
    pub(super) username: Option<Matcher>,
    pub(super) network: Option<Matcher>,
    pub(super) subject: Option<Matcher>,
    pub(super) claims: Option<Claims>,
    /// Which robots it is for. Without it a rule is for none, unless it is for callers
    /// without credentials: what a robot may do stands in its scopes, and no rule that
    /// forgot robots adds to that.
    pub(super) robot: Option<Matcher>,
    /// Whether it is for callers without credentials, too. Nothing becomes public
    /// because a rule forgot to say who.
    pub(super) anonymous: bool,
}

/// What the rules say to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// The rights are given; by this rule, or by it and earlier ones.
    Given(RuleName<'a>),
    /// No rules together give them.
    Withheld,
}

/// Which rule, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleName<'a> {
    /// Its place among the rules, from 1.
    pub number: usize,
    /// What its author wrote beside it.
    pub comment: Option<&'a str>,
}

impl fmt::Display for RuleName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {}", self.number)?;
        match self.comment {
            Some(comment) => write!(f, " ({comment})"),
            None => Ok(()),
        }
    }
}

/// Why a rule gives a subject what it gives, or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Everything matches; these rights are given.
    Holds(Actions),
    /// The caller has no credentials, and the rule is not for such callers.
    Anonymous,
    /// The caller is a robot that the rule does not name, or is none.
    Robot,
    /// The user name does not match.
    Username,
    /// The address does not match.
    Network,
    /// The subject does not match.
    Subject,
    /// The claims do not match.
    Claims,
    /// The repository does not match.
    Repository,
}

impl Rules {
    /// Reads and compiles rules, in the order in which they are numbered.
    ///
    /// - Errors: the first rule that says something unknown or malformed.
    pub fn read(rules: &[Value]) -> Result<Self, RuleError> {
        let read = |(index, rule)| read_rule(index, rule);
        let rules = rules
            .iter()
            .enumerate()
            .map(read)
            .collect::<Result<_, _>>()?;
        Ok(Self { rules })
    }

    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.rules.len()
    }

    /// Whether `needed` is given to `subject` on `repository`, and by which rule.
    #[must_use]
    pub fn decide(&self, subject: &Subject, repository: &str, needed: Actions) -> Verdict<'_> {
        let mut given = Actions::NONE;
        for (rule, name) in self.named() {
            let before = given & needed;
            if (rule.actions & needed & !before).is_empty() || !rule.holds(subject, repository) {
                continue;
            }
            given = given | rule.actions;
            if given.contains(needed) {
                return Verdict::Given(name);
            }
        }
        Verdict::Withheld
    }

    /// Everything that is given to `subject` on `repository`.
    #[must_use]
    pub fn given(&self, subject: &Subject, repository: &str) -> Actions {
        let held = self
            .rules
            .iter()
            .filter(|rule| rule.holds(subject, repository));
        held.fold(Actions::NONE, |given, rule| given | rule.actions)
    }

    /// Each rule, and why it does or does not hold.
    pub fn explain<'a>(
        &'a self,
        subject: &Subject,
        repository: &str,
    ) -> impl Iterator<Item = (RuleName<'a>, Reason)> {
        self.named()
            .map(move |(rule, name)| (name, rule.reason(subject, repository)))
    }

    fn named(&self) -> impl Iterator<Item = (&Rule, RuleName<'_>)> {
        self.rules.iter().zip(1..).map(|(rule, number)| {
            let comment = rule.comment.as_deref();
            (rule, RuleName { number, comment })
        })
    }
}

impl Rule {
    fn holds(&self, subject: &Subject, repository: &str) -> bool {
        matches!(self.reason(subject, repository), Reason::Holds(_))
    }

    fn reason(&self, subject: &Subject, repository: &str) -> Reason {
        let text = |value: &'_ Option<Box<str>>, matcher: &Option<Matcher>| {
            let seen = value.as_deref().map_or(Seen::Missing, Seen::Text);
            matcher.as_ref().is_none_or(|matcher| matcher.matches(seen))
        };
        let rule = &self.subject;
        let is_robot = subject.robot.is_some();
        // What everybody may who shows nothing, robots may, too, and as such.
        let is_public = is_robot && rule.anonymous && rule.robot.is_none();
        let username = if is_public { &None } else { &subject.username };
        // Nobody knows that an unknown address is not the one that is left out.
        let is_of_network = |matcher: &Matcher| {
            let address = subject.network.map(Seen::Address);
            address.is_some_and(|address| matcher.matches(address))
        };
        let claims = subject.claims.as_ref().unwrap_or(&Value::Null);
        if subject.is_anonymous && !rule.anonymous {
            Reason::Anonymous
        } else if !is_public
            && (is_robot != rule.robot.is_some() || !text(&subject.robot, &rule.robot))
        {
            Reason::Robot
        } else if !text(username, &rule.username) {
            Reason::Username
        } else if rule.network.as_ref().is_some_and(|one| !is_of_network(one)) {
            Reason::Network
        } else if !text(&subject.subject, &rule.subject) {
            Reason::Subject
        } else if rule.claims.as_ref().is_some_and(|one| !one.matches(claims)) {
            Reason::Claims
        } else if self
            .repository
            .as_ref()
            .is_some_and(|one| !one.matches(Seen::Text(repository)))
        {
            Reason::Repository
        } else {
            Reason::Holds(self.actions)
        }
    }
}

#[cfg(test)]
#[path = "rules_test.rs"]
mod tests;
