// SPDX-License-Identifier: Apache-2.0
//! Text of a sequence of tokens, token by token, never half a character.

use crate::error::TextResult;
use crate::tokenizer::{Piece, Pieces, TextTokenizer};

const REPLACEMENT: char = '\u{FFFD}';
/// Tokens whose text ends in U+FFFD are kept back this long: the longest character has four bytes,
/// and U+FFFD may be what the model means to say.
const MAX_HELD_TOKENS: usize = 8;

/// State of one sequence. Work per token does not depend on the length of the sequence.
pub struct StreamDecoder {
    skip_special: bool,
    state: State,
}

enum State {
    /// Bytes of a character that is not complete yet; the text so far is empty while `at_start`.
    Pieces { pieces: Pieces, pending: Vec<u8>, at_start: bool },
    /// For decoders that look at more than one token: the last ids, the first `emitted` of which
    /// gave text that is out.
    Window { ids: Vec<u32>, emitted: usize },
}

impl StreamDecoder {
    pub fn new(tokenizer: &TextTokenizer, skip_special: bool) -> Self {
        let state = match tokenizer.pieces() {
            Some(pieces) => State::Pieces { pieces, pending: Vec::new(), at_start: true },
            None => State::Window { ids: Vec::new(), emitted: 0 },
        };
        StreamDecoder { skip_special, state }
    }

    /// The text that is certain now. `tokenizer` is the one given to new().
    pub fn push(&mut self, tokenizer: &TextTokenizer, id: u32) -> TextResult<String> {
        if self.skip_special && tokenizer.is_special(id) {
            return Ok(String::new());
        }
        match &mut self.state {
            State::Pieces { pieces, pending, at_start } => {
                let mut text = String::new();
                let one_per_byte = *pieces != Pieces::ByteLevel;
                match tokenizer.piece_bytes(*pieces, id) {
                    Piece::Byte(byte) => pending.push(byte),
                    Piece::Text(bytes) => pending.extend_from_slice(&bytes),
                }
                take_complete(pending, one_per_byte, false, &mut text);
                strip_blank(*pieces, at_start, &mut text);
                Ok(text)
            }
            State::Window { ids, emitted } => {
                ids.push(id);
                let text = new_text(tokenizer, ids, *emitted, self.skip_special)?;
                let held = ids.len() - *emitted;
                if text.is_empty() || (text.ends_with(REPLACEMENT) && held < MAX_HELD_TOKENS) {
                    return Ok(String::new());
                }
                // What was new becomes the context of what comes.
                ids.drain(..*emitted);
                *emitted = ids.len();
                Ok(text)
            }
        }
    }

    /// What is left at the end of the sequence; starts a new one.
    pub fn flush(&mut self, tokenizer: &TextTokenizer) -> TextResult<String> {
        let text = match &mut self.state {
            State::Pieces { pieces, pending, at_start } => {
                let mut text = String::new();
                take_complete(pending, *pieces != Pieces::ByteLevel, true, &mut text);
                strip_blank(*pieces, at_start, &mut text);
                text
            }
            State::Window { ids, emitted } => {
                new_text(tokenizer, ids, *emitted, self.skip_special)?
            }
        };
        *self = StreamDecoder::new(tokenizer, self.skip_special);
        Ok(text)
    }
}

/// The text of `ids` beyond that of the first `emitted` of them.
fn new_text(
    tokenizer: &TextTokenizer,
    ids: &[u32],
    emitted: usize,
    skip_special: bool,
) -> TextResult<String> {
    let before = tokenizer.decode_by_library(&ids[..emitted], skip_special)?;
    let all = tokenizer.decode_by_library(ids, skip_special)?;
    Ok(all.get(before.len()..).unwrap_or_default().to_string())
}

fn strip_blank(pieces: Pieces, at_start: &mut bool, text: &mut String) {
    if *at_start && !text.is_empty() {
        if matches!(pieces, Pieces::SentencePiece { strip_blank: true, .. })
            && text.starts_with(' ')
        {
            text.remove(0);
        }
        *at_start = false;
    }
}

/// Moves the characters that are complete from `pending` to `text`. Bytes that can never become a
/// character give U+FFFD: one for each of them, or one for each broken character, as Rust's
/// from_utf8_lossy does. `end`: nothing more will come.
fn take_complete(pending: &mut Vec<u8>, one_per_byte: bool, end: bool, text: &mut String) {
    let mut taken = 0;
    while taken < pending.len() {
        let rest = &pending[taken..];
        match std::str::from_utf8(rest) {
            Ok(valid) => {
                text.push_str(valid);
                taken = pending.len();
            }
            Err(error) => {
                let valid = error.valid_up_to();
                text.push_str(std::str::from_utf8(&rest[..valid]).expect("checked by from_utf8"));
                taken += valid;
                let broken = match error.error_len() {
                    Some(broken) => broken,
                    None if end => pending.len() - taken,
                    None => break,
                };
                let signs = if one_per_byte { broken } else { 1 };
                text.extend(std::iter::repeat_n(REPLACEMENT, signs));
                taken += broken;
            }
        }
    }
    pending.drain(..taken);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_chunks(bytes: &[u8], size: usize, one_per_byte: bool) -> String {
        let (mut pending, mut text) = (Vec::new(), String::new());
        for chunk in bytes.chunks(size) {
            pending.extend_from_slice(chunk);
            take_complete(&mut pending, one_per_byte, false, &mut text);
            assert!(pending.len() < 4);
        }
        take_complete(&mut pending, one_per_byte, true, &mut text);
        text
    }

    #[test]
    fn broken_bytes_are_replaced_as_in_a_whole_text() {
        let broken: [&[u8]; 6] = [
            b"a\xFFb",
            b"\xE4\xBD",
            b"\xE4\xBDx",
            b"\xF0\x9F\x91",
            b"\xC0\x80",
            b"\xED\xA0\x80\xE4\xBD\xA0",
        ];
        for bytes in broken {
            for size in 1..=bytes.len() {
                assert_eq!(by_chunks(bytes, size, false), String::from_utf8_lossy(bytes));
            }
        }
        assert_eq!(by_chunks(b"\xE4\xBDx", 1, true), "\u{FFFD}\u{FFFD}x");
    }

    #[test]
    fn whole_characters_pass_at_every_chunk_size() {
        let text = "a é 你好 👍🏽 \u{10FFFF}";
        for size in 1..=text.len() {
            assert_eq!(by_chunks(text.as_bytes(), size, true), text);
        }
    }
}
