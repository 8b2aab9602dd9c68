//! What the command line understands, and what it says about itself.

use clap::CommandFactory as _;

use super::*;

fn parse(line: &str) -> Result<(Task, Options), clap::Error> {
    Arguments::try_parse_from(line.split(' ')).map(Arguments::split)
}

#[test]
fn the_definition_is_sound() {
    Arguments::command().debug_assert();
}

#[test]
fn a_bare_command_serves_with_the_same_options() {
    for line in [
        "windlass --listen 127.0.0.1:1 --data-dir d --config a --config b",
        "windlass serve --listen 127.0.0.1:1 --data-dir d --config a --config b",
    ] {
        let (task, options) = parse(line).unwrap();
        assert!(matches!(task, Task::Serve));
        assert_eq!(options.files, [PathBuf::from("a"), PathBuf::from("b")]);
        let expected = "listen = '127.0.0.1:1'\ndata_dir = 'd'";
        assert_eq!(options.layer(), toml::from_str(expected).unwrap());
    }
}

#[test]
fn the_commands_of_a_cluster_take_the_same_options() {
    let (task, options) = parse("windlass init --advertise a:1 --data-dir d").unwrap();
    assert!(matches!(task, Task::Init));
    let expected = "data_dir = 'd'\ncluster.advertise = 'a:1'";
    assert_eq!(options.layer(), toml::from_str(expected).unwrap());
    let (task, _) = parse("windlass join a:1 --token-file - --learner").unwrap();
    assert!(matches!(task, Task::Join(Join { learner: true, .. })));
    assert!(parse("windlass join a:1 --token t").is_err() && parse("windlass join a:1").is_err());
    for (words, is_forced) in [("", false), (" --force", true)] {
        let line = format!("windlass cluster remove 3 --admin-listen 127.0.0.1:9{words}");
        let (task, _) = parse(&line).unwrap();
        let Task::Cluster(ClusterCommand::Remove { node: 3, force }) = task else {
            panic!("{line}");
        };
        assert_eq!(force, is_forced);
    }
}

#[test]
fn questions_about_access_are_read() {
    let (task, options) = parse("windlass acl explain bob a/b pull --from ::1 --config c").unwrap();
    let Task::Explain(explain) = task else {
        panic!("a question");
    };
    assert_eq!((&*explain.user, &*explain.repository), ("bob", "a/b"));
    assert!(explain.from.is_some_and(|address| address.is_loopback()));
    assert_eq!(options.files, [PathBuf::from("c")]);
    let (task, _) = parse("windlass acl explain - a pull").unwrap();
    assert!(matches!(task, Task::Explain(explain) if explain.user == "-"));
    let (task, _) = parse("windlass hash-password bob").unwrap();
    assert!(matches!(task, Task::HashPassword { user } if user == "bob"));
}

#[test]
fn the_commands_for_tokens_are_read() {
    let line = "windlass token create ci --scope a:pull --scope catalog --expires 90d --json";
    let (task, _) = parse(line).unwrap();
    let Task::Token(TokenCommand::Create {
        scopes,
        expires,
        json: true,
        ..
    }) = task
    else {
        panic!("a token");
    };
    assert_eq!(scopes, ["a:pull", "catalog"]);
    assert_eq!(expires.unwrap().to_string(), "90d");
    let (task, options) = parse("windlass token list --config c").unwrap();
    let is_list = matches!(task, Task::Token(TokenCommand::List { json: false }));
    assert!(is_list && options.files == [PathBuf::from("c")]);
}

#[test]
fn what_is_not_understood_is_refused() {
    for line in [
        "windlass --listen here",
        "windlass server",
        "windlass --port 1",
        "windlass --data-dir d serve",
        "windlass join a:1",
        "windlass join a:1 --token t --token-file f",
        "windlass tls",
        "windlass tls self-signed",
        "windlass cluster",
        "windlass cluster remove",
        "windlass cluster remove all",
        "windlass acl explain bob a",
        "windlass hash-password",
        "windlass token",
        "windlass token create ci",
        "windlass token create ci --scope a:pull --expires soon",
        "windlass token revoke",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
}

/// Calls `look` for every command and the words that lead to it.
fn each(command: &clap::Command, words: &str, look: &mut impl FnMut(&clap::Command, &str)) {
    look(command, words);
    for inner in command.get_subcommands() {
        each(inner, &format!("{words} {}", inner.get_name()), look);
    }
}

#[test]
fn every_command_and_every_option_says_what_it_is() {
    let mut seen = Vec::new();
    each(&Arguments::command(), "windlass", &mut |command, words| {
        assert!(command.get_about().is_some(), "{words}");
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{words}: {argument}");
        }
        seen.push(words.to_owned());
    });
    for wish in [
        "status",
        "add",
        "promote",
        "demote",
        "remove",
        "transfer-leader",
        "drain",
    ] {
        assert!(seen.contains(&format!("windlass cluster {wish}")), "{wish}");
    }
}
