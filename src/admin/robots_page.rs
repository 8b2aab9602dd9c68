//! `/tokens`: what is asked of it, and how it answers.

use serde::Deserialize;
use serde_json::{Value, json};

use super::page::{Answer, RobotPage};
use super::robots::{RobotError, RobotWish, Robots};
use crate::auth::robot_id_text;
use crate::base::Clock;
use crate::exchange::{BodyError, Closed, Exchange};
use crate::http::{Status, utc_time};
use crate::metadata::{RobotId, RobotRecord};

/// Longest body: a name, and as many scopes as there may be.
const WISH_BYTES_MAX: usize = 16 * 1024;

/// The body of a request for one more robot.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    name: Box<str>,
    scopes: Vec<Box<str>>,
    #[serde(default)]
    expires_ms: Option<u64>,
}

/// Lists, makes or revokes robots.
///
/// - Errors: the other end is gone.
pub(super) async fn robot_page(
    robots: &Robots,
    page: RobotPage,
    exchange: &mut Exchange,
) -> Result<Answer, Closed> {
    let done = match page {
        RobotPage::List => robots.list().await.map(|robots| list(&robots)),
        RobotPage::Add => {
            let body = match exchange.read_body_to_vec(WISH_BYTES_MAX).await {
                Ok(body) => body,
                Err(BodyError::TooLarge { .. }) => {
                    return Ok(misunderstood("the body is too long"));
                }
                Err(BodyError::Closed(closed)) => return Err(closed),
            };
            match serde_json::from_slice::<Body>(&body) {
                Ok(body) => add(robots, body).await,
                Err(error) => return Ok(misunderstood(&error.to_string())),
            }
        }
        RobotPage::Revoke => match exchange.head().query().value("token") {
            Some(named) => revoke(robots, named).await,
            None => return Ok(misunderstood("`token` is missing: a number or a name")),
        },
    };
    Ok(match done {
        Ok(value) => Answer::json(Status::OK, &value),
        Err(error) => refused(page, &error),
    })
}

async fn add(robots: &Robots, body: Body) -> Result<Value, RobotError> {
    let wish = RobotWish {
        name: body.name,
        scopes: body.scopes,
        expires_ms: body.expires_ms,
    };
    let token = robots.add(wish.clone()).await?;
    let id = robot_id_text(token.id());
    tracing::info!(robot = id, name = %wish.name, scopes = ?wish.scopes, "a token was made");
    Ok(json!({
        "id": id,
        "name": wish.name,
        "scopes": wish.scopes,
        "expires": time(wish.expires_ms),
        "token": token.reveal(),
    }))
}

async fn revoke(robots: &Robots, named: &str) -> Result<Value, RobotError> {
    let id = robot_id_text(robots.revoke(named).await?);
    tracing::info!(robot = id, "a token was revoked");
    Ok(json!({ "id": id }))
}

fn list(robots: &[(RobotId, RobotRecord)]) -> Value {
    let now_ms = Clock::system().unix_ms();
    let tokens = robots.iter().map(|(id, record)| shown(*id, record, now_ms));
    json!({ "tokens": tokens.collect::<Vec<_>>() })
}

fn shown(id: RobotId, record: &RobotRecord, now_ms: u64) -> Value {
    let state = if record.revoked_ms.is_some() {
        "revoked"
    } else if record.holds(now_ms) {
        "active"
    } else {
        "expired"
    };
    json!({
        "id": robot_id_text(id),
        "name": record.name,
        "scopes": record.scopes,
        "state": state,
        "created": time(Some(record.created_ms)),
        "expires": time(record.expires_ms),
        "revoked": time(record.revoked_ms),
    })
}

fn time(unix_ms: Option<u64>) -> Option<String> {
    unix_ms.map(|unix_ms| utc_time(unix_ms / 1000))
}

fn misunderstood(reason: &str) -> Answer {
    Answer::no(Status::BAD_REQUEST, "not understood", reason)
}

fn refused(page: RobotPage, error: &RobotError) -> Answer {
    tracing::warn!(?page, %error, "tokens stay as they are");
    let status = match error {
        RobotError::Name | RobotError::Scope(_) | RobotError::Scopes | RobotError::Ended => {
            Status::BAD_REQUEST
        }
        RobotError::Unasked
        | RobotError::Level { .. }
        | RobotError::Known
        | RobotError::Exhausted => Status::CONFLICT,
        RobotError::Unknown => Status::NOT_FOUND,
        RobotError::Propose(_) | RobotError::Read(_) | RobotError::State(_) => {
            Status::SERVICE_UNAVAILABLE
        }
    };
    Answer::no(status, "refused", &error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Body> {
        serde_json::from_str(text).ok()
    }

    #[test]
    fn bodies_say_what_is_known_and_nothing_else() {
        let body = read(r#"{"name":"ci","scopes":["a:pull"],"expires_ms":7}"#).unwrap();
        assert_eq!((&*body.name, body.expires_ms), ("ci", Some(7)));
        assert!(read(r#"{"name":"ci","scopes":[]}"#).is_some());
        for text in [
            "",
            "{}",
            r#"{"name":"ci"}"#,
            r#"{"name":"ci","scopes":"a:pull"}"#,
            r#"{"name":"ci","scopes":[],"expires_ms":-1}"#,
            r#"{"name":"ci","scopes":[],"expires":7}"#,
        ] {
            assert!(read(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_robot_is_shown_without_its_hash() {
        let record = RobotRecord {
            name: "ci".into(),
            hash: [7; 32],
            scopes: vec!["a:pull".into()],
            created_ms: 1_700_000_000_000,
            expires_ms: Some(1_700_000_001_000),
            revoked_ms: None,
        };
        let state = |record: &RobotRecord, now_ms| shown([3; 8], record, now_ms)["state"].clone();
        assert_eq!(state(&record, 1_700_000_000_999), "active");
        assert_eq!(state(&record, 1_700_000_001_000), "expired");
        let revoked = RobotRecord {
            revoked_ms: Some(1),
            ..record.clone()
        };
        assert_eq!(state(&revoked, 0), "revoked");
        let text = shown([3; 8], &record, 0).to_string();
        assert!(
            text.contains(r#""expires":"2023-11-14T22:13:21Z""#),
            "{text}"
        );
        assert!(!text.contains("0707") && !text.contains("hash"), "{text}");
    }
}
