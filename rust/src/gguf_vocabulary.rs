// SPDX-License-Identifier: Apache-2.0
//! The vocabulary in the metadata of a GGUF file as a tokenizer.

use std::collections::HashSet;

use tokenizers::Tokenizer;
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::normalizers::NFC;
use tokenizers::tokenizer::AddedToken;

use crate::error::{TextResult, corrupt, invalid, reading, unsupported};
use crate::sentencepiece::ScoredVocabulary;
use crate::sentencepiece_proto::{PieceType, SentencePiece};
use crate::split_patterns;
use crate::tokenizer::{Parts, Pieces, RoleIds, TextNormalizer, TextTokenizer};
use crate::tokenizer_folder::bos_eos_frame;

/// The keys tokenizer.ggml.* of one file.
pub struct GgufVocabulary {
    /// The file, for messages.
    pub name: String,
    pub model: String,
    pub pre: String,
    pub tokens: Vec<String>,
    /// One for each token, or empty.
    pub scores: Vec<f32>,
    /// One for each token, or empty: all normal.
    pub token_types: Vec<i32>,
    /// "left right" each.
    pub merges: Vec<String>,
    pub roles: RoleIds,
    pub add_bos: Option<bool>,
    pub add_eos: Option<bool>,
    pub add_space_prefix: Option<bool>,
}

pub fn build(vocabulary: GgufVocabulary) -> TextResult<TextTokenizer> {
    let name = &vocabulary.name;
    let count = vocabulary.tokens.len();
    if count == 0 {
        return Err(corrupt(format!("{name}: tokenizer.ggml.tokens is empty")));
    }
    for (key, size) in [
        ("tokenizer.ggml.scores", vocabulary.scores.len()),
        ("tokenizer.ggml.token_type", vocabulary.token_types.len()),
    ] {
        if size != 0 && size != count {
            return Err(corrupt(format!(
                "{name}: {key} has {size} elements, there are {count} tokens"
            )));
        }
    }
    let RoleIds { bos, eos, unk, pad } = vocabulary.roles;
    for (role, id) in [("bos", bos), ("eos", eos), ("unknown", unk), ("padding", pad)] {
        if id.is_some_and(|id| id as usize >= count) {
            return Err(corrupt(format!(
                "{name}: tokenizer.ggml.{role}_token_id is {}, there are {count} tokens",
                id.unwrap_or_default()
            )));
        }
    }
    let kinds = token_types(&vocabulary)?;
    match vocabulary.model.as_str() {
        "gpt2" => byte_level(vocabulary, &kinds),
        "llama" => sentencepiece(vocabulary, &kinds),
        other => Err(unsupported(format!(
            "{name}: tokenizer.ggml.model is '{other}'; 'gpt2' and 'llama' are supported"
        ))),
    }
}

fn token_types(vocabulary: &GgufVocabulary) -> TextResult<Vec<PieceType>> {
    if vocabulary.token_types.is_empty() {
        return Ok(vec![PieceType::Normal; vocabulary.tokens.len()]);
    }
    let types = vocabulary.token_types.iter().zip(0..).map(|(number, id)| {
        PieceType::from_number(i64::from(*number))
            .ok_or_else(|| corrupt(format!("{}: token {id} has type {number}", vocabulary.name)))
    });
    types.collect()
}

/// GPT-2's kind: characters stand for bytes, merges in order.
fn byte_level(vocabulary: GgufVocabulary, kinds: &[PieceType]) -> TextResult<TextTokenizer> {
    let name = vocabulary.name.as_str();
    let pre = vocabulary.pre.as_str();
    let Some(pre_tokenizer) = split_patterns::of_gguf(pre)? else {
        return Err(unsupported(format!(
            "{name}: tokenizer.ggml.pre is '{pre}', which is not known"
        )));
    };
    let mut vocab = Vocab::with_capacity(vocabulary.tokens.len());
    for (token, id) in vocabulary.tokens.iter().zip(0u32..) {
        if token.is_empty() || vocab.insert(token.clone(), id).is_some() {
            return Err(corrupt(format!(
                "{name}: token {id} ('{token}') is empty or appears twice"
            )));
        }
    }
    let mut merges: Merges = Vec::with_capacity(vocabulary.merges.len());
    for (index, merge) in vocabulary.merges.iter().enumerate() {
        // A token may start with a blank's own character, but never holds a blank.
        let parts = merge.split_once(' ').filter(|(left, right)| {
            [*left, *right, &format!("{left}{right}")]
                .iter()
                .all(|token| vocab.contains_key(*token))
        });
        let (left, right) = parts.ok_or_else(|| {
            corrupt(format!(
                "{name}: merge {index} ('{merge}') does not join two tokens to a third"
            ))
        })?;
        merges.push((left.to_string(), right.to_string()));
    }
    let builder = BPE::builder()
        .vocab_and_merges(vocab, merges)
        .ignore_merges(split_patterns::ignores_merges(pre));
    let mut inner = Tokenizer::new(reading(name, || builder.build())?);
    if split_patterns::normalizes_nfc(pre) {
        reading(name, || inner.with_normalizer(Some(NFC)).map(|_| ()))?;
    }
    inner.with_pre_tokenizer(Some(pre_tokenizer));
    let added = vocabulary.tokens.iter().zip(kinds).filter_map(|(token, kind)| match kind {
        PieceType::Control | PieceType::Unknown => Some(AddedToken::from(token, true)),
        PieceType::UserDefined => Some(AddedToken::from(token, false).normalized(false)),
        _ => None,
    });
    let added: Vec<AddedToken> = added.collect();
    reading(name, || inner.add_tokens(added))?;
    let add_bos = vocabulary.add_bos.unwrap_or(matches!(pre, "llama-bpe" | "llama3" | "tekken"));
    let frame = bos_eos_frame(vocabulary.roles, add_bos, vocabulary.add_eos.unwrap_or(false));
    TextTokenizer::new(
        name,
        Parts {
            inner,
            normalizer: TextNormalizer::Own,
            recognises_by_default: true,
            frame: Some(frame),
            pieces: Some(Pieces::ByteLevel),
            decodes_by_pieces: true,
            roles: vocabulary.roles,
        },
    )
}

/// Llama's kind: SentencePiece BPE, the score of a token says how early it is made.
fn sentencepiece(vocabulary: GgufVocabulary, kinds: &[PieceType]) -> TextResult<TextTokenizer> {
    let name = vocabulary.name.as_str();
    if vocabulary.scores.is_empty() {
        return Err(corrupt(format!("{name}: tokenizer.ggml.scores is missing")));
    }
    let mut seen = HashSet::new();
    let mut pieces = Vec::with_capacity(vocabulary.tokens.len());
    for (id, token) in vocabulary.tokens.iter().enumerate() {
        let score = vocabulary.scores[id];
        if score.is_nan() {
            return Err(corrupt(format!("{name}: the score of token {id} is not a number")));
        }
        let mut text = token.clone();
        if !seen.insert(token.as_str()) || text.is_empty() {
            // Padding up to a round number of tokens; nothing in a text is it.
            if kinds[id] == PieceType::Normal {
                return Err(corrupt(format!(
                    "{name}: token {id} ('{token}') is empty or appears twice"
                )));
            }
            text = format!("[unused token {id}]");
        }
        pieces.push(SentencePiece { text, score, kind: kinds[id] });
    }
    let frame = bos_eos_frame(
        vocabulary.roles,
        vocabulary.add_bos.unwrap_or(true),
        vocabulary.add_eos.unwrap_or(false),
    );
    let space_prefix = vocabulary.add_space_prefix.unwrap_or(true);
    ScoredVocabulary::from_gguf(pieces, vocabulary.roles.unk, space_prefix).build(
        name,
        &[],
        true,
        frame,
        vocabulary.roles,
    )
}

/// Texts stored end to end; text i is bytes[offsets[i] .. offsets[i + 1]].
pub fn split_texts(what: &str, bytes: &[u8], offsets: &[u64]) -> TextResult<Vec<String>> {
    let texts = offsets.windows(2).enumerate().map(|(index, bounds)| {
        let range = usize::try_from(bounds[0]).ok().zip(usize::try_from(bounds[1]).ok());
        let text = range.and_then(|(from, to)| bytes.get(from..to));
        let text = text.ok_or_else(|| invalid(format!("{what} {index}: bad offsets")))?;
        let text = std::str::from_utf8(text)
            .map_err(|_| corrupt(format!("{what} {index} is not valid UTF-8")))?;
        Ok(text.to_string())
    });
    texts.collect()
}
