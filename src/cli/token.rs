//! `windlass token …`: tokens of machines, made and revoked through a running node.

use std::io::{self, Write as _};

use comfy_table::{Table, presets};
use serde::Deserialize;
use serde_json::json;

use super::arguments::TokenCommand;
use super::operator::{Operator, OperatorError, parse};
use crate::base::Clock;
use crate::config::{Config, Period};

/// What the node answers when it has made a token.
#[derive(Deserialize)]
struct Made {
    id: String,
    name: String,
    expires: Option<String>,
    token: String,
}

/// What the node answers to `GET /tokens`.
#[derive(Debug, Deserialize)]
struct List {
    tokens: Vec<Token>,
}

#[derive(Debug, Deserialize)]
struct Token {
    id: String,
    name: String,
    scopes: Vec<String>,
    state: String,
    created: String,
    expires: Option<String>,
    revoked: Option<String>,
}

/// Carries the command out through the node of this configuration.
pub(super) fn run(command: TokenCommand, config: &Config) -> Result<(), OperatorError> {
    let node = Operator::new(config)?;
    match command {
        TokenCommand::Create {
            name,
            scopes,
            expires,
            json,
        } => {
            let body = json!({ "name": name, "scopes": scopes, "expires_ms": end_of(expires) });
            let answer = node.post_json("tokens", &body)?;
            if json {
                return Ok(io::stdout().write_all(answer.as_bytes())?);
            }
            let made: Made = parse(&answer)?;
            // The token alone, so that it can be caught without being seen.
            writeln!(io::stdout(), "{}", made.token)?;
            Ok(writeln!(io::stderr(), "{}", said(&made))?)
        }
        TokenCommand::List { json: true } => {
            let text = node.get("tokens")?;
            Ok(io::stdout().write_all(text.as_bytes())?)
        }
        TokenCommand::List { json: false } => {
            let list: List = parse(&node.get("tokens")?)?;
            Ok(writeln!(io::stdout(), "{}", render(&list))?)
        }
        TokenCommand::Revoke { token } => node.post("tokens/revoke", &[("token", token)]).map(drop),
    }
}

/// When a token ends that is made now.
fn end_of(life: Option<Period>) -> Option<u64> {
    let life_ms = |life: Period| u64::try_from(life.duration().as_millis()).unwrap_or(u64::MAX);
    life.map(|life| Clock::system().unix_ms().saturating_add(life_ms(life)))
}

fn said(made: &Made) -> String {
    let end = match &made.expires {
        Some(time) => format!("until {time}"),
        None => "until it is revoked".to_owned(),
    };
    format!(
        "token {} of {} holds {end}; it is not shown again",
        made.id, made.name
    )
}

fn render(list: &List) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["id", "name", "state", "created", "ends", "scopes"]);
    for token in &list.tokens {
        let end = token.revoked.as_ref().or(token.expires.as_ref());
        table.add_row([
            token.id.clone(),
            token.name.clone(),
            token.state.clone(),
            token.created.clone(),
            end.cloned().unwrap_or_else(|| "never".to_owned()),
            token.scopes.join(" "),
        ]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_who_has_what_and_until_when() {
        let answer = r#"{"tokens":[
            {"id":"0011223344556677","name":"ci","scopes":["a/*:pull","catalog"],"state":"active",
             "created":"2023-11-14T22:13:20Z","expires":null,"revoked":null},
            {"id":"8899aabbccddeeff","name":"old","scopes":["b:push"],"state":"revoked",
             "created":"2023-11-14T22:13:20Z","expires":"2024-01-01T00:00:00Z",
             "revoked":"2023-12-01T00:00:00Z"}]}"#;
        let text = render(&parse(answer).unwrap());
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[1].contains("ci") && lines[1].contains("never"),
            "{text}"
        );
        assert!(lines[1].contains("a/*:pull catalog"), "{text}");
        assert!(
            lines[2].contains("revoked") && lines[2].contains("2023-12-01"),
            "{text}"
        );
    }

    #[test]
    fn an_end_is_counted_from_now() {
        assert_eq!(end_of(None), None);
        let end_ms = end_of("1h".parse().ok()).unwrap();
        let left_ms = end_ms - Clock::system().unix_ms();
        assert!((3_590_000..=3_600_000).contains(&left_ms), "{left_ms}");
    }
}
