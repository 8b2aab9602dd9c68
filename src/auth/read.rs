//! Reading rules from a configuration: every key is known, every pattern compiled.

use globset::{GlobBuilder, GlobMatcher};
use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value};
use serde_json_path::JsonPath;

use super::action::{Action, Actions};
use super::claim::{Claims, Quantifier};
use super::matcher::{Leaf, Matcher};
use super::rule_error::{RuleError, RuleFault, nearest};
use super::rules::{Rule, SubjectRule};

/// Matchers inside matchers; people write three.
const LEVELS_MAX: usize = 16;
/// Memory of one compiled pattern: far above any that a person writes.
const PATTERN_BYTES_MAX: usize = 1 << 20;

const RULE_KEYS: [&str; 4] = ["subject", "resource", "actions", "comment"];
const SUBJECT_KEYS: [&str; 6] = [
    "username",
    "network",
    "subject",
    "claims",
    "anonymous",
    "robot",
];
const RESOURCE_KEYS: [&str; 1] = ["repository"];
const MATCHER_KEYS: [&str; 10] = [
    "regex", "glob", "starts", "ends", "gt", "lt", "exists", "and", "or", "not",
];
const CLAIM_KEYS: [&str; 8] = ["pointer", "path", "match", "any", "all", "and", "or", "not"];

type Read<T> = Result<T, RuleFault>;

/// Where in a rule the reading is.
struct Cursor {
    keys: Vec<String>,
}

/// Reads the rule at `index`.
pub(super) fn read_rule(index: usize, value: &Value) -> Result<Rule, RuleError> {
    let mut cursor = Cursor { keys: Vec::new() };
    cursor.rule(value).map_err(|fault| RuleError {
        rule: index + 1,
        place: cursor.keys.join("."),
        fault,
    })
}

impl Cursor {
    fn rule(&mut self, value: &Value) -> Read<Rule> {
        let rule = table(value, &RULE_KEYS)?;
        let subject = match rule.get("subject") {
            Some(value) => self.within("subject", |cursor| cursor.subject(value))?,
            None => SubjectRule::default(),
        };
        let repository = match rule.get("resource") {
            Some(value) => self.within("resource", |cursor| cursor.resource(value))?,
            None => None,
        };
        let actions = rule.get("actions").ok_or(RuleFault::Missing("actions"))?;
        Ok(Rule {
            subject,
            repository,
            actions: self.within("actions", |_| read_actions(actions))?,
            comment: match rule.get("comment") {
                Some(value) => Some(self.within("comment", |_| text(value).map(Into::into))?),
                None => None,
            },
        })
    }

    fn subject(&mut self, value: &Value) -> Read<SubjectRule> {
        let subject = table(value, &SUBJECT_KEYS)?;
        let mut matcher =
            |key| self.optional(subject, key, |cursor, value| cursor.matcher(value, 0));
        Ok(SubjectRule {
            username: matcher("username")?,
            network: matcher("network")?,
            subject: matcher("subject")?,
            robot: matcher("robot")?,
            claims: self.optional(subject, "claims", |cursor, value| cursor.claims(value, 0))?,
            anonymous: self
                .optional(subject, "anonymous", |_, value| boolean(value))?
                .unwrap_or_default(),
        })
    }

    fn resource(&mut self, value: &Value) -> Read<Option<Matcher>> {
        let resource = table(value, &RESOURCE_KEYS)?;
        self.optional(resource, "repository", |cursor, value| {
            cursor.matcher(value, 0)
        })
    }

    fn matcher(&mut self, value: &Value, level: usize) -> Read<Matcher> {
        if level == LEVELS_MAX {
            return Err(RuleFault::Depth);
        }
        let leaf = match value {
            Value::String(text) => Leaf::exact(text),
            Value::Number(number) => Leaf::Equals(number.clone()),
            Value::Bool(value) => Leaf::Boolean(*value),
            Value::Object(_) => return self.matcher_of_table(value, level),
            Value::Null | Value::Array(_) => {
                return Err(RuleFault::Expected(
                    "a text, a number or a table with one key",
                ));
            }
        };
        Ok(Matcher::Leaf(leaf))
    }

    fn matcher_of_table(&mut self, value: &Value, level: usize) -> Read<Matcher> {
        let matcher = table(value, &MATCHER_KEYS)?;
        let mut entries = matcher.iter();
        let (Some((key, value)), None) = (entries.next(), entries.next()) else {
            return Err(RuleFault::Expected("exactly one key"));
        };
        self.within(key, |cursor| {
            let mut list = || cursor.list(value, |cursor, each| cursor.matcher(each, level + 1));
            let leaf = match key.as_str() {
                "and" => return Ok(Matcher::And(list()?)),
                "or" => return Ok(Matcher::Or(list()?)),
                "not" => return Ok(Matcher::Not(Box::new(cursor.matcher(value, level + 1)?))),
                "exists" => return Ok(Matcher::Exists(boolean(value)?)),
                "regex" => Leaf::Regex(regex(text(value)?)?),
                "glob" => Leaf::Glob(glob(text(value)?)?),
                "starts" => Leaf::Starts(text(value)?.into()),
                "ends" => Leaf::Ends(text(value)?.into()),
                "gt" => Leaf::Greater(number(value)?),
                _ => Leaf::Less(number(value)?),
            };
            Ok(Matcher::Leaf(leaf))
        })
    }

    fn claims(&mut self, value: &Value, level: usize) -> Read<Claims> {
        if level == LEVELS_MAX {
            return Err(RuleFault::Depth);
        }
        if value.is_array() {
            let all = self.list(value, |cursor, each| cursor.claims(each, level + 1))?;
            return Ok(Claims::And(all));
        }
        let claim = table(value, &CLAIM_KEYS)?;
        let key = |key| claim.get(key);
        if let Some(place) = key("pointer") {
            let pointer = self.within("pointer", |_| pointer(text(place)?))?;
            let matcher =
                only(claim, 2, key("match")).ok_or(RuleFault::Expected("`pointer` and `match`"))?;
            let matcher = self.within("match", |cursor| cursor.matcher(matcher, 0))?;
            return Ok(Claims::Pointer(pointer, matcher));
        }
        if let Some(path) = key("path") {
            let path = self.within("path", |_| json_path(text(path)?))?;
            let one = [("any", Quantifier::Any), ("all", Quantifier::All)]
                .into_iter()
                .find_map(|(name, quantifier)| {
                    Some((name, quantifier, only(claim, 2, key(name))?))
                });
            let expected = RuleFault::Expected("`path`, and `any` or `all`");
            let (name, quantifier, matcher) = one.ok_or(expected)?;
            let matcher = self.within(name, |cursor| cursor.matcher(matcher, 0))?;
            return Ok(Claims::Path(Box::new(path), quantifier, matcher));
        }
        self.claims_combined(claim, level)
    }

    fn claims_combined(&mut self, claim: &Map<String, Value>, level: usize) -> Read<Claims> {
        let mut list = |name: &'static str| {
            let value = only(claim, 1, claim.get(name))?;
            let each = |cursor: &mut Self, each: &Value| cursor.claims(each, level + 1);
            Some(self.within(name, |cursor| cursor.list(value, each)))
        };
        if let Some(all) = list("and") {
            return Ok(Claims::And(all?));
        }
        if let Some(any) = list("or") {
            return Ok(Claims::Or(any?));
        }
        let other = only(claim, 1, claim.get("not")).ok_or(RuleFault::Expected(
            "`pointer` and `match`, `path` and `any` or `all`, or one of `and`, `or`, `not`",
        ))?;
        let other = self.within("not", |cursor| cursor.claims(other, level + 1))?;
        Ok(Claims::Not(Box::new(other)))
    }

    fn optional<T>(
        &mut self,
        table: &Map<String, Value>,
        key: &str,
        read: impl FnOnce(&mut Self, &Value) -> Read<T>,
    ) -> Read<Option<T>> {
        let value = table.get(key);
        value
            .map(|value| self.within(key, |cursor| read(cursor, value)))
            .transpose()
    }

    fn list<T>(
        &mut self,
        value: &Value,
        read: impl Fn(&mut Self, &Value) -> Read<T>,
    ) -> Read<Vec<T>> {
        let list = value.as_array().filter(|list| !list.is_empty());
        let list = list.ok_or(RuleFault::Expected("a list with at least one entry"))?;
        let each = |(index, value): (usize, &Value)| {
            self.within(&(index + 1).to_string(), |cursor| read(cursor, value))
        };
        list.iter().enumerate().map(each).collect()
    }

    /// Reads below `key`. After an error the cursor stays at its place.
    fn within<T>(&mut self, key: &str, read: impl FnOnce(&mut Self) -> Read<T>) -> Read<T> {
        self.keys.push(key.to_owned());
        let value = read(self)?;
        self.keys.pop();
        Ok(value)
    }
}

/// A value, when its table has no keys beside those that belong to it.
fn only<'a>(
    table: &Map<String, Value>,
    keys: usize,
    value: Option<&'a Value>,
) -> Option<&'a Value> {
    value.filter(|_| table.len() == keys)
}

fn table<'a>(value: &'a Value, known: &[&'static str]) -> Read<&'a Map<String, Value>> {
    let table = value.as_object().ok_or(RuleFault::Expected("a table"))?;
    match table.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(table),
        Some(key) => Err(RuleFault::Unknown {
            what: "key",
            word: key.clone(),
            suggestion: nearest(key, known),
        }),
    }
}

fn read_actions(value: &Value) -> Read<Actions> {
    let words = value.as_array().filter(|words| !words.is_empty());
    let words = words.ok_or(RuleFault::Expected("a list of actions"))?;
    let mut actions = Actions::NONE;
    for word in words {
        actions = actions | read_action(text(word)?)?;
    }
    Ok(actions)
}

/// What the word for an action gives, in rules and in scopes of robots.
pub(super) fn read_action(word: &str) -> Read<Actions> {
    let known = Action::ALL.map(Action::as_str);
    let given = Actions::of_word(word).filter(|_| known.contains(&word));
    given.ok_or_else(|| RuleFault::Unknown {
        what: "action",
        word: word.to_owned(),
        suggestion: nearest(word, &known),
    })
}

fn text(value: &Value) -> Read<&str> {
    value.as_str().ok_or(RuleFault::Expected("a text"))
}

fn boolean(value: &Value) -> Read<bool> {
    value.as_bool().ok_or(RuleFault::Expected("true or false"))
}

fn number(value: &Value) -> Read<serde_json::Number> {
    value
        .as_number()
        .cloned()
        .ok_or(RuleFault::Expected("a number"))
}

fn regex(text: &str) -> Read<Regex> {
    let compiled = RegexBuilder::new(text)
        .size_limit(PATTERN_BYTES_MAX)
        .build();
    compiled.map_err(|error| RuleFault::Pattern(one_line(&error.to_string())))
}

/// Compiles a pattern whose `*` stops at a slash.
pub(super) fn glob(text: &str) -> Read<GlobMatcher> {
    let compiled = GlobBuilder::new(text).literal_separator(true).build();
    let compiled = compiled.map_err(|error| RuleFault::Pattern(one_line(&error.to_string())))?;
    Ok(compiled.compile_matcher())
}

/// Source: RFC 6901, section 3: empty, or beginning with a slash.
fn pointer(text: &str) -> Read<Box<str>> {
    if text.is_empty() || text.starts_with('/') {
        Ok(text.into())
    } else {
        Err(RuleFault::Expected("a JSON pointer, which begins with `/`"))
    }
}

fn json_path(text: &str) -> Read<JsonPath> {
    JsonPath::parse(text).map_err(|error| RuleFault::Pattern(one_line(&error.to_string())))
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}
