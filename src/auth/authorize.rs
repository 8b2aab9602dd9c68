//! The one decision: whether what a caller has suffices for what a request needs.

use super::action::Actions;
use super::robot::RobotScopes;
use super::rules::{RuleName, Rules, Verdict};
use super::scope::{Resource, Scope};
use super::subject::Subject;
use super::token::Verified;

/// What a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needed<'a> {
    /// Nothing: whoever asks is answered.
    Nothing,
    /// Good credentials of any kind, also those of an anonymous caller's token: what
    /// clients ask first, to learn how to prove themselves.
    Credentials,
    /// The right to list repositories; which ones appear is another question.
    Catalog,
    /// Rights on a repository.
    Repository(&'a str, Actions),
}

impl Needed<'_> {
    /// The scope that a token must have been asked for.
    #[must_use]
    pub fn scope(&self) -> Option<Scope> {
        match self {
            Self::Nothing | Self::Credentials => None,
            Self::Catalog => Some(Scope::catalog()),
            // Clients that push look first whether a blob is there.
            Self::Repository(name, actions) if actions.contains(Actions::STORE) => {
                Some(Scope::repository(name, Actions::PULL | Actions::PUSH))
            }
            Self::Repository(name, actions) => Some(Scope::repository(name, *actions)),
        }
    }
}

/// What a caller has.
#[derive(Debug, Clone, Copy)]
pub enum Authority<'a> {
    /// Everything: nobody is asked who they are.
    Everything,
    /// What a verified token says.
    Token(&'a Verified),
    /// What a token of another server says, and what the rules give to everybody: that
    /// server knows nothing of it, so that nobody can ask it for more.
    Foreign(&'a Verified, &'a Rules, &'a Subject),
    /// What the rules give to a proved subject, or to an anonymous one.
    Rules(&'a Rules, &'a Subject),
    /// What the scopes of a robot give, and the rules that name it beside them.
    Robot(&'a RobotScopes, &'a Rules, &'a Subject),
}

/// What comes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision<'a> {
    /// It goes on.
    Allowed(Ground<'a>),
    /// It does not: the caller has good credentials, or none, and they do not suffice.
    Refused,
}

/// Why a request goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground<'a> {
    /// Nothing was needed, or nobody is asked.
    Open,
    /// The credentials alone.
    Credentials,
    /// A scope of the token.
    Token,
    /// The scopes of a robot.
    Scopes,
    /// A rule.
    Rule(RuleName<'a>),
}

/// Decides. Everything that a door lets in passes here.
#[must_use]
pub fn authorize<'a>(authority: Authority<'a>, needed: &Needed<'_>) -> Decision<'a> {
    let is_allowed = |allowed: bool, ground| {
        if allowed {
            Decision::Allowed(ground)
        } else {
            Decision::Refused
        }
    };
    match (needed, authority) {
        (Needed::Nothing, _) | (_, Authority::Everything) => Decision::Allowed(Ground::Open),
        (
            Needed::Credentials,
            Authority::Token(_) | Authority::Foreign(..) | Authority::Robot(..),
        ) => Decision::Allowed(Ground::Credentials),
        (Needed::Credentials | Needed::Catalog, Authority::Rules(_, subject)) => {
            is_allowed(!subject.is_anonymous, Ground::Credentials)
        }
        (Needed::Catalog, Authority::Token(token) | Authority::Foreign(token, ..)) => {
            is_allowed(token.gives_catalog(), Ground::Token)
        }
        (Needed::Catalog, Authority::Robot(scopes, ..)) => {
            is_allowed(scopes.gives_catalog(), Ground::Scopes)
        }
        (Needed::Repository(name, actions), Authority::Robot(scopes, rules, subject)) => {
            let lacking = *actions & !scopes.given(name);
            if lacking.is_empty() {
                return Decision::Allowed(Ground::Scopes);
            }
            match rules.decide(subject, name, lacking) {
                Verdict::Given(rule) => Decision::Allowed(Ground::Rule(rule)),
                Verdict::Withheld => Decision::Refused,
            }
        }
        (Needed::Repository(name, actions), Authority::Token(token)) => {
            is_allowed(token.gives(name).contains(*actions), Ground::Token)
        }
        (Needed::Repository(name, actions), Authority::Foreign(token, rules, anonymous)) => {
            let lacking = *actions & !token.gives(name);
            if lacking.is_empty() {
                return Decision::Allowed(Ground::Token);
            }
            match rules.decide(anonymous, name, lacking) {
                Verdict::Given(rule) => Decision::Allowed(Ground::Rule(rule)),
                Verdict::Withheld => Decision::Refused,
            }
        }
        (Needed::Repository(name, actions), Authority::Rules(rules, subject)) => {
            match rules.decide(subject, name, *actions) {
                Verdict::Given(rule) => Decision::Allowed(Ground::Rule(rule)),
                Verdict::Withheld => Decision::Refused,
            }
        }
    }
}

impl Verified {
    /// The rights on a repository.
    #[must_use]
    pub fn gives(&self, repository: &str) -> Actions {
        let is_of = |scope: &&Scope| match &scope.resource {
            Resource::Repository(name) => **name == *repository,
            Resource::Catalog => false,
        };
        let scopes = self.access.iter().filter(is_of);
        scopes.fold(Actions::NONE, |all, scope| all | scope.actions)
    }

    /// The right to list repositories: `*` on the list, and nothing less. A scope that
    /// names the list and gives no action on it is how a token server says no.
    #[must_use]
    pub fn gives_catalog(&self) -> bool {
        let scopes = self.access.iter();
        let catalogs = scopes.filter(|scope| scope.resource == Resource::Catalog);
        let given = catalogs.fold(Actions::NONE, |all, scope| all | scope.actions);
        given.contains(Scope::catalog().actions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn token(scopes: &str) -> Verified {
        Verified {
            subject: None,
            access: Scope::parse_list(scopes).collect(),
            expires_seconds: 0,
            claims: serde_json::Map::new(),
        }
    }

    #[test]
    fn a_token_gives_what_its_scopes_say() {
        let pull = Needed::Repository("a/b", Actions::PULL);
        let push = Needed::Repository("a/b", Actions::PUSH);
        let rows = [
            ("repository:a/b:pull", pull, true),
            ("repository:a/b:pull", push, false),
            ("repository:a/b:pull repository:a/b:push", push, true),
            ("repository:a/b:*", push, true),
            ("repository:a:pull", pull, false),
            ("repository:a/b/c:pull", pull, false),
            ("repository:host:5000/a/b:pull", pull, false),
            ("repository:a/b:pull", Needed::Catalog, false),
            ("registry:catalog:*", Needed::Catalog, true),
            ("registry:catalog:", Needed::Catalog, false),
            ("registry:catalog:pull", Needed::Catalog, false),
            ("registry:catalog:pull,delete", Needed::Catalog, false),
            ("registry:catalog:*", pull, false),
            ("", Needed::Credentials, true),
            ("", pull, false),
            ("", Needed::Nothing, true),
        ];
        for (scopes, needed, expected) in rows {
            let token = token(scopes);
            let decision = authorize(Authority::Token(&token), &needed);
            let is_allowed = matches!(decision, Decision::Allowed(_));
            assert_eq!(is_allowed, expected, "{scopes} {needed:?}");
        }
    }

    #[test]
    fn rules_decide_for_users_and_for_anonymous_callers() {
        let rule = json!({ "subject": { "anonymous": true }, "actions": ["pull"] });
        let rules = Rules::read(&[rule]).unwrap();
        let (anonymous, bob) = (Subject::anonymous(None), Subject::user("bob", None));
        let allows = |subject, needed: &Needed<'_>| {
            let decision = authorize(Authority::Rules(&rules, subject), needed);
            matches!(decision, Decision::Allowed(_))
        };
        let pull = Needed::Repository("a", Actions::PULL);
        assert!(allows(&anonymous, &pull) && allows(&bob, &pull));
        assert!(!allows(&bob, &Needed::Repository("a", Actions::PUSH)));
        assert!(!allows(&anonymous, &Needed::Credentials) && allows(&bob, &Needed::Credentials));
        assert!(!allows(&anonymous, &Needed::Catalog) && allows(&bob, &Needed::Catalog));
    }

    #[test]
    fn a_token_of_another_server_does_not_take_what_everybody_may() {
        let rules = [
            json!({ "subject": { "anonymous": true }, "actions": ["pull"],
                "resource": { "repository": "public" } }),
            json!({ "actions": ["admin"] }),
        ];
        let rules = Rules::read(&rules).unwrap();
        let anonymous = Subject::anonymous(None);
        let on = |name, actions| Needed::Repository(name, actions);
        let both = Actions::PULL | Actions::DELETE;
        for (scopes, needed, expected) in [
            ("", on("public", Actions::PULL), true),
            ("", on("public", Actions::STORE), false),
            ("", on("private", Actions::PULL), false),
            ("repository:public:delete", on("public", both), true),
            ("repository:private:pull", on("public", Actions::PULL), true),
            (
                "repository:private:pull",
                on("private", Actions::PULL),
                true,
            ),
            ("", Needed::Catalog, false),
            ("", Needed::Credentials, true),
        ] {
            let token = token(scopes);
            let authority = Authority::Foreign(&token, &rules, &anonymous);
            let is_allowed = matches!(authorize(authority, &needed), Decision::Allowed(_));
            assert_eq!(is_allowed, expected, "{scopes} {needed:?}");
        }
    }

    #[test]
    fn a_robot_has_its_scopes_and_what_rules_give_that_name_it() {
        let rules = [
            json!({ "actions": ["admin"] }),
            json!({ "subject": { "username": "ci" }, "actions": ["admin"] }),
            json!({ "subject": { "anonymous": true, "username": "ci" }, "actions": ["admin"] }),
            json!({ "subject": { "anonymous": true }, "actions": ["pull"],
                "resource": { "repository": "public" } }),
            json!({ "subject": { "robot": { "starts": "c" } }, "actions": ["delete"],
                "resource": { "repository": "team/app" } }),
        ];
        let rules = Rules::read(&rules).unwrap();
        let scopes = RobotScopes::read(["team/*:pull", "catalog"].into_iter()).unwrap();
        let bare = RobotScopes::default();
        let allows = |scopes, name: &str, needed: &Needed<'_>| {
            let robot = Subject::robot(name, None);
            let decision = authorize(Authority::Robot(scopes, &rules, &robot), needed);
            matches!(decision, Decision::Allowed(_))
        };
        let on = |name, actions| Needed::Repository(name, actions);
        let both = Actions::PULL | Actions::DELETE;
        for (name, needed, expected) in [
            ("ci", on("team/app", Actions::PULL), true),
            ("ci", on("team/app", Actions::STORE), false),
            ("ci", on("team/app", both), true),
            ("ci", on("team/other", both), false),
            ("ci", on("other/app", Actions::PULL), false),
            ("bot", on("team/app", Actions::DELETE), false),
            ("ci", on("public", Actions::PULL), true),
            ("ci", on("public", Actions::DELETE), false),
            ("ci", Needed::Credentials, true),
            ("ci", Needed::Catalog, true),
        ] {
            assert_eq!(
                allows(&scopes, name, &needed),
                expected,
                "{name} {needed:?}"
            );
        }
        assert!(
            !allows(&bare, "ci", &Needed::Catalog) && allows(&bare, "ci", &Needed::Credentials)
        );
        // Nor is a rule for robots one for users, whatever they are called.
        let (user, delete) = (Subject::user("ci", None), Actions::DELETE);
        let only = Rules::read(&[json!({ "subject": { "robot": "ci" }, "actions": ["delete"] })]);
        assert_eq!(
            only.unwrap().decide(&user, "team/app", delete),
            Verdict::Withheld
        );
    }

    #[test]
    fn the_scope_of_a_push_lets_clients_look_first() {
        let scope = Needed::Repository("a", Actions::STORE).scope().unwrap();
        assert_eq!(scope.to_string(), "repository:a:pull,push");
        let scope = Needed::Repository("a", Actions::DELETE).scope().unwrap();
        assert_eq!(scope.to_string(), "repository:a:delete");
    }
}
