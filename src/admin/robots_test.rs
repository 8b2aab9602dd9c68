//! Robots through a journal of their own.

use std::sync::Arc;

use super::*;
use crate::auth::robot_id_text;
use crate::metadata::FORMAT_LEVEL;
use crate::raft;
use crate::runtime::run_alone;
use crate::telemetry::Metrics;

fn wish(name: &str, scopes: &[&str], expires_ms: Option<u64>) -> RobotWish {
    RobotWish {
        name: name.into(),
        scopes: scopes.iter().map(|text| (*text).into()).collect(),
        expires_ms,
    }
}

/// Runs `check` over a journal whose nodes know formats up to `format_level`.
fn with_journal<C>(format_level: u32, check: C)
where
    C: AsyncFnOnce(Handle) + Send + 'static,
{
    run_alone(move || async move {
        let folder = tempfile::tempdir().unwrap();
        let mut options = raft::Options::new(folder.path(), Arc::new(Metrics::new()));
        options.format_level = format_level;
        let opened = raft::open(&options).unwrap();
        let (journal, _) = raft::start(opened, options, None).await.unwrap();
        check(journal.clone()).await;
        journal.shutdown().await;
    });
}

#[test]
fn robots_are_made_listed_and_revoked_by_number_or_name() {
    with_journal(FORMAT_LEVEL, async |journal| {
        let robots = Robots::new(journal, true);
        let ci = robots.add(wish("ci", &["a:pull"], None)).await.unwrap();
        let second = wish("ci", &["b:pull"], None);
        assert!(matches!(
            robots.add(second.clone()).await,
            Err(RobotError::Known)
        ));
        let bot = robots.add(wish("bot", &["catalog"], None)).await.unwrap();
        assert_eq!(robots.revoke("ci").await.unwrap(), ci.id());
        assert!(matches!(
            robots.revoke("ci").await,
            Err(RobotError::Unknown)
        ));
        // By its number it is found for as long as it is remembered.
        let number = robot_id_text(ci.id());
        assert_eq!(robots.revoke(&number).await.unwrap(), ci.id());
        robots.add(second).await.unwrap();
        let listed = robots.list().await.unwrap();
        let states: Vec<_> = listed
            .iter()
            .map(|(_, record)| (&*record.name, record.revoked_ms.is_some()))
            .collect();
        assert_eq!(states, [("ci", true), ("bot", false), ("ci", false)]);
        let kept = listed.iter().find(|(id, _)| *id == bot.id());
        assert!(bot.is_of(kept.map(|(_, record)| &record.hash)));
    });
}

#[test]
fn what_no_robot_may_be_is_refused_before_it_is_proposed() {
    with_journal(FORMAT_LEVEL, async |journal| {
        let robots = Robots::new(journal.clone(), true);
        let long = format!("{}:pull", "x".repeat(400));
        let many = vec!["a:pull"; ROBOT_SCOPES_MAX + 1];
        for (wish, expected) in [
            (wish("c i", &["a:pull"], None), "a name has at most"),
            (wish("ci", &[], None), "a token has 1 to 32 scopes"),
            (wish("ci", &many, None), "a token has 1 to 32 scopes"),
            (wish("ci", &[&long], None), "a token has 1 to 32 scopes"),
            (
                wish("ci", &["a:pul"], None),
                "scope `a:pul`: unknown action",
            ),
            (
                wish("ci", &["a:pull"], Some(1)),
                "the token would have ended",
            ),
        ] {
            let error = robots.add(wish).await.unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        let unasked = Robots::new(journal, false);
        let refused = unasked.add(wish("ci", &["a:pull"], None)).await;
        assert!(matches!(refused, Err(RobotError::Unasked)));
        assert!(robots.list().await.unwrap().is_empty());
    });
}

#[test]
fn nobody_makes_a_robot_that_another_node_would_not_understand() {
    with_journal(ROBOTS_LEVEL - 1, async |journal| {
        let robots = Robots::new(journal, true);
        let refused = robots.add(wish("ci", &["a:pull"], None)).await;
        assert!(matches!(refused, Err(RobotError::Level { level: 1 })));
        assert!(robots.list().await.unwrap().is_empty());
    });
}
