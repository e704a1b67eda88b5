// SPDX-License-Identifier: Apache-2.0
//! tiktoken rank files (Qwen 1, GLM 4, Llama 3's original form): lines of base64 bytes and a rank.

use std::collections::HashMap;

use tokenizers::Tokenizer;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::NFC;
use tokenizers::tokenizer::AddedToken;

use crate::byte_level;
use crate::error::{TextResult, corrupt, reading};
use crate::merges::merges_of_ranked;
use crate::split_patterns;
use crate::tokenizer::{Parts, Pieces, RoleIds, TextNormalizer, TextTokenizer};

/// Whether a tokenizer.model is such a file rather than SentencePiece's: SentencePiece files start
/// with a byte below the printable ones.
pub fn looks_like_ranks(bytes: &[u8]) -> bool {
    let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
    line.is_ascii()
        && line.contains(&b' ')
        && line.iter().all(|b| (0x20..0x7F).contains(b) || *b == b'\r')
}

/// What differs between the models that use rank files.
pub struct Family<'a> {
    pub pattern: &'a str,
    pub nfc: bool,
    /// Special tokens with their ids; ids follow the last rank without a gap.
    pub special: Vec<(u32, AddedToken)>,
    /// Tokens put before every text.
    pub prefix: Vec<&'a str>,
    pub eos: Option<&'a str>,
}

/// Qwen 1's special tokens, numbered after the last rank (tokenization_qwen.py).
pub fn qwen_special_tokens(ranks: u32) -> Vec<(u32, AddedToken)> {
    let fixed = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"].map(str::to_string);
    let extra = (0..205).map(|i| format!("<|extra_{i}|>"));
    let names = fixed.into_iter().chain(extra);
    names.zip(ranks..).map(|(name, id)| (id, AddedToken::from(name, true))).collect()
}

/// The tokens in the order of their ranks, which are 0, 1, 2 and so on.
pub fn parse_ranks(name: &str, bytes: &[u8]) -> TextResult<Vec<Vec<u8>>> {
    let text =
        std::str::from_utf8(bytes).map_err(|_| corrupt(format!("{name}: not ASCII text")))?;
    let mut tokens = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
        let bad = |what: &str| corrupt(format!("{name}: line {}: {what}", number + 1));
        let (token, rank) = line.split_once(' ').ok_or_else(|| bad("not a token and a rank"))?;
        let rank: usize = rank.trim().parse().map_err(|_| bad("the rank is not a number"))?;
        if rank != tokens.len() {
            return Err(bad(&format!("rank {rank} where {} is expected", tokens.len())));
        }
        tokens.push(base64(token).ok_or_else(|| bad("the token is not base64"))?);
    }
    if tokens.is_empty() {
        return Err(corrupt(format!("{name}: no tokens")));
    }
    Ok(tokens)
}

pub fn build(name: &str, ranks: &[Vec<u8>], family: &Family) -> TextResult<TextTokenizer> {
    let texts: Vec<String> = ranks.iter().map(|bytes| byte_level::encode(bytes)).collect();
    let ranked: Vec<(&str, u32)> = texts.iter().map(String::as_str).zip(0..).collect();
    let mut vocab = Vocab::with_capacity(ranked.len());
    for (text, id) in &ranked {
        if text.is_empty() || vocab.insert(text.to_string(), *id).is_some() {
            return Err(corrupt(format!(
                "{name}: the token of rank {id} is empty or appears twice"
            )));
        }
    }
    for byte in 0..=255u8 {
        if !vocab.contains_key(&byte_level::encode(&[byte])) {
            return Err(corrupt(format!("{name}: no token for the byte {byte}")));
        }
    }
    let merges = merges_of_ranked(&ranked);
    let builder = BPE::builder().vocab_and_merges(vocab, merges).ignore_merges(true);
    let mut inner = Tokenizer::new(reading(name, || builder.build())?);
    if family.nfc {
        reading(name, || inner.with_normalizer(Some(NFC)).map(|_| ()))?;
    }
    inner.with_pre_tokenizer(Some(split_patterns::by_pattern(family.pattern)?));
    add_numbered_tokens(name, &mut inner, &family.special)?;
    let ids: HashMap<&str, u32> =
        family.special.iter().map(|(id, token)| (token.content.as_str(), *id)).collect();
    let prefix: Option<Vec<u32>> =
        family.prefix.iter().map(|token| ids.get(token).copied()).collect();
    let prefix = prefix
        .ok_or_else(|| corrupt(format!("{name}: a token of {:?} is missing", family.prefix)))?;
    let eos = family.eos.and_then(|token| ids.get(token).copied());
    TextTokenizer::new(
        name,
        Parts {
            inner,
            normalizer: TextNormalizer::Own,
            recognises_by_default: true,
            frame: Some((prefix, Vec::new())),
            pieces: Some(Pieces::ByteLevel),
            decodes_by_pieces: true,
            roles: RoleIds { eos, pad: eos, ..RoleIds::default() },
        },
    )
}

/// Adds tokens and makes sure that each has got the id the model was trained with.
pub fn add_numbered_tokens(
    name: &str,
    inner: &mut Tokenizer,
    tokens: &[(u32, AddedToken)],
) -> TextResult<()> {
    reading(name, || inner.add_tokens(tokens.iter().map(|(_, token)| token.clone())))?;
    for (id, token) in tokens {
        let got = inner.token_to_id(&token.content);
        if got != Some(*id) {
            return Err(corrupt(format!(
                "{name}: token '{}' is to have the id {id}, but the vocabulary makes it {got:?}",
                token.content
            )));
        }
    }
    Ok(())
}

/// Standard base64 with padding.
pub fn base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    if text.len() % 4 != 0 || text.len() - digits.len() > 2 {
        return None;
    }
    let (mut bits, mut count, mut bytes) = (0u32, 0, Vec::with_capacity(text.len() / 4 * 3));
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_decoded() {
        assert_eq!(base64("AA==").as_deref(), Some(&[0u8][..]));
        assert_eq!(base64("IHRoZQ==").as_deref(), Some(&b" the"[..]));
        assert_eq!(base64("5L2g").as_deref(), Some("你".as_bytes()));
        assert!(base64("A").is_none() && base64("A*==").is_none() && base64("A===").is_none());
    }

    #[test]
    fn ranks_must_count_up_from_zero() {
        assert!(parse_ranks("x", b"QQ== 0\nQg== 1\n").is_ok());
        let error = parse_ranks("x", b"QQ== 0\nQg== 2\n").expect_err("gap");
        assert!(error.message.contains("line 2"), "{}", error.message);
        assert!(parse_ranks("x", b"").is_err());
    }
}
