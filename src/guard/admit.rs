//! The one place where requests are let in.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::watch;

use super::book::Book;
use super::hasher::Crowded;
use super::keeper::Shared;
use super::named::Named;
use super::options::{Mode, Options};
use super::pass::Pass;
use super::proved::Proved;
use super::robots::{CompiledScopes, Robot, Robots};
use crate::auth::{
    Certified, Credentials, Decision, Fault, Login, Needed, RobotToken, Rules, Scope, Subject,
    TokenCache, TokenSource, Verified,
};
use crate::base::Clock;
use crate::base::limits::{LOGIN_FAILURE_PAUSE, PASSWORD_BYTES_MAX};
use crate::http::Head;
use crate::quota::{Exceeded, Quotas};
use crate::runtime::sleep;
use crate::telemetry::{AccessDecision, LoginEnd, Metrics};

/// Where a token keeps the claims of the signed identity that it was made for.
pub(super) const IDENTITY_CLAIM: &str = "identity";

/// Where the claims of a caller keep what its certificate says.
pub(super) const CERTIFICATE_CLAIM: &str = "certificate";

/// The guard of one shard's door. Owned by that shard.
pub struct Guard {
    pub(super) options: Arc<Options>,
    books: RefCell<watch::Receiver<Arc<Book>>>,
    pub(super) shared: Shared,
    pub(super) tokens: RefCell<TokenCache>,
    /// Signed identities, behind the names they came with: none is an access token.
    pub(super) identities: RefCell<TokenCache>,
    proved: RefCell<Proved>,
    /// Of the fetched keys by which tokens and identities are remembered.
    generation: Cell<u64>,
    source: TokenSource,
    pub(super) quotas: Quotas,
    pub(super) robots: Robots,
    pub(super) robot_scopes: CompiledScopes,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard").finish_non_exhaustive()
    }
}

/// Why a request is not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// Its credentials are missing, bad or too narrow; what would do.
    Challenged {
        /// What is wrong.
        fault: Fault,
        /// The value of `WWW-Authenticate`.
        challenge: String,
        /// Whom they prove, where they are good.
        named: Named,
    },
    /// Its user is known, and may not.
    Denied {
        /// Who it is.
        named: Named,
        /// How many rules there are, none of which gives it; where rules decide.
        rules: Option<usize>,
    },
    /// Too many passwords wait to be checked, or too many tokens for their keys.
    Crowded,
    /// The client or its user has as much as it may have.
    Limited(Exceeded),
    /// The keys that would tell are not there: their issuer does not answer.
    Unready,
}

/// Where a request comes from, and what its connection says of who asks.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// Address of the client, or of a proxy that cannot say it.
    pub address: IpAddr,
    /// Address of the client, for rules on networks.
    pub network: Option<IpAddr>,
    /// Who that is by the certificate of the connection.
    pub certified: Option<&'a Certified>,
}

impl<'a> Origin<'a> {
    /// Where a request comes from. A certificate counts only where no page in a browser
    /// may have sent it.
    #[must_use]
    pub fn of(
        head: &Head,
        (address, network): (IpAddr, Option<IpAddr>),
        certified: Option<&'a Certified>,
    ) -> Self {
        Self {
            address,
            network,
            certified: certified.filter(|_| !is_of_a_page(head)),
        }
    }
}

/// Whom a login proved.
pub(super) struct LoggedIn {
    pub(super) subject: Subject,
    /// When the proof ends, in seconds since the Unix epoch, where it is a signed
    /// identity or a robot's secret; passwords go on.
    pub(super) ends_seconds: Option<u64>,
    /// Whether nothing that is got for the proof may end later, not even by the minute
    /// that clients want a token to hold.
    pub(super) ends_exactly: bool,
    /// The robot, where it is one.
    pub(super) robot: Option<Robot>,
}

impl LoggedIn {
    /// A proof that has no end.
    pub(super) const fn lasting(subject: Subject) -> Self {
        Self {
            subject,
            ends_seconds: None,
            ends_exactly: false,
            robot: None,
        }
    }

    /// A proof by a certificate.
    pub(super) fn certified(certified: &Certified, network: Option<IpAddr>) -> Self {
        Self {
            ends_seconds: Some(certified.ends_seconds),
            ends_exactly: true,
            ..Self::lasting(Subject::certified(certified, network))
        }
    }
}

/// Why credentials prove nobody.
pub(super) enum Unproved {
    /// They are bad.
    Invalid,
    /// Nobody has time to check them.
    Crowded,
    /// Nobody can check them now.
    Unready,
    /// There were too many bad ones before.
    Limited(Exceeded),
}

impl From<Exceeded> for Unproved {
    fn from(exceeded: Exceeded) -> Self {
        Self::Limited(exceeded)
    }
}

impl From<Exceeded> for Refused {
    fn from(exceeded: Exceeded) -> Self {
        Self::Limited(exceeded)
    }
}

impl From<Crowded> for Unproved {
    fn from(Crowded: Crowded) -> Self {
        Self::Crowded
    }
}

impl Guard {
    /// The guard of a shard. Clients get tokens at `realm` where the configuration
    /// names no other place.
    #[must_use]
    pub fn new(shared: Shared, realm: &str, metrics: Arc<Metrics>) -> Self {
        let realm = match &shared.options.mode {
            Mode::Token(server) => &server.realm,
            Mode::Users(own) => match &own.other {
                Some(server) => &server.realm,
                None => own.realm.as_deref().unwrap_or(realm),
            },
            Mode::None => realm,
        };
        Self {
            source: TokenSource {
                realm: realm.into(),
                service: shared.options.service.clone(),
            },
            options: Arc::clone(&shared.options),
            books: RefCell::new(shared.books.clone()),
            robots: shared.robots.clone(),
            robot_scopes: CompiledScopes::default(),
            shared,
            tokens: RefCell::default(),
            identities: RefCell::default(),
            proved: RefCell::new(Proved::new()),
            quotas: Quotas::default(),
            generation: Cell::default(),
            clock: Clock::system(),
            metrics,
        }
    }

    /// Lets a request in, or says why not. What a request shows itself counts before the
    /// certificate of its connection, also when it is not good.
    ///
    /// - Cancel: nothing happened but a password may still be checked.
    pub async fn admit(
        &self,
        head: &Head,
        origin: Origin<'_>,
        needed: &Needed<'_>,
    ) -> Result<Pass, Refused> {
        let admitted = self.decide(head, origin, needed).await;
        let decision = match &admitted {
            Ok(_) => AccessDecision::Allowed,
            Err(Refused::Challenged { fault, .. }) => match fault {
                Fault::Missing => AccessDecision::Missing,
                Fault::Invalid => AccessDecision::Invalid,
                Fault::Insufficient => AccessDecision::Insufficient,
            },
            Err(Refused::Denied { .. }) => AccessDecision::Denied,
            Err(Refused::Crowded) => AccessDecision::Crowded,
            Err(Refused::Limited(_)) => AccessDecision::Limited,
            Err(Refused::Unready) => AccessDecision::Unready,
        };
        self.metrics.access.decisions.of(decision).count();
        admitted
    }

    async fn decide(
        &self,
        head: &Head,
        origin: Origin<'_>,
        needed: &Needed<'_>,
    ) -> Result<Pass, Refused> {
        if matches!(self.options.mode, Mode::None) {
            return Ok(Pass::everything());
        }
        if *needed == Needed::Nothing {
            return Ok(Pass::nothing());
        }
        let pass = match self.prove(head.header("Authorization"), origin).await {
            Ok(pass) => pass,
            Err(Unproved::Invalid) => {
                return Err(self.challenged(needed, Fault::Invalid, None));
            }
            Err(Unproved::Crowded) => return Err(Refused::Crowded),
            Err(Unproved::Limited(exceeded)) => return Err(exceeded.into()),
            Err(Unproved::Unready) => return Err(Refused::Unready),
        };
        self.count_request(pass.caller().as_ref(), origin.address)?;
        match pass.decide(needed) {
            Some(Decision::Allowed(ground)) => {
                tracing::trace!(?ground, path = head.path(), "a request is let in");
                Ok(pass)
            }
            // Whoever shows a certificate may still show something better.
            Some(Decision::Refused) | None if pass.is_anonymous() || pass.is_certified() => {
                Err(self.challenged(needed, Fault::Missing, None))
            }
            Some(Decision::Refused) | None if pass.is_token() => {
                Err(self.challenged(needed, Fault::Insufficient, Some(&pass)))
            }
            Some(Decision::Refused) | None => Err(Refused::Denied {
                named: pass.named(),
                rules: pass.rules().map(Rules::count),
            }),
        }
    }

    /// Who asks, as far as it is proved.
    async fn prove(
        &self,
        authorization: Option<&str>,
        origin: Origin<'_>,
    ) -> Result<Pass, Unproved> {
        let (book, network) = (self.book(), origin.network);
        let Some(header) = authorization else {
            return Ok(match self.certified(&book, origin) {
                Some(certified) => {
                    let subject = Subject::certified(certified, network);
                    Pass::certified(book, subject)
                }
                None => Pass::subject(book, Subject::anonymous(network)),
            });
        };
        let credentials = Credentials::parse(header).map_err(|_| Unproved::Invalid)?;
        match (credentials, &self.options.mode) {
            (Credentials::Bearer(token), mode) => {
                let verified = self.verified(&book, token, origin.address).await?;
                if !matches!(mode, Mode::Users(_)) || !self.is_own(&verified) {
                    let anonymous = Subject::anonymous(network);
                    return Ok(Pass::foreign(verified, book, anonymous));
                }
                let robot = self.robot_of(&verified)?;
                let subject = match &robot {
                    Some(robot) => Subject::robot(&robot.name, network),
                    None => subject_of(&verified, network),
                };
                Ok(Pass::own(verified, book, subject, robot))
            }
            (Credentials::Basic(login), _) => {
                let proved = self.login(&book, &login, origin).await?;
                Ok(match proved.robot {
                    Some(robot) => Pass::robot(robot, book, proved.subject),
                    None => Pass::subject(book, proved.subject),
                })
            }
        }
    }

    /// Who the caller is by its certificate, while that holds: a connection may be older.
    /// A name that stands for all identities of an issuer is nobody's own.
    pub(super) fn certified<'a>(&self, book: &Book, origin: Origin<'a>) -> Option<&'a Certified> {
        let now_seconds = self.now_seconds();
        let certified = origin.certified?;
        let holds = now_seconds <= certified.ends_seconds
            && !book.identities.contains_key(&*certified.name);
        holds.then_some(certified)
    }

    /// Checks a password, or a robot's secret or a signed identity in its place; says who
    /// that is.
    pub(super) async fn login(
        &self,
        book: &Arc<Book>,
        login: &Login,
        origin: Origin<'_>,
    ) -> Result<LoggedIn, Unproved> {
        let client = origin.address;
        if let Some(token) = RobotToken::parse(&login.password) {
            return self.login_robot(&token, login, origin).await;
        }
        if !matches!(self.options.mode, Mode::Users(_)) {
            return Err(Unproved::Invalid);
        }
        let mut subject = Subject::user(&login.username, origin.network);
        let Some(issuer) = book.identities.get(&login.username) else {
            self.check_password(book, login, client).await?;
            return Ok(LoggedIn::lasting(subject));
        };
        let identity = self.identity(issuer, login, client).await?;
        subject.subject.clone_from(&identity.subject);
        let mut claims = identity.claims.clone();
        // What certificates say, no issuer of tokens says in their place.
        claims.remove(CERTIFICATE_CLAIM);
        subject.claims = Some(Value::Object(claims));
        Ok(LoggedIn {
            subject,
            ends_seconds: Some(identity.expires_seconds),
            ends_exactly: false,
            robot: None,
        })
    }

    /// Checks a password, unless it was checked a moment ago.
    async fn check_password(
        &self,
        book: &Arc<Book>,
        login: &Login,
        client: IpAddr,
    ) -> Result<(), Unproved> {
        if login.password.len() > PASSWORD_BYTES_MAX {
            return Err(Unproved::Invalid);
        }
        if self.proved.borrow().contains(login, self.clock.now()) {
            return Ok(());
        }
        self.may_log_in(&login.username, client)?;
        let challenge = book.users.challenge(&login.username);
        let hasher = self.shared.hasher.as_ref().ok_or(Unproved::Invalid)?;
        let logins = &self.metrics.access.logins;
        let password = login.password.clone();
        let checked = hasher.verify(challenge.hash, password, client).await;
        let is_right = checked.inspect_err(|Crowded| logins.of(LoginEnd::Crowded).count())?;
        let is_right = is_right && challenge.is_known;
        self.quotas
            .logged_in(&login.username, client, &self.clock, is_right);
        if is_right {
            logins.of(LoginEnd::Proved).count();
            // Users may have changed meanwhile.
            if Arc::ptr_eq(book, &self.book()) {
                self.proved.borrow_mut().keep(login, self.clock.now());
            }
            return Ok(());
        }
        logins.of(LoginEnd::Wrong).count();
        sleep(LOGIN_FAILURE_PAUSE).await;
        // A name that is not there may be a password in the wrong field.
        let user = if challenge.is_known {
            &*login.username
        } else {
            "(unknown)"
        };
        tracing::warn!(user, %client, "a login is refused");
        Err(Unproved::Invalid)
    }

    /// What is in force. What was proved under what was in force before is forgotten.
    pub(super) fn book(&self) -> Arc<Book> {
        let mut books = self.books.borrow_mut();
        // One look tells both what is in force and whether it is new: between two of
        // them it could change unseen. Without its keeper the last word stands.
        let now = books.borrow_and_update();
        if now.has_changed() {
            self.tokens.borrow_mut().clear();
            self.identities.borrow_mut().clear();
            self.proved.borrow_mut().clear();
        }
        let generation = self.shared.generation.value();
        if self.generation.replace(generation) != generation {
            self.tokens.borrow_mut().clear();
            self.identities.borrow_mut().clear();
        }
        Arc::clone(&now)
    }

    /// What a token is told that does not suffice for what turned out to be needed;
    /// `None` for callers without one, who could not show a better one.
    #[must_use]
    pub fn insufficient(&self, pass: &Pass, needed: &Needed<'_>) -> Option<Refused> {
        let refused = || self.challenged(needed, Fault::Insufficient, Some(pass));
        pass.is_token().then(refused)
    }

    fn challenged(&self, needed: &Needed<'_>, fault: Fault, pass: Option<&Pass>) -> Refused {
        let scopes: Vec<Scope> = needed.scope().into_iter().collect();
        let challenge = self.source.challenge(&scopes, fault);
        Refused::Challenged {
            fault,
            challenge,
            named: pass.map(Pass::named).unwrap_or_default(),
        }
    }

    /// Seconds since the Unix epoch.
    pub(super) fn now_seconds(&self) -> u64 {
        self.clock.unix_ms() / 1000
    }
}

/// Whether a page in a browser may have sent a request. The browser adds a certificate
/// to it by itself, so that the owner need not have meant it.
fn is_of_a_page(head: &Head) -> bool {
    head.has("origin") || head.has("sec-fetch-site")
}

/// Whom a token of this registry was made for, with the claims that it was made by.
fn subject_of(verified: &Verified, network: Option<IpAddr>) -> Subject {
    let Some(name) = &verified.subject else {
        return Subject::anonymous(network);
    };
    let mut subject = Subject::user(name, network);
    if let Some(identity) = verified.claims.get(IDENTITY_CLAIM) {
        let sub = identity.get("sub").and_then(Value::as_str);
        subject.subject = sub.map(Into::into);
        subject.claims = Some(identity.clone());
    }
    subject
}

#[cfg(test)]
#[path = "admit_test.rs"]
mod tests;
