//! The token endpoint: GET with a password in the header, POST with one in a form.

use serde_json::{Value, json};

use super::access::{crowded, limited, unready};
use super::answer::{Answer, Handled};
use super::door::Door;
use super::failure::Failure;
use crate::auth::{Credentials, Login, Scope};
use crate::base::limits::TOKEN_FORM_BYTES_MAX;
use crate::exchange::{BodyError, Closed, Exchange};
use crate::guard::{Grant, Granted, Origin, TokenRequest, Ungranted};
use crate::http::{Query, Status, utc_time};
use crate::oci::ErrorCode;

/// Asks for a user name and a password.
const BASIC_CHALLENGE: &str = "Basic realm=\"windlass\", charset=\"UTF-8\"";

impl Door {
    /// GET: a token for the user of the header, or for an anonymous caller.
    ///
    /// - Source: distribution, "Token Authentication Specification".
    pub(super) async fn token_of_login(&self, exchange: &Exchange) -> Handled {
        let head = exchange.head();
        let grant = match head.header("Authorization").map(Credentials::parse) {
            None => Grant::Anonymous,
            Some(Ok(Credentials::Basic(login))) => Grant::Password(login),
            Some(Ok(Credentials::Bearer(_)) | Err(_)) => return Err(unauthorized()),
        };
        let query = head.query();
        let request = TokenRequest {
            grant,
            scopes: scopes(query.values("scope")),
            is_offline: query.value("offline_token") == Some("true"),
        };
        self.token(exchange, request)
            .await
            .map_err(|error| match error {
                Ungranted::Invalid => unauthorized(),
                other => ungranted(other),
            })
    }

    /// POST: a token for a password or a refresh token.
    ///
    /// - Source: distribution, "Oauth2 Token Authentication"; RFC 6749, section 4.3.
    pub(super) async fn token_of_form(&self, exchange: &mut Exchange) -> Result<Handled, Closed> {
        let body = match exchange.read_body_to_vec(TOKEN_FORM_BYTES_MAX).await {
            Ok(body) => body,
            Err(BodyError::TooLarge { .. }) => {
                return Ok(Err(Failure::new(
                    Status::CONTENT_TOO_LARGE,
                    ErrorCode::SizeInvalid,
                    "the form is too large",
                )));
            }
            Err(BodyError::Closed(closed)) => return Err(closed),
        };
        let Some(request) = read_form(&body) else {
            return Ok(Ok(oauth_error("invalid_request")));
        };
        let request = match request {
            Ok(request) => request,
            Err(Unsupported) => return Ok(Ok(oauth_error("unsupported_grant_type"))),
        };
        Ok(match self.token(exchange, request).await {
            Err(Ungranted::Invalid) => Ok(oauth_error("invalid_grant")),
            other => other.map_err(ungranted),
        })
    }

    async fn token(&self, exchange: &Exchange, request: TokenRequest) -> Result<Answer, Ungranted> {
        let client = (exchange.client_address(), exchange.client_network());
        let certified = exchange.certified().map(|certified| &**certified);
        let origin = Origin::of(exchange.head(), client, certified);
        let granted = self.guard.grant(request, origin).await;
        match &granted {
            Ok(granted) => self.audit.granted(exchange, granted),
            Err(Ungranted::Invalid) => {
                let status = Status::UNAUTHORIZED;
                self.audit.ungranted(exchange, status, "bad credentials");
            }
            Err(Ungranted::Crowded) => {
                let status = Status::TOO_MANY_REQUESTS;
                let reason = "too many logins wait";
                self.audit.ungranted(exchange, status, reason);
            }
            // Whoever asks too much would fill the disk by it; they are counted.
            Err(
                Ungranted::Limited(_)
                | Ungranted::Elsewhere
                | Ungranted::Unready
                | Ungranted::Failed,
            ) => {}
        }
        let granted = granted?;
        let answer = Answer::json(Status::OK, body(&granted).to_string());
        Ok(answer.with("Cache-Control", "no-store"))
    }
}

/// A grant that this endpoint does not know.
struct Unsupported;

/// Reads the form; `None` when something is missing or malformed.
fn read_form(body: &[u8]) -> Option<Result<TokenRequest, Unsupported>> {
    // In a form a plus is a space, as everywhere but in targets.
    let text = std::str::from_utf8(body).ok()?.replace('+', " ");
    let form = Query::parse(&text).ok()?;
    let grant = match form.value("grant_type")? {
        "password" => {
            let login = Login::new(form.value("username")?, form.value("password")?);
            Grant::Password(login.ok()?)
        }
        "refresh_token" => Grant::Refresh(form.value("refresh_token")?.into()),
        _ => return Some(Err(Unsupported)),
    };
    Some(Ok(TokenRequest {
        grant,
        scopes: scopes(form.values("scope")),
        is_offline: form.value("access_type") == Some("offline"),
    }))
}

fn scopes<'a>(values: impl Iterator<Item = &'a str>) -> Vec<Scope> {
    values.flat_map(Scope::parse_list).collect()
}

fn body(granted: &Granted) -> Value {
    let scopes: Vec<_> = granted.scopes.iter().map(Scope::to_string).collect();
    let mut body = json!({
        "token": granted.token,
        "access_token": granted.token,
        "token_type": "Bearer",
        "expires_in": granted.life.as_secs(),
        "issued_at": utc_time(granted.issued_seconds),
        "scope": scopes.join(" "),
    });
    if let (Some(token), Value::Object(members)) = (&granted.refresh_token, &mut body) {
        members.insert("refresh_token".to_owned(), token.as_str().into());
    }
    body
}

/// 400 in the words of OAuth.
///
/// - Source: RFC 6749, section 5.2.
fn oauth_error(error: &'static str) -> Answer {
    let body = json!({ "error": error }).to_string();
    Answer::json(Status::BAD_REQUEST, body).with("Cache-Control", "no-store")
}

fn unauthorized() -> Failure {
    let message = "the user name or the password is not right";
    Failure::new(Status::UNAUTHORIZED, ErrorCode::Unauthorized, message)
        .with("WWW-Authenticate", BASIC_CHALLENGE)
}

fn ungranted(error: Ungranted) -> Failure {
    match error {
        Ungranted::Elsewhere => {
            let message = "this registry makes no tokens";
            Failure::new(Status::NOT_FOUND, ErrorCode::Unsupported, message)
        }
        Ungranted::Invalid => unauthorized(),
        Ungranted::Crowded => crowded(),
        Ungranted::Limited(exceeded) => limited(exceeded),
        Ungranted::Unready => unready(),
        Ungranted::Failed => Failure::new(
            Status::INTERNAL_SERVER_ERROR,
            ErrorCode::Unsupported,
            "internal error",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(form: &str) -> Option<TokenRequest> {
        read_form(form.as_bytes()).and_then(Result::ok)
    }

    #[test]
    fn forms_are_read() {
        let request = read(
            "grant_type=password&username=b%40b&password=a+b%2Bc&access_type=offline\
             &scope=repository%3Aa%3Apull+repository%3Ab%3Apush&service=x&client_id=docker",
        )
        .unwrap();
        let Grant::Password(login) = request.grant else {
            panic!("a password");
        };
        assert_eq!((&*login.username, &*login.password), ("b@b", "a b+c"));
        assert!(request.is_offline);
        assert_eq!(request.scopes.len(), 2);
        let request = read("grant_type=refresh_token&refresh_token=t").unwrap();
        assert!(matches!(request.grant, Grant::Refresh(token) if &*token == "t"));
        assert!(!request.is_offline);
    }

    #[test]
    fn forms_that_lack_something_are_refused() {
        for form in [
            "",
            "grant_type=password",
            "grant_type=password&username=bob",
            "grant_type=password&username=&password=x",
            "grant_type=refresh_token",
            "%",
            "\u{0}=%zz",
        ] {
            assert!(read_form(form.as_bytes()).is_none(), "{form}");
        }
        assert!(read_form(b"\xff=a").is_none());
        let other = read_form(b"grant_type=authorization_code&code=x");
        assert!(matches!(other, Some(Err(Unsupported))));
    }
}
