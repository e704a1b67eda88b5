// SPDX-License-Identifier: Apache-2.0
//! GPT-2's map from bytes to printable characters, which byte-level vocabularies are written in.

use std::sync::LazyLock;

static CHARS: LazyLock<[char; 256]> = LazyLock::new(|| {
    let mut next = 0x100;
    std::array::from_fn(|byte| match byte {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => char::from(byte as u8),
        _ => {
            next += 1;
            char::from_u32(next - 1).expect("below 0x200")
        }
    })
});

static BYTES: LazyLock<Vec<Option<u8>>> = LazyLock::new(|| {
    let mut bytes = vec![None; 0x200];
    for (byte, c) in CHARS.iter().enumerate() {
        bytes[*c as usize] = Some(byte as u8);
    }
    bytes
});

/// The token text of a byte sequence.
pub fn encode(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| CHARS[*byte as usize]).collect()
}

/// The bytes of a token text. A text with any other character (an added token) stands for itself.
pub fn decode(token: &str) -> Vec<u8> {
    let bytes: Option<Vec<u8>> =
        token.chars().map(|c| BYTES.get(c as usize).copied().flatten()).collect();
    bytes.unwrap_or_else(|| token.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&encode(&bytes)), bytes);
        assert_eq!(encode(b" a\n"), "\u{120}a\u{10A}");
    }

    #[test]
    fn the_alphabet_is_the_one_of_the_tokenizers_crate() {
        let theirs = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
        assert_eq!(theirs.len(), 256);
        assert!(CHARS.iter().all(|c| theirs.contains(c)));
    }

    #[test]
    fn text_outside_the_alphabet_stands_for_itself() {
        assert_eq!(decode("a b"), b"a b");
        assert_eq!(decode("你"), "你".as_bytes());
    }
}
