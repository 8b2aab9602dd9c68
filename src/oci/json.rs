//! A strict JSON walker: no tree is built, so unknown members cost no memory,
//! and nothing that two readers could understand differently gets through.
//!
//! Refused besides bad syntax: duplicate member names at any level, nesting
//! deeper than `MANIFEST_LEVELS_MAX`, bytes that are not UTF-8, anything after
//! the value, unpaired surrogates.

use std::borrow::Cow;

use super::digest::DigestError;
use crate::base::limits::MANIFEST_LEVELS_MAX;

/// What is wrong with a JSON body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonFault {
    /// Not JSON.
    #[error("not JSON")]
    Syntax,
    /// Bytes that are not UTF-8.
    #[error("not UTF-8")]
    Encoding,
    /// Something stands behind the value.
    #[error("bytes after the end of the value")]
    Trailing,
    /// Lists and objects nested too deeply.
    #[error("nested too deeply")]
    Depth,
    /// An object names a member twice.
    #[error("duplicate member")]
    Duplicate,
    /// A member holds another type than its definition says.
    #[error("expected {expected}")]
    Type {
        /// What should stand there.
        expected: &'static str,
    },
    /// A number that is negative, fractional or over-large where a size stands.
    #[error("number is not an acceptable size")]
    Size,
    /// A required member is absent.
    #[error("member `{member}` is missing")]
    Missing {
        /// Its name.
        member: &'static str,
    },
    /// A digest that is malformed or of an unknown algorithm.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// A media type that is none.
    #[error("not a media type")]
    MediaType,
}

/// What is wrong, and how far into the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{fault}, {at_bytes} bytes into the body")]
pub struct JsonError {
    /// What is wrong.
    #[source]
    pub fault: JsonFault,
    /// Offset of the fault in the body.
    pub at_bytes: usize,
}

/// Walks a JSON text front to back.
pub(super) struct Json<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Json<'a> {
    /// Starts in front of the first byte.
    pub(super) fn new(body: &'a [u8]) -> Result<Self, JsonError> {
        let text = std::str::from_utf8(body).map_err(|error| JsonError {
            fault: JsonFault::Encoding,
            at_bytes: error.valid_up_to(),
        })?;
        Ok(Self {
            text,
            at: 0,
            depth: 0,
        })
    }

    /// Names a fault at the current position.
    pub(super) const fn fault(&self, fault: JsonFault) -> JsonError {
        JsonError {
            fault,
            at_bytes: self.at,
        }
    }

    /// Walks an object; `member` consumes the value of each named member.
    pub(super) fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, &str) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        let mut names = Vec::new();
        self.open(b'{', "an object")?;
        if !self.takes(b'}') {
            loop {
                let name = self.text("a member name")?;
                self.take(b':')?;
                member(self, &name)?;
                names.push(name);
                if !self.takes(b',') {
                    break;
                }
            }
            self.take(b'}')?;
        }
        self.depth -= 1;
        names.sort_unstable();
        if names.windows(2).any(|pair| pair.first() == pair.last()) {
            return Err(self.fault(JsonFault::Duplicate));
        }
        Ok(())
    }

    /// Walks a list; `item` consumes each item.
    pub(super) fn list(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        self.open(b'[', "a list")?;
        if !self.takes(b']') {
            loop {
                item(self)?;
                if !self.takes(b',') {
                    break;
                }
            }
            self.take(b']')?;
        }
        self.depth -= 1;
        Ok(())
    }

    /// Takes a text.
    pub(super) fn text(&mut self, expected: &'static str) -> Result<Cow<'a, str>, JsonError> {
        if !self.takes(b'"') {
            return Err(self.fault(JsonFault::Type { expected }));
        }
        let plain = self.plain_run();
        if self.byte() == Some(b'"') {
            self.at += 1;
            return Ok(Cow::Borrowed(plain));
        }
        let mut text = plain.to_owned();
        loop {
            match self.byte() {
                Some(b'"') => break,
                Some(b'\\') => text.push(self.escape()?),
                _ => return Err(self.fault(JsonFault::Syntax)),
            }
            text.push_str(self.plain_run());
        }
        self.at += 1;
        Ok(Cow::Owned(text))
    }

    /// Takes a whole number from 0 to `max`, written without fraction or exponent.
    pub(super) fn size(&mut self, max: u64) -> Result<u64, JsonError> {
        if !matches!(self.peek(), Some(b'-' | b'0'..=b'9')) {
            return Err(self.fault(JsonFault::Type {
                expected: "a number",
            }));
        }
        let start = self.at;
        self.number()?;
        let digits = self.text.get(start..self.at).unwrap_or_default();
        let value = digits.parse().ok().filter(|value: &u64| *value <= max);
        value.ok_or_else(|| self.fault(JsonFault::Size))
    }

    /// Takes `null` when it stands here.
    pub(super) fn takes_null(&mut self) -> bool {
        self.peek();
        let is_null = self.rest().starts_with("null");
        self.at += if is_null { 4 } else { 0 };
        is_null
    }

    /// Walks over any value, strictly.
    pub(super) fn skip(&mut self) -> Result<(), JsonError> {
        match self.peek() {
            Some(b'{') => self.object(|json, _| json.skip()),
            Some(b'[') => self.list(Self::skip),
            Some(b'"') => self.text("a text").map(drop),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => {
                let words = ["null", "true", "false"];
                let word = words.into_iter().find(|word| self.rest().starts_with(word));
                self.at += word.ok_or_else(|| self.fault(JsonFault::Syntax))?.len();
                Ok(())
            }
        }
    }

    /// Checks that only white space is left.
    pub(super) fn end(&mut self) -> Result<(), JsonError> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.fault(JsonFault::Trailing)),
        }
    }

    fn open(&mut self, bracket: u8, expected: &'static str) -> Result<(), JsonError> {
        if !self.takes(bracket) {
            return Err(self.fault(JsonFault::Type { expected }));
        }
        self.depth += 1;
        if self.depth > MANIFEST_LEVELS_MAX {
            return Err(self.fault(JsonFault::Depth));
        }
        Ok(())
    }

    /// `-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?`
    fn number(&mut self) -> Result<(), JsonError> {
        self.accepts(b"-");
        if !self.accepts(b"0") {
            self.digits()?;
        }
        if self.accepts(b".") {
            self.digits()?;
        }
        if self.accepts(b"eE") {
            self.accepts(b"+-");
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let digits = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        self.at += digits;
        if digits == 0 {
            return Err(self.fault(JsonFault::Syntax));
        }
        Ok(())
    }

    /// Takes everything up to a quote, a backslash or a control character.
    fn plain_run(&mut self) -> &'a str {
        let rest = self.rest();
        let is_special = |byte: u8| byte == b'"' || byte == b'\\' || byte < 0x20;
        let run_bytes = rest.bytes().position(is_special).unwrap_or(rest.len());
        self.at += run_bytes;
        rest.get(..run_bytes).unwrap_or_default()
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        self.at += 1;
        let kind = self.byte();
        self.at += 1;
        let plain = match kind {
            Some(same @ (b'"' | b'\\' | b'/')) => char::from(same),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.code_point(),
            _ => return Err(self.fault(JsonFault::Syntax)),
        };
        Ok(plain)
    }

    /// Takes the digits behind `\u`, and those of the low surrogate where it is due.
    fn code_point(&mut self) -> Result<char, JsonError> {
        let mut code = self.hex4()?;
        if (0xd800..0xdc00).contains(&code) && self.rest().starts_with("\\u") {
            self.at += 2;
            let low = self.hex4()?;
            if !(0xdc00..0xe000).contains(&low) {
                return Err(self.fault(JsonFault::Syntax));
            }
            code = 0x1_0000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        }
        char::from_u32(code).ok_or_else(|| self.fault(JsonFault::Syntax))
    }

    fn hex4(&mut self) -> Result<u32, JsonError> {
        let digits = self.rest().get(..4).unwrap_or_default();
        let is_hex = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_hex {
            return Err(self.fault(JsonFault::Syntax));
        }
        self.at += 4;
        u32::from_str_radix(digits, 16).map_err(|_| self.fault(JsonFault::Syntax))
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Skips white space and looks at the next byte.
    fn peek(&mut self) -> Option<u8> {
        while matches!(self.byte(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        self.byte()
    }

    fn takes(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    fn take(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.takes(byte) {
            Ok(())
        } else {
            Err(self.fault(JsonFault::Syntax))
        }
    }

    /// Takes one byte of a set, white space not skipped.
    fn accepts(&mut self, set: &[u8]) -> bool {
        let is_there = self.byte().is_some_and(|byte| set.contains(&byte));
        self.at += usize::from(is_there);
        is_there
    }
}

#[cfg(test)]
#[path = "json_test.rs"]
mod tests;
