//! What a robot may do: the scopes that it was made with.

use globset::GlobMatcher;

use super::action::Actions;
use super::read::{glob, read_action};
use super::rule_error::RuleFault;

/// The scope that gives the list of repositories.
const CATALOG: &str = "catalog";
/// How scopes are written.
const FORM: &str = "`PATTERN:ACTION,ACTION` or `catalog`";

/// The scopes of a robot, compiled. Cheap to ask.
#[derive(Debug, Default)]
pub struct RobotScopes {
    repositories: Vec<(GlobMatcher, Actions)>,
    is_catalog_given: bool,
}

/// A scope that says something unknown or malformed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("scope `{scope}`: {fault}")]
pub struct RobotScopeError {
    /// The scope.
    pub scope: String,
    /// What is wrong with it.
    pub fault: RuleFault,
}

impl RobotScopes {
    /// Reads scopes: `catalog`, or a pattern of repositories as rules have it behind
    /// `glob`, a colon, and actions as rules have them.
    ///
    /// - Errors: the first scope that is not in order.
    pub fn read<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Self, RobotScopeError> {
        let mut scopes = Self::default();
        for text in texts {
            scopes.add(text).map_err(|fault| RobotScopeError {
                scope: text.to_owned(),
                fault,
            })?;
        }
        Ok(scopes)
    }

    fn add(&mut self, text: &str) -> Result<(), RuleFault> {
        if text == CATALOG {
            self.is_catalog_given = true;
            return Ok(());
        }
        let (pattern, words) = text.rsplit_once(':').ok_or(RuleFault::Expected(FORM))?;
        if pattern.is_empty() || !pattern.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(RuleFault::Expected(FORM));
        }
        let mut actions = Actions::NONE;
        for word in words.split(',') {
            actions = actions | read_action(word)?;
        }
        self.repositories.push((glob(pattern)?, actions));
        Ok(())
    }

    /// Everything that is given on a repository.
    #[must_use]
    pub fn given(&self, repository: &str) -> Actions {
        let scopes = self.repositories.iter();
        let held = scopes.filter(|(pattern, _)| pattern.is_match(repository));
        held.fold(Actions::NONE, |given, (_, actions)| given | *actions)
    }

    /// Whether the list of repositories is given: of it, what the robot may pull.
    #[must_use]
    pub const fn gives_catalog(&self) -> bool {
        self.is_catalog_given
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(texts: &[&str]) -> Result<RobotScopes, String> {
        RobotScopes::read(texts.iter().copied()).map_err(|error| error.to_string())
    }

    #[test]
    fn scopes_give_what_rules_with_the_same_words_give() {
        let scopes = read(&["team/*:pull", "team/app:tag-create", "**/cache:push,delete"]).unwrap();
        for (repository, expected) in [
            ("team/app", "pull,tag-create"),
            ("team/other", "pull"),
            ("team/a/b", ""),
            ("team", ""),
            ("a/b/cache", "push,delete"),
            ("team/cache", "pull,push,delete"),
        ] {
            assert_eq!(
                scopes.given(repository).to_string(),
                expected,
                "{repository}"
            );
        }
        assert!(!scopes.gives_catalog());
        assert_eq!(read(&["**:admin"]).unwrap().given("a/b"), Actions::ALL);
        let listing = read(&["catalog"]).unwrap();
        assert!(listing.gives_catalog() && listing.given("a").is_empty());
        assert!(read(&[]).unwrap().given("a").is_empty());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            ("team/app", "scope `team/app`: expected `PATTERN:"),
            (":pull", "scope `:pull`: expected `PATTERN:"),
            ("a b:pull", "scope `a b:pull`: expected `PATTERN:"),
            (
                "a:pul",
                "scope `a:pul`: unknown action `pul`, did you mean `pull`?",
            ),
            ("a:", "scope `a:`: unknown action ``"),
            ("a:*", "scope `a:*`: unknown action `*`"),
            ("a{:pull", "scope `a{:pull`: "),
        ] {
            let error = read(&[text]).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
