//! The chunked coding, undone in place. Source: RFC 9112, section 7.1, with
//! every tolerance taken out.

use crate::base::limits::{CHUNK_EXTENSION_BYTES_MAX, TRAILER_BYTES_MAX};
use crate::base::units::{index_of, to_u64};

use super::body::Decoded;
use super::method::is_token_byte;
use super::refusal::Refusal;
use super::status::Status;

/// Hex digits of the largest `u64`; leading zeros count.
const SIZE_DIGITS_MAX: u32 = 16;

/// Reads chunks as they arrive, however they are split.
///
/// ```text
/// size *(";" extension) CRLF  data CRLF   …   0 CRLF  *(trailer CRLF)  CRLF
/// ```
#[derive(Clone, Debug, Default)]
pub(super) struct ChunkDecoder {
    state: State,
    /// Size of the chunk whose size line is being read.
    size: u64,
    size_digits: u32,
    /// Over the whole message.
    extension_bytes: u32,
    trailer_bytes: u32,
}

/// What the next byte is taken for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    Extension,
    SizeLf,
    Data {
        left_bytes: u64,
    },
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    LastLf,
    End,
}

impl ChunkDecoder {
    /// Moves the payload in `bytes` to its front.
    ///
    /// - Shape: takes everything up to the end of the message, nothing after it.
    /// - Errors: 400 for what is not chunked coding, 431 for too long trailers;
    ///   the decoder is of no use afterwards.
    pub(super) fn decode(&mut self, bytes: &mut [u8]) -> Result<Decoded, Refusal> {
        let (mut consumed, mut produced) = (0, 0);
        while self.state != State::End {
            if let State::Data { left_bytes } = self.state {
                let here_bytes = to_u64(bytes.len() - consumed).min(left_bytes);
                let end = consumed + index_of(here_bytes);
                if consumed != produced {
                    bytes.copy_within(consumed..end, produced);
                }
                produced += end - consumed;
                consumed = end;
                self.state = match left_bytes - here_bytes {
                    0 => State::DataCr,
                    left_bytes => State::Data { left_bytes },
                };
            }
            let Some(byte) = bytes.get(consumed) else {
                break;
            };
            self.state = self.step(*byte)?;
            consumed += 1;
        }
        Ok(Decoded {
            consumed,
            produced,
            is_end: self.state == State::End,
        })
    }

    /// True once the empty line after the last chunk has been read.
    pub(super) fn is_end(&self) -> bool {
        self.state == State::End
    }

    /// Takes one byte that is not payload.
    fn step(&mut self, byte: u8) -> Result<State, Refusal> {
        match self.state {
            State::Size => self.step_size(byte),
            State::Extension => self.step_extension(byte),
            State::SizeLf => self.end_size_line(byte),
            State::DataCr if byte == b'\r' => Ok(State::DataLf),
            State::DataLf if byte == b'\n' => Ok(State::Size),
            State::DataCr | State::DataLf => Err(Refusal::bad("A chunk is longer than its size.")),
            State::TrailerStart
            | State::TrailerName
            | State::TrailerValue
            | State::TrailerLf
            | State::LastLf => self.step_trailer(byte),
            State::Data { .. } | State::End => {
                unreachable!("invariant: decode takes payload itself and stops at the end")
            }
        }
    }

    fn step_size(&mut self, byte: u8) -> Result<State, Refusal> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b'\r' if self.size_digits > 0 => return Ok(State::SizeLf),
            b';' if self.size_digits > 0 => return Ok(State::Extension),
            _ => return Err(Refusal::bad("A chunk size is not a hexadecimal number.")),
        };
        self.size_digits += 1;
        if self.size_digits > SIZE_DIGITS_MAX {
            return Err(Refusal::bad("A chunk size is too large."));
        }
        self.size = self.size << 4 | u64::from(digit);
        Ok(State::Size)
    }

    fn step_extension(&mut self, byte: u8) -> Result<State, Refusal> {
        if byte == b'\r' {
            return Ok(State::SizeLf);
        }
        if byte.is_ascii_control() {
            return Err(Refusal::bad("A chunk extension holds a control byte."));
        }
        self.extension_bytes += 1;
        if self.extension_bytes > CHUNK_EXTENSION_BYTES_MAX {
            return Err(Refusal::bad("The chunk extensions are too long."));
        }
        Ok(State::Extension)
    }

    fn end_size_line(&mut self, byte: u8) -> Result<State, Refusal> {
        if byte != b'\n' {
            return Err(Refusal::bad("A chunk size line does not end in CRLF."));
        }
        self.size_digits = 0;
        Ok(match std::mem::take(&mut self.size) {
            0 => State::TrailerStart,
            left_bytes => State::Data { left_bytes },
        })
    }

    fn step_trailer(&mut self, byte: u8) -> Result<State, Refusal> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > TRAILER_BYTES_MAX {
            return Err(Refusal::new(
                Status::HEAD_TOO_LARGE,
                "The trailers are too long.",
            ));
        }
        match (self.state, byte) {
            (State::TrailerStart, b'\r') => Ok(State::LastLf),
            (State::LastLf, b'\n') => Ok(State::End),
            (State::TrailerStart | State::TrailerName, byte) if is_token_byte(byte) => {
                Ok(State::TrailerName)
            }
            (State::TrailerName, b':') => Ok(State::TrailerValue),
            (State::TrailerValue, b'\r') => Ok(State::TrailerLf),
            (State::TrailerValue, byte) if byte == b'\t' || !byte.is_ascii_control() => {
                Ok(State::TrailerValue)
            }
            (State::TrailerLf, b'\n') => Ok(State::TrailerStart),
            _ => Err(Refusal::bad("A trailer line is not `name: value`.")),
        }
    }
}

#[cfg(test)]
#[path = "chunk_test.rs"]
mod tests;
