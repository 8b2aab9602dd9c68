//! `Forwarded` and `X-Forwarded-For`: what each proxy on the way has seen, the latest
//! last.

use std::borrow::Cow;
use std::net::IpAddr;

use super::node::address;

/// The addresses in `X-Forwarded-For` lines, the latest first; `None` stands for an
/// entry that is no address.
pub(super) fn x_forwarded_for(lines: &[&[u8]]) -> Vec<Option<IpAddr>> {
    let entries = |line: &&'_ [u8]| -> Vec<Option<IpAddr>> {
        line.rsplit(|byte| *byte == b',').map(entry).collect()
    };
    lines.iter().rev().flat_map(entries).collect()
}

fn entry(bytes: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(bytes).ok()?;
    address(text.trim_matches([' ', '\t']))
}

/// The same of `Forwarded` lines; a line that is malformed is one entry without address.
///
/// - Source: RFC 7239, section 4.
pub(super) fn forwarded(lines: &[&[u8]]) -> Vec<Option<IpAddr>> {
    let lines = lines.iter().rev();
    lines
        .flat_map(
            |line| match std::str::from_utf8(line).ok().and_then(elements) {
                Some(elements) => elements.into_iter().rev().collect(),
                None => vec![None],
            },
        )
        .collect()
}

/// One entry for each element of a line; `None` when the line is malformed.
fn elements(line: &str) -> Option<Vec<Option<IpAddr>>> {
    let mut elements = Vec::new();
    let mut rest = line;
    let mut client = None;
    loop {
        rest = rest.trim_start_matches([' ', '\t']);
        if !rest.starts_with([',', ';']) && !rest.is_empty() {
            let (name, behind) = rest.split_once('=')?;
            let (value, behind) = value(behind)?;
            if name.eq_ignore_ascii_case("for") {
                client = Some(address(&value));
            }
            rest = behind.trim_start_matches([' ', '\t']);
        }
        // An element that does not say for whom tells nothing of who came before.
        match rest.split_at_checked(1) {
            None => {
                elements.push(client.flatten());
                return Some(elements);
            }
            Some((",", behind)) => {
                elements.push(client.take().flatten());
                rest = behind;
            }
            Some((";", behind)) => rest = behind,
            Some(_) => return None,
        }
    }
}

/// A word, or a text in quotation marks, and what follows it.
fn value(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ';', ' ', '\t', '"']);
        let (word, rest) = text.split_at_checked(end.unwrap_or(text.len()))?;
        return Some((word.into(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value.into(), quoted.get(at + 1..)?)),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(entries: &[Option<IpAddr>]) -> Vec<String> {
        let text = |entry: &Option<IpAddr>| entry.map_or("-".into(), |entry| entry.to_string());
        entries.iter().map(text).collect()
    }

    #[test]
    fn the_latest_proxy_comes_first_over_all_lines() {
        let read = x_forwarded_for(&[b"192.0.2.1, 192.0.2.2 ", b"unknown,\t192.0.2.3:80"]);
        assert_eq!(texts(&read), ["192.0.2.3", "-", "192.0.2.2", "192.0.2.1"]);
        let read = forwarded(&[
            b"for=192.0.2.1;proto=http;by=203.0.113.43, For=\"[2001:db8::1]:80\"",
            b"proto=https , for=\"192.0.2.\\3\"",
        ]);
        assert_eq!(texts(&read), ["192.0.2.3", "-", "2001:db8::1", "192.0.2.1"]);
    }

    #[test]
    fn a_malformed_line_tells_nothing_and_hides_what_came_before() {
        for line in ["for", "for=\"192.0.2.1", "for=192.0.2.1 by=1", "for=\"1\"x"] {
            let read = forwarded(&[b"for=192.0.2.9", line.as_bytes()]);
            assert_eq!(texts(&read), ["-", "192.0.2.9"], "{line}");
        }
        assert_eq!(texts(&forwarded(&[b"for=_hidden"])), ["-"]);
        assert_eq!(texts(&forwarded(&[b""])), ["-"]);
    }

    proptest! {
        #[test]
        fn any_line_is_read_without_panic(line in "[ -~é]{0,60}", end in any::<u8>()) {
            let line = [line.as_bytes(), &[end]].concat();
            drop(forwarded(&[&line]));
            drop(x_forwarded_for(&[&line]));
        }

        #[test]
        fn what_is_written_in_quotes_is_read_back(first in any::<[u8; 4]>(), second in any::<[u16; 8]>()) {
            let (first, second) = (IpAddr::from(first), IpAddr::from(second).to_canonical());
            let shown = match second {
                IpAddr::V4(_) => second.to_string(),
                IpAddr::V6(_) => format!("[{second}]"),
            };
            let line = format!("for=\"{first}\", for=\"{shown}\"; proto=https");
            prop_assert_eq!(forwarded(&[line.as_bytes()]), [Some(second), Some(first)]);
        }
    }
}
