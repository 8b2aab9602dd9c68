//! What a request that was let in may do.

use std::rc::Rc;
use std::sync::Arc;

use serde_json::Value;

use super::admit::CERTIFICATE_CLAIM;
use super::book::Book;
use super::named::Named;
use super::robots::Robot;
use crate::auth::{
    Actions, Authority, Decision, Ground, Needed, Rules, Subject, Verified, authorize,
    robot_id_text,
};
use crate::oci::Repository;
use crate::quota::{Caller, Namespace};

/// The outcome of an admission, for questions that come later in the request.
#[derive(Debug, Clone)]
pub struct Pass(Held);

#[derive(Debug, Clone)]
enum Held {
    /// Nobody is asked.
    Everything,
    /// Nothing was needed, so nothing was asked.
    Nothing,
    /// A token of another server, and whom its bearer is to the rules: anybody.
    Foreign(Rc<Verified>, Arc<Book>, Subject),
    /// A token of this registry, and what its subject may see.
    Own(Rc<Verified>, Arc<Book>, Subject, Option<Rc<Robot>>),
    /// A robot that showed its secret.
    Robot(Rc<Robot>, Arc<Book>, Subject),
    /// A caller whose certificate says who it is, and that showed nothing else.
    Certified(Arc<Book>, Subject),
    /// A user, or an anonymous caller.
    Subject(Arc<Book>, Subject),
}

impl Pass {
    /// Everything is allowed.
    pub(super) const fn everything() -> Self {
        Self(Held::Everything)
    }

    /// Nothing is allowed beyond what needs nothing.
    pub(super) const fn nothing() -> Self {
        Self(Held::Nothing)
    }

    pub(super) const fn foreign(token: Rc<Verified>, book: Arc<Book>, anonymous: Subject) -> Self {
        Self(Held::Foreign(token, book, anonymous))
    }

    pub(super) fn own(
        token: Rc<Verified>,
        book: Arc<Book>,
        subject: Subject,
        robot: Option<Robot>,
    ) -> Self {
        Self(Held::Own(token, book, subject, robot.map(Rc::new)))
    }

    pub(super) fn robot(robot: Robot, book: Arc<Book>, subject: Subject) -> Self {
        Self(Held::Robot(Rc::new(robot), book, subject))
    }

    pub(super) const fn subject(book: Arc<Book>, subject: Subject) -> Self {
        Self(Held::Subject(book, subject))
    }

    pub(super) const fn certified(book: Arc<Book>, subject: Subject) -> Self {
        Self(Held::Certified(book, subject))
    }

    /// Decides, as for any request.
    pub(super) fn decide(&self, needed: &Needed<'_>) -> Option<Decision<'_>> {
        let authority = match &self.0 {
            Held::Nothing => return None,
            Held::Everything => Authority::Everything,
            Held::Own(token, ..) => Authority::Token(token),
            Held::Foreign(token, book, anonymous) => {
                Authority::Foreign(token, &book.rules, anonymous)
            }
            Held::Certified(book, subject) | Held::Subject(book, subject) => {
                Authority::Rules(&book.rules, subject)
            }
            Held::Robot(robot, book, subject) => {
                Authority::Robot(&robot.scopes, &book.rules, subject)
            }
        };
        Some(authorize(authority, needed))
    }

    /// Whether the caller showed a token.
    pub(super) const fn is_token(&self) -> bool {
        matches!(self.0, Held::Foreign(..) | Held::Own(..))
    }

    /// Whether the caller showed a certificate and nothing else.
    pub(super) const fn is_certified(&self) -> bool {
        matches!(self.0, Held::Certified(..))
    }

    /// Whether the caller showed nothing.
    pub(super) const fn is_anonymous(&self) -> bool {
        match &self.0 {
            Held::Subject(_, subject) => subject.is_anonymous,
            Held::Everything
            | Held::Nothing
            | Held::Foreign(..)
            | Held::Own(..)
            | Held::Robot(..)
            | Held::Certified(..) => false,
        }
    }

    /// Whom the caller proved to be; nobody for one that proved nothing.
    #[must_use]
    pub fn named(&self) -> Named {
        let robot = match &self.0 {
            Held::Own(.., Some(robot)) | Held::Robot(robot, ..) => Some(robot_id_text(robot.id)),
            _ => None,
        };
        Named::new(self.caller(), robot)
    }

    /// The rules that decide about the caller, where nothing else does.
    pub(super) fn rules(&self) -> Option<&Rules> {
        match &self.0 {
            Held::Subject(book, _) | Held::Certified(book, _) => Some(&book.rules),
            Held::Everything
            | Held::Nothing
            | Held::Foreign(..)
            | Held::Own(..)
            | Held::Robot(..) => None,
        }
    }

    /// Whom the caller is counted as; nobody for one that proved nothing.
    pub(super) fn caller(&self) -> Option<Caller<'_>> {
        let subject = match &self.0 {
            Held::Everything | Held::Nothing => return None,
            Held::Foreign(token, ..) => {
                let issuer = token.claims.get("iss").and_then(Value::as_str);
                return Some(Caller {
                    name: token.subject.as_deref()?,
                    namespace: Namespace::Issuer(issuer.unwrap_or_default()),
                    subject: None,
                });
            }
            Held::Own(_, _, subject, _)
            | Held::Subject(_, subject)
            | Held::Certified(_, subject)
            | Held::Robot(_, _, subject) => subject,
        };
        caller_of(subject)
    }

    /// Why the caller has what a request needs, for people.
    #[must_use]
    pub fn reason(&self, needed: &Needed<'_>) -> String {
        match self.decide(needed) {
            Some(Decision::Allowed(Ground::Rule(rule))) => rule.to_string(),
            Some(Decision::Allowed(Ground::Token)) => self.reason_of_token(needed),
            Some(Decision::Allowed(Ground::Scopes)) => "scopes of the robot".to_owned(),
            Some(Decision::Allowed(Ground::Credentials)) => "credentials".to_owned(),
            Some(Decision::Allowed(Ground::Open)) | None => "nobody is asked".to_owned(),
            Some(Decision::Refused) => "none".to_owned(),
        }
    }

    /// Why a token gives it: one that was made here was given what the rules gave then,
    /// which is asked again; what is said elsewhere, nobody knows here.
    fn reason_of_token(&self, needed: &Needed<'_>) -> String {
        let word = "token".to_owned();
        let Held::Own(_, book, subject, robot) = &self.0 else {
            return word;
        };
        let Needed::Repository(name, actions) = needed else {
            return word;
        };
        let robot = robot.as_deref();
        reason_given(book, subject, robot, (name, *actions)).map_or(word, |by| by + ", by a token")
    }

    /// Whether there is nothing that the caller may not.
    #[must_use]
    pub const fn is_unlimited(&self) -> bool {
        matches!(self.0, Held::Everything)
    }

    /// Whether the caller has these rights on a repository.
    #[must_use]
    pub fn may(&self, repository: &Repository, actions: Actions) -> bool {
        let needed = Needed::Repository(repository.as_str(), actions);
        matches!(self.decide(&needed), Some(Decision::Allowed(_)))
    }

    /// Whether a list of repositories shows this one: whether the caller may pull it.
    /// Of another server's token the right to the whole list is taken as given.
    #[must_use]
    pub fn may_see(&self, repository: &Repository) -> bool {
        match &self.0 {
            Held::Foreign(token, ..) => {
                token.gives_catalog() || self.may(repository, Actions::PULL)
            }
            Held::Own(_, book, subject, robot) => {
                let by_rules = book.rules.given(subject, repository.as_str());
                let by_scopes = robot
                    .as_ref()
                    .map(|one| one.scopes.given(repository.as_str()));
                (by_rules | by_scopes.unwrap_or_default()).contains(Actions::PULL)
            }
            Held::Everything
            | Held::Nothing
            | Held::Subject(..)
            | Held::Certified(..)
            | Held::Robot(..) => self.may(repository, Actions::PULL),
        }
    }
}

/// Why somebody is given rights on a repository, for people; `None` when it is not.
pub(super) fn reason_given(
    book: &Book,
    subject: &Subject,
    robot: Option<&Robot>,
    (repository, actions): (&str, Actions),
) -> Option<String> {
    let authority = match robot {
        Some(robot) => Authority::Robot(&robot.scopes, &book.rules, subject),
        None => Authority::Rules(&book.rules, subject),
    };
    match authorize(authority, &Needed::Repository(repository, actions)) {
        Decision::Allowed(Ground::Rule(rule)) => Some(rule.to_string()),
        Decision::Allowed(_) => Some("scopes of the robot".to_owned()),
        Decision::Refused => None,
    }
}

/// Whom a subject is counted as. A robot is none of the users, whatever it is called, and
/// neither is whoever an issuer or an authority of certificates knows by the name of one.
pub(super) fn caller_of(subject: &Subject) -> Option<Caller<'_>> {
    Some(Caller {
        name: subject.username.as_deref()?,
        namespace: namespace_of(subject),
        subject: subject.subject.as_deref(),
    })
}

fn namespace_of(subject: &Subject) -> Namespace<'_> {
    if subject.robot.is_some() {
        return Namespace::Robots;
    }
    let claim = |name| subject.claims.as_ref().and_then(|claims| claims.get(name));
    // No issuer of tokens has a word in what certificates say.
    if claim(CERTIFICATE_CLAIM).is_some() {
        return Namespace::Certificates;
    }
    match claim("iss").and_then(Value::as_str) {
        Some(issuer) => Namespace::Issuer(issuer),
        None => Namespace::Users,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;
    use crate::auth::Scope;
    use crate::guard::{Mode, Options};

    fn foreign(actions: &Value) -> Pass {
        let claim = json!([{ "type": "registry", "name": "catalog", "actions": actions }]);
        let token = Rc::new(Verified {
            subject: None,
            access: Scope::of_claim(Some(&claim)).unwrap(),
            expires_seconds: 0,
            claims: Map::new(),
        });
        let options = Options {
            mode: Mode::None,
            service: "windlass".into(),
            rules: Vec::new(),
            rules_file: None,
        };
        let book = Arc::new(Book::read(&options).unwrap());
        Pass::foreign(token, book, Subject::anonymous(None))
    }

    #[test]
    fn whoever_else_has_the_name_of_a_user_is_counted_apart_and_named_apart() {
        let of = |claims: Value| Subject {
            claims: Some(claims),
            ..Subject::user("bob", None)
        };
        let rows = [
            (Subject::user("bob", None), "users"),
            (Subject::robot("bob", None), "robots"),
            (
                of(json!({ "iss": "https://ci.example" })),
                "issuer https://ci.example",
            ),
            (of(json!({ "iss": "users" })), "issuer users"),
            (
                of(json!({ "certificate": { "cn": "bob" } })),
                "certificates",
            ),
        ];
        for (left, (subject, words)) in rows.iter().enumerate() {
            let caller = caller_of(subject);
            for (right, (other, _)) in rows.iter().enumerate() {
                assert_eq!(caller == caller_of(other), left == right, "{left}, {right}");
            }
            let named = Named::new(caller, None);
            assert_eq!(named.user.as_deref(), Some("bob"));
            assert_eq!(named.user_of.as_deref(), Some(*words));
        }
        assert_eq!(caller_of(&Subject::anonymous(None)), None);
        assert_eq!(Named::new(None, None), Named::default());
    }

    #[test]
    fn a_scope_on_the_list_without_its_action_shows_nothing() {
        let repository = Repository::parse("a/b").unwrap();
        for actions in [json!([]), json!(null), json!(["pull"])] {
            let pass = foreign(&actions);
            let decision = pass.decide(&Needed::Catalog);
            assert_eq!(decision, Some(Decision::Refused), "{actions}");
            assert!(!pass.may_see(&repository), "{actions}");
        }
        let pass = foreign(&json!(["*"]));
        assert!(matches!(
            pass.decide(&Needed::Catalog),
            Some(Decision::Allowed(Ground::Token))
        ));
        assert!(pass.may_see(&repository));
    }
}
