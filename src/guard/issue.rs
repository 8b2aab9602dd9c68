//! Making tokens: what the token endpoint answers.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::admit::{Guard, IDENTITY_CLAIM, LoggedIn, Origin, Unproved};
use super::book::{Book, Trusted};
use super::named::Named;
use super::options::{Mode, UsersOptions};
use super::pass::{caller_of, reason_given};
use super::robots::{ROBOT_CLAIM, Robot};
use crate::auth::{Actions, Login, Resource, Scope, Subject, TokenKind, Verified, robot_id_text};
use crate::base::RequestId;
use crate::base::limits::TOKEN_SCOPES_MAX;
use crate::quota::Exceeded;

/// A token for a signed identity ends with the identity, but not before this: clients
/// take less for a mistake. Source: distribution, "Token Authentication
/// Specification", `expires_in`.
const IDENTITY_TOKEN_LIFE_MIN: Duration = Duration::from_secs(60);

/// Who asks for a token.
#[derive(Debug)]
pub enum Grant {
    /// Somebody without credentials, beyond the certificate of the connection.
    Anonymous,
    /// A user with a password.
    Password(Login),
    /// Whoever holds a refresh token.
    Refresh(Box<str>),
}

/// What is asked of the token endpoint.
#[derive(Debug)]
pub struct TokenRequest {
    /// Who asks.
    pub grant: Grant,
    /// What for; each is given as far as the rules give it.
    pub scopes: Vec<Scope>,
    /// Whether a refresh token is wanted, too.
    pub is_offline: bool,
}

/// A token that was made.
#[derive(Debug)]
pub struct Granted {
    /// The token.
    pub token: String,
    /// A refresh token, where one was asked for.
    pub refresh_token: Option<String>,
    /// Who it was made for; nobody for an anonymous caller.
    pub named: Named,
    /// What the token gives.
    pub scopes: Vec<Scope>,
    /// Why it gives that, for people; empty where it gives nothing.
    pub allowed_by: String,
    /// When it was made, in seconds since the Unix epoch.
    pub issued_seconds: u64,
    /// How long it holds.
    pub life: Duration,
}

/// Why there is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ungranted {
    /// No tokens are made here.
    Elsewhere,
    /// The credentials are bad.
    Invalid,
    /// Too many passwords wait to be checked.
    Crowded,
    /// The client or its user has as much as it may have.
    Limited(Exceeded),
    /// The keys that would tell are not there.
    Unready,
    /// The token could not be signed; logged.
    Failed,
}

impl From<Unproved> for Ungranted {
    fn from(unproved: Unproved) -> Self {
        match unproved {
            Unproved::Invalid => Self::Invalid,
            Unproved::Crowded => Self::Crowded,
            Unproved::Limited(exceeded) => Self::Limited(exceeded),
            Unproved::Unready => Self::Unready,
        }
    }
}

impl From<Exceeded> for Ungranted {
    fn from(exceeded: Exceeded) -> Self {
        Self::Limited(exceeded)
    }
}

impl Guard {
    /// Makes a token for as much of what is asked as the rules give.
    ///
    /// - Source: distribution, "Token Authentication Specification" and "Oauth2 Token
    ///   Authentication".
    pub async fn grant(
        &self,
        request: TokenRequest,
        origin: Origin<'_>,
    ) -> Result<Granted, Ungranted> {
        let Mode::Users(own) = &self.options.mode else {
            return Err(Ungranted::Elsewhere);
        };
        let book = self.book();
        let proved = self.proved(&book, request.grant, origin).await?;
        let subject = proved.subject;
        let user = subject.username.clone();
        let caller = caller_of(&subject);
        self.count_request(caller.as_ref(), origin.address)?;
        let robot = proved.robot.as_ref();
        let named = Named::new(caller, robot.map(|robot| robot_id_text(robot.id)));
        let scopes = given(&book, &subject, robot, &request.scopes);
        let allowed_by = reasons(&book, &subject, robot, &scopes);
        let issued_seconds = self.now_seconds();
        let life_min = if proved.ends_exactly {
            Duration::ZERO
        } else {
            IDENTITY_TOKEN_LIFE_MIN
        };
        let ends = proved.ends_seconds;
        let life = life((life_min, own.token_life), ends, issued_seconds);
        let mut claims = self.claims(user.as_deref(), issued_seconds, life);
        let access: Vec<Value> = scopes.iter().map(Scope::to_claim).collect();
        claims.insert("access".to_owned(), access.into());
        if let Some(identity) = subject.claims {
            claims.insert(IDENTITY_CLAIM.to_owned(), identity);
        }
        if let Some(robot) = robot {
            claims.insert(ROBOT_CLAIM.to_owned(), robot_id_text(robot.id).into());
        }
        // Robots and owners of certificates may have the names of users.
        let is_lasting = request.is_offline && robot.is_none() && proved.ends_seconds.is_none();
        let refresh_token = match user.filter(|_| is_lasting) {
            Some(user) => self.refresh_token(&book, own, &user, issued_seconds)?,
            None => None,
        };
        Ok(Granted {
            token: sign(own, TokenKind::Access, &claims)?,
            refresh_token,
            named,
            scopes,
            allowed_by,
            issued_seconds,
            life,
        })
    }

    /// Who asks for a token.
    async fn proved(
        &self,
        book: &Arc<Book>,
        grant: Grant,
        origin: Origin<'_>,
    ) -> Result<LoggedIn, Ungranted> {
        let network = origin.network;
        Ok(match grant {
            Grant::Anonymous => match self.certified(book, origin) {
                Some(certified) => LoggedIn::certified(certified, network),
                None => LoggedIn::lasting(Subject::anonymous(network)),
            },
            Grant::Password(login) => self.login(book, &login, origin).await?,
            Grant::Refresh(token) => {
                let user = self.refreshed(book, &token).ok_or(Ungranted::Invalid)?;
                LoggedIn::lasting(Subject::user(&user, network))
            }
        })
    }

    /// A refresh token ends when the user goes or gets another password. A signed
    /// identity gets none: it would outlive what it was signed for.
    fn refresh_token(
        &self,
        book: &Book,
        own: &UsersOptions,
        user: &str,
        issued_seconds: u64,
    ) -> Result<Option<String>, Ungranted> {
        let Some(hash) = book.users.hash(user) else {
            return Ok(None);
        };
        let mut claims = self.claims(Some(user), issued_seconds, own.refresh_life);
        claims.insert("password".to_owned(), hash.fingerprint().into());
        sign(own, TokenKind::Refresh, &claims).map(Some)
    }

    /// Whom a refresh token is of.
    fn refreshed(&self, book: &Arc<Book>, token: &str) -> Option<Box<str>> {
        // Those that are made here have a key that is here.
        let Some(Trusted::Known(issuer)) = &book.issuer else {
            return None;
        };
        let verified = issuer.verify(token, TokenKind::Refresh, self.now_seconds());
        let Verified {
            subject, claims, ..
        } = verified
            .inspect_err(|error| tracing::debug!(%error, "a refresh token is refused"))
            .ok()?;
        let user = subject?;
        let fingerprint = claims.get("password").and_then(Value::as_str)?;
        let is_current = book.users.hash(&user)?.fingerprint() == fingerprint;
        is_current.then_some(user)
    }

    fn claims(&self, user: Option<&str>, now_seconds: u64, life: Duration) -> Map<String, Value> {
        let claims = json!({
            "iss": self.options.service,
            "aud": self.options.service,
            "sub": user.unwrap_or_default(),
            "iat": now_seconds,
            "nbf": now_seconds,
            "exp": now_seconds.saturating_add(life.as_secs()),
            "jti": RequestId::random().as_str(),
        });
        match claims {
            Value::Object(claims) => claims,
            _ => Map::new(),
        }
    }
}

/// How long a token holds whose caller's proof ends at `ends_seconds`, if it does.
fn life(
    (least, most): (Duration, Duration),
    ends_seconds: Option<u64>,
    now_seconds: u64,
) -> Duration {
    let Some(ends_seconds) = ends_seconds else {
        return most;
    };
    let left = Duration::from_secs(ends_seconds.saturating_sub(now_seconds));
    most.min(left.max(least))
}

fn sign(
    own: &UsersOptions,
    kind: TokenKind,
    claims: &Map<String, Value>,
) -> Result<String, Ungranted> {
    own.signer.sign(kind, claims).map_err(|error| {
        tracing::error!(%error, "a token was not made");
        Ungranted::Failed
    })
}

/// As much of the scopes as the rules give, or a robot has. The list of repositories is
/// for everybody but robots, who must have been given it: it shows to each what they may
/// pull.
fn given(book: &Book, subject: &Subject, robot: Option<&Robot>, asked: &[Scope]) -> Vec<Scope> {
    let given = |scope: &Scope| match &scope.resource {
        Resource::Catalog => robot
            .is_none_or(|robot| robot.scopes.gives_catalog())
            .then(Scope::catalog),
        Resource::Repository(name) => {
            let by_scopes = robot.map(|robot| robot.scopes.given(name));
            let given = book.rules.given(subject, name) | by_scopes.unwrap_or_default();
            let actions = given & scope.actions;
            (actions != Actions::NONE).then(|| Scope::repository(name, actions))
        }
    };
    asked
        .iter()
        .take(TOKEN_SCOPES_MAX)
        .filter_map(given)
        .collect()
}

/// Why each of the scopes is given, each reason once.
fn reasons(book: &Book, subject: &Subject, robot: Option<&Robot>, scopes: &[Scope]) -> String {
    let mut reasons: Vec<String> = Vec::new();
    for scope in scopes {
        let reason = match &scope.resource {
            Resource::Catalog => Some("credentials".to_owned()),
            Resource::Repository(name) => reason_given(book, subject, robot, (name, scope.actions)),
        };
        if let Some(reason) = reason.filter(|reason| !reasons.contains(reason)) {
            reasons.push(reason);
        }
    }
    reasons.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_ends_with_the_identity_that_it_is_for() {
        let most = Duration::from_secs(300);
        for (ends_seconds, seconds) in [
            (None, 300),
            (Some(5000), 300),
            (Some(1300), 300),
            (Some(1299), 299),
            (Some(1100), 100),
            (Some(1060), 60),
            (Some(1010), 60),
            // Clocks differ: it was still good when it was looked at.
            (Some(990), 60),
        ] {
            let least = IDENTITY_TOKEN_LIFE_MIN;
            let with_identity = life((least, most), ends_seconds, 1000);
            assert_eq!(with_identity.as_secs(), seconds, "{ends_seconds:?}");
            let bare = life((Duration::ZERO, most), ends_seconds, 1000).as_secs();
            assert!(ends_seconds.is_none_or(|end| 1000 + bare <= end.max(1000)));
        }
    }
}
