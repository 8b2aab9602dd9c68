//! Tokens and signed identities: each is checked once, by the keys of its issuer, and
//! remembered until it ends.

use std::net::IpAddr;
use std::rc::Rc;

use serde_json::Value;

use super::admit::{Guard, IDENTITY_CLAIM, Unproved};
use super::book::{Book, Trusted};
use super::issuer_keys::Renewal;
use super::robots::ROBOT_CLAIM;
use crate::auth::{Issuer, Login, TokenError, TokenKind, Verified};
use crate::base::limits::LOGIN_FAILURE_PAUSE;
use crate::runtime::sleep;
use crate::telemetry::{LoginEnd, TokenCheck};

/// Claims of access tokens that somebody asks for later.
const KEPT_CLAIMS: [&str; 3] = ["iss", IDENTITY_CLAIM, ROBOT_CLAIM];

impl Guard {
    /// What a token of a request says, unless it is none.
    pub(super) async fn verified(
        &self,
        book: &Book,
        token: &str,
        client: IpAddr,
    ) -> Result<Rc<Verified>, Unproved> {
        let now_seconds = self.now_seconds();
        let checks = &self.metrics.access.tokens;
        if let Some(verified) = self.tokens.borrow_mut().find(token, now_seconds) {
            checks.of(TokenCheck::Remembered).count();
            return Ok(verified);
        }
        match self.check_any(book, token, client).await? {
            Ok(mut verified) => {
                checks.of(TokenCheck::Verified).count();
                // The rest was checked, or stands beside them.
                verified
                    .claims
                    .retain(|name, _| KEPT_CLAIMS.contains(&name.as_str()));
                let verified = Rc::new(verified);
                self.tokens.borrow_mut().keep(token, Rc::clone(&verified));
                Ok(verified)
            }
            Err(error) => {
                checks.of(TokenCheck::Refused).count();
                tracing::debug!(%error, "a token is refused");
                Err(Unproved::Invalid)
            }
        }
    }

    /// Checks a token by the keys that are here first, and by those of the other server
    /// where it is none that was made here.
    async fn check_any(
        &self,
        book: &Book,
        token: &str,
        client: IpAddr,
    ) -> Result<Result<Verified, TokenError>, Unproved> {
        let trusted = book.issuer.as_ref().ok_or(Unproved::Invalid)?;
        let own = self.check(trusted, token, client).await?;
        let is_elsewhere = |error: &TokenError| {
            use TokenError::{Issuer, Signature, UnknownKey};
            matches!(error, UnknownKey | Signature | Issuer)
        };
        match (
            own.as_ref().err().filter(|error| is_elsewhere(error)),
            &book.other,
        ) {
            (Some(_), Some(other)) => self.check(other, token, client).await,
            _ => Ok(own),
        }
    }

    /// Whether a token was made here. The other server, where there is one, has another
    /// name.
    pub(super) fn is_own(&self, verified: &Verified) -> bool {
        let issuer = verified.claims.get("iss").and_then(Value::as_str);
        issuer == Some(&*self.options.service)
    }

    /// Checks a token by the keys of its issuer; where it needs one that nobody has seen
    /// here, by those that the issuer has now.
    ///
    /// - Errors: nobody can say, or has time to.
    async fn check(
        &self,
        trusted: &Trusted,
        token: &str,
        client: IpAddr,
    ) -> Result<Result<Verified, TokenError>, Unproved> {
        let verify = |issuer: &Issuer| issuer.verify(token, TokenKind::Access, self.now_seconds());
        let place = match trusted {
            Trusted::Known(issuer) => return Ok(verify(issuer)),
            Trusted::Fetched(place) => *place,
        };
        let source = self.shared.sources.get(place).ok_or(Unproved::Invalid)?;
        let issuer = source.issuer();
        let error = match verify(&issuer) {
            Err(error) if issuer.may_lack_its_key(error) => error,
            checked => return Ok(checked),
        };
        let checked = match source.renewed(client, self.clock.now()).await {
            Renewal::Crowded => return Err(Unproved::Crowded),
            Renewal::Done => verify(&source.issuer()),
            Renewal::None => Err(error),
        };
        match checked {
            Err(TokenError::UnknownKey) if source.issuer().keys.is_empty() => {
                Err(Unproved::Unready)
            }
            checked => Ok(checked),
        }
    }

    /// What a signed identity says, unless it is none.
    pub(super) async fn identity(
        &self,
        issuer: &Trusted,
        login: &Login,
        client: IpAddr,
    ) -> Result<Rc<Verified>, Unproved> {
        let now_seconds = self.now_seconds();
        let key = identity_key(login);
        if let Some(identity) = self.identities.borrow_mut().find(&key, now_seconds) {
            return Ok(identity);
        }
        let logins = &self.metrics.access.logins;
        match self.check(issuer, &login.password, client).await? {
            Ok(identity) => {
                logins.of(LoginEnd::Proved).count();
                let identity = Rc::new(identity);
                self.identities
                    .borrow_mut()
                    .keep(&key, Rc::clone(&identity));
                Ok(identity)
            }
            Err(error) => {
                logins.of(LoginEnd::Wrong).count();
                tracing::warn!(user = %login.username, %error, "a signed identity is refused");
                // A right one is always let in, so that a key that is not seen here yet
                // keeps nobody out once it is.
                self.misled(client)?;
                sleep(LOGIN_FAILURE_PAUSE).await;
                Err(Unproved::Invalid)
            }
        }
    }
}

/// What a signed identity is remembered by. Names hold no control characters, so that
/// no two logins are one.
pub(super) fn identity_key(login: &Login) -> String {
    format!("{}\0{}", login.username, login.password)
}
