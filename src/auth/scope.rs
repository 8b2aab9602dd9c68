//! Scopes of the Docker token specification: what a token is asked for, and what it
//! then says.

use std::fmt;

use serde_json::{Value, json};

use super::action::Actions;

/// What rights are on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// A repository, by its name. A name that is none of this registry's, such as one
    /// with `host:port` in front, is kept and equals no repository.
    Repository(Box<str>),
    /// The list of repositories.
    Catalog,
}

/// Rights on one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// On what.
    pub resource: Resource,
    /// Which.
    pub actions: Actions,
}

/// An `access` claim that does not have the form of the specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("claim `access` is not a list of types, names and actions")]
pub struct AccessError;

impl Scope {
    /// Rights on a repository.
    #[must_use]
    pub fn repository(name: &str, actions: Actions) -> Self {
        Self {
            resource: Resource::Repository(name.into()),
            actions,
        }
    }

    /// The right to list repositories.
    #[must_use]
    pub const fn catalog() -> Self {
        Self {
            resource: Resource::Catalog,
            actions: Actions::ALL,
        }
    }

    /// Reads scopes separated by spaces; what is malformed or of an unknown type is
    /// ignored, and so are unknown actions.
    ///
    /// - Source: distribution, "Token Scope Documentation".
    pub fn parse_list(text: &str) -> impl Iterator<Item = Self> {
        text.split(' ').filter_map(Self::parse)
    }

    /// A name may hold colons (`host:port/name`): the type ends at the first one, the
    /// actions begin behind the last one.
    fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        let (name, actions) = rest.rsplit_once(':')?;
        Self::of(kind, name, actions.split(','))
    }

    fn of<'a>(kind: &str, name: &str, words: impl Iterator<Item = &'a str>) -> Option<Self> {
        let known = words.filter_map(Actions::of_word);
        let actions = known.fold(Actions::NONE, |all, each| all | each);
        match (kind, name) {
            (_, "") => None,
            ("repository", name) => Some(Self::repository(name, actions)),
            ("registry", "catalog") => Some(Self {
                resource: Resource::Catalog,
                actions,
            }),
            _ => None,
        }
    }

    /// Reads the `access` claim of a token; entries of unknown types are ignored.
    ///
    /// - Errors: the claim, or a member of an entry, has the wrong type.
    /// - Source: distribution, "Token Authentication Implementation".
    pub fn of_claim(claim: Option<&Value>) -> Result<Vec<Self>, AccessError> {
        let entries = match claim {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(claim) => claim.as_array().ok_or(AccessError)?,
        };
        let mut scopes = Vec::new();
        for entry in entries {
            let text = |member| entry.get(member).and_then(Value::as_str);
            let kind = text("type").ok_or(AccessError)?;
            let name = text("name").ok_or(AccessError)?;
            let words = match entry.get("actions") {
                Some(Value::Null) => &[],
                words => words
                    .and_then(Value::as_array)
                    .ok_or(AccessError)?
                    .as_slice(),
            };
            if !words.iter().all(Value::is_string) {
                return Err(AccessError);
            }
            scopes.extend(Self::of(kind, name, words.iter().filter_map(Value::as_str)));
        }
        Ok(scopes)
    }

    /// The entry of an `access` claim.
    #[must_use]
    pub fn to_claim(&self) -> Value {
        let (kind, name) = self.names();
        let actions: Vec<_> = match self.resource {
            Resource::Repository(_) => self.actions.words().collect(),
            Resource::Catalog => vec!["*"],
        };
        json!({ "type": kind, "name": name, "actions": actions })
    }

    fn names(&self) -> (&'static str, &str) {
        match &self.resource {
            Resource::Repository(name) => ("repository", name),
            Resource::Catalog => ("registry", "catalog"),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = self.names();
        match self.resource {
            Resource::Repository(_) => write!(f, "{kind}:{name}:{}", self.actions),
            Resource::Catalog => write!(f, "{kind}:{name}:*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Vec<Scope> {
        Scope::parse_list(text).collect()
    }

    #[test]
    fn scopes_read_and_print() {
        for text in [
            "repository:a/b:pull,push",
            "repository:host.example:5000/a/b:pull",
            "registry:catalog:*",
        ] {
            let scopes = parse(text);
            assert_eq!(scopes.len(), 1, "{text}");
            assert_eq!(scopes[0].to_string(), text);
        }
        let both = parse("repository:a:pull repository:b:push");
        assert_eq!(both[0], Scope::repository("a", Actions::PULL));
        assert_eq!(both[1], Scope::repository("b", Actions::PUSH));
    }

    #[test]
    fn the_port_of_a_name_is_no_action() {
        let scope = &parse("repository:localhost:5000/a:pull")[0];
        let name = Resource::Repository("localhost:5000/a".into());
        assert_eq!((&scope.resource, scope.actions), (&name, Actions::PULL));
    }

    #[test]
    fn what_is_unknown_is_ignored() {
        for text in [
            "",
            "repository",
            "repository:a",
            "repository::pull",
            "plugin:a:pull",
            "repository(plugin):a:pull",
            "registry:other:*",
        ] {
            assert!(parse(text).is_empty(), "{text}");
        }
        assert_eq!(parse("repository:a:pull,fly")[0].actions, Actions::PULL);
        assert_eq!(parse("repository:a:fly")[0].actions, Actions::NONE);
    }

    #[test]
    fn claims_read_back() {
        let scopes = vec![
            Scope::repository("a/b", Actions::PULL | Actions::PUSH),
            Scope::catalog(),
        ];
        let claim = Value::from(scopes.iter().map(Scope::to_claim).collect::<Vec<_>>());
        assert_eq!(Scope::of_claim(Some(&claim)), Ok(scopes));
        assert_eq!(Scope::of_claim(None), Ok(Vec::new()));
        assert_eq!(Scope::of_claim(Some(&Value::Null)), Ok(Vec::new()));
        let other = json!([{ "type": "plugin", "name": "a", "actions": ["pull"] }]);
        assert_eq!(Scope::of_claim(Some(&other)), Ok(Vec::new()));
    }

    #[test]
    fn claims_of_another_type_are_refused() {
        for claim in [
            json!({}),
            json!("repository:a:pull"),
            json!(1),
            json!([1]),
            json!([[]]),
            json!([{}]),
            json!([{ "type": 1, "name": "a", "actions": [] }]),
            json!([{ "type": "repository", "name": ["a"], "actions": [] }]),
            json!([{ "type": "repository", "name": "a", "actions": "pull" }]),
            json!([{ "type": "repository", "name": "a", "actions": ["pull", 1] }]),
            json!([{ "type": "repository", "name": "a" }]),
        ] {
            assert_eq!(Scope::of_claim(Some(&claim)), Err(AccessError), "{claim}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in ".*", words in "[a-z:, ]{0,60}") {
            for text in [text, words] {
                for scope in Scope::parse_list(&text) {
                    let again: Vec<_> = Scope::parse_list(&scope.to_string()).collect();
                    prop_assert_eq!(again, vec![scope]);
                }
            }
        }
    }
}
