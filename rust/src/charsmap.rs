// SPDX-License-Identifier: Apache-2.0
//! SentencePiece's precompiled_charsmap: which characters a normalisation such as NFKC replaces.
//! HF's reading of it goes by grapheme and differs where marks pile up; this one does what
//! sentencepiece/src/normalizer.cc does: the longest match at each place.

use crate::error::{TextResult, corrupt};

/// A double-array trie (darts-clone) from byte sequences to texts.
pub struct Charsmap {
    units: Vec<u32>,
    /// The texts, each with a NUL after it.
    texts: String,
}

impl Charsmap {
    /// The number of bytes of the trie (32 bits), the trie, the texts.
    pub fn parse(name: &str, bytes: &[u8]) -> TextResult<Charsmap> {
        let bad = |what: &str| corrupt(format!("{name}: precompiled_charsmap: {what}"));
        let (size, rest) = bytes.split_first_chunk::<4>().ok_or_else(|| bad("too short"))?;
        let size = u32::from_le_bytes(*size) as usize;
        if size % 4 != 0 || size == 0 || size > rest.len() {
            return Err(bad("the size of the trie is wrong"));
        }
        let (trie, texts) = rest.split_at(size);
        let units = trie
            .chunks_exact(4)
            .map(|unit| u32::from_le_bytes([unit[0], unit[1], unit[2], unit[3]]));
        let texts = std::str::from_utf8(texts).map_err(|_| bad("the texts are not valid UTF-8"))?;
        Ok(Charsmap { units: units.collect(), texts: texts.to_string() })
    }

    /// Whether no text can lead out of the trie or of the texts. apply() checks as it goes; HF's reading of a
    /// tokenizer.json does not.
    pub fn is_closed(&self) -> bool {
        let Some(root) = self.units.first() else { return false };
        let mut seen = vec![false; self.units.len()];
        let mut bases = vec![offset(*root)];
        while let Some(base) = bases.pop() {
            for byte in 1..=255usize {
                let at = base ^ byte;
                let Some(unit) = self.units.get(at).copied() else { return false };
                if seen[at] || unit & LABEL != byte as u32 {
                    continue;
                }
                seen[at] = true;
                let next = at ^ offset(unit);
                if (unit >> 8) & 1 == 1 {
                    let Some(leaf) = self.units.get(next) else { return false };
                    if !self.texts.is_char_boundary((leaf & !(1 << 31)) as usize) {
                        return false;
                    }
                }
                bases.push(next);
            }
        }
        true
    }

    pub fn apply(&self, text: &str) -> String {
        let mut result = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            // A match that ends inside a character is none: only a bad file has it.
            let found =
                self.longest(rest.as_bytes()).filter(|(size, _)| rest.is_char_boundary(*size));
            match found {
                Some((size, replacement)) => {
                    result.push_str(replacement);
                    rest = &rest[size..];
                }
                None => {
                    result.push(first);
                    rest = &rest[first.len_utf8()..];
                }
            }
        }
        result
    }

    /// The longest key at the start of `bytes` and its text.
    fn longest(&self, bytes: &[u8]) -> Option<(usize, &str)> {
        let mut node = offset(*self.units.first()?);
        let mut found = None;
        for (at, byte) in bytes.iter().enumerate() {
            node ^= usize::from(*byte);
            let Some(unit) = self.units.get(node).copied() else { break };
            if unit & LABEL != u32::from(*byte) {
                break;
            }
            node ^= offset(unit);
            if (unit >> 8) & 1 == 1 {
                let Some(leaf) = self.units.get(node) else { break };
                let text = self.texts.get((leaf & !(1 << 31)) as usize..);
                found = text.and_then(|text| text.split('\0').next()).map(|text| (at + 1, text));
            }
        }
        found
    }
}

/// The bits of a unit that are the byte it stands for.
const LABEL: u32 = (1 << 31) | 0xFF;

/// From a unit to those of the bytes after it.
fn offset(unit: u32) -> usize {
    ((unit >> 10) << ((unit & (1 << 9)) >> 6)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The trie of the one key "a": unit 0 leads to unit 1 ^ 'a', which has a leaf at that place ^ 1.
    fn one_key() -> Vec<u8> {
        let mut units = vec![0u32; 128];
        units[0] = 1 << 10;
        let at_a = 1 ^ usize::from(b'a');
        units[at_a] = (1 << 10) | (1 << 8) | u32::from(b'a');
        units[at_a ^ 1] = (1 << 31) | 3;
        let mut bytes = (units.len() as u32 * 4).to_le_bytes().to_vec();
        units.iter().for_each(|unit| bytes.extend(unit.to_le_bytes()));
        bytes.extend(b"no\0yes\0");
        bytes
    }

    #[test]
    fn keys_are_replaced_and_all_else_stays() {
        let map = Charsmap::parse("x", &one_key()).expect("parses");
        assert_eq!(map.apply("banána é"), "byesnányes é");
        assert_eq!(map.apply(""), "");
    }

    #[test]
    fn maps_that_a_text_leads_out_of_are_told() {
        let closed = |units: &[u32], texts: &str| {
            Charsmap { units: units.to_vec(), texts: texts.to_string() }.is_closed()
        };
        let units = Charsmap::parse("x", &one_key()).expect("parses").units;
        assert!(!closed(&units, "no\0yes\0"), "not every byte has a unit");
        let mut whole = units;
        whole.resize(256, 0);
        assert!(closed(&whole, "no\0yes\0"));
        assert!(!closed(&whole, "no"), "the text lies behind the end");
        assert!(!closed(&whole, "nné"), "the text begins inside of a character");
        assert!(!closed(&[], ""));
        whole[0] = 1 << 20;
        assert!(!closed(&whole, "no\0yes\0"));
    }

    #[test]
    fn broken_maps_are_errors_or_harmless() {
        let whole = one_key();
        for size in [0, 3, 4, 100, 515] {
            assert!(Charsmap::parse("x", &whole[..size]).is_err());
        }
        for at in (4..whole.len() - 7).step_by(3) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0xFF;
            let map = Charsmap::parse("x", &bytes).expect("any trie parses");
            map.apply("banána é aaa \u{10FFFF}");
        }
    }
}
