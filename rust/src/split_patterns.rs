// SPDX-License-Identifier: Apache-2.0
//! The pre-tokenizers of byte-level BPE families: how text is cut before merging.

use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;

use crate::error::{TextResult, internal};

/// Qwen 1, Qwen 2 and 3: digits one by one.
pub const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Llama 3, GLM 4: digits in threes.
pub const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Mistral's tekken.
pub const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// o200k: GPT-4o, gpt-oss, Llama 4.
pub const GPT_4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const BLOOM: &str = r" ?[^(\s|[.,!?…。，、।۔،])]+";
const PUNCTUATION_RUNS: &str = r"[\p{P}\$\+<=>\^~\|]+";
const FALCON_PUNCTUATION: &str = r"[\p{P}\$\+<=>\^~\|`]+";
const THREE_DIGITS: &str = "[0-9][0-9][0-9]";
const DEEPSEEK_V3: [&str; 3] = [
    r"\p{N}{1,3}",
    "[一-龥぀-ゟ゠-ヿ]+",
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##,
];

fn split(pattern: &str) -> TextResult<PreTokenizerWrapper> {
    Split::new(SplitPattern::Regex(pattern.to_string()), SplitDelimiterBehavior::Isolated, false)
        .map(Into::into)
        .map_err(|error| internal(format!("pre-tokenizer pattern: {error}")))
}

/// Cuts by each pattern in turn, then maps bytes to characters.
fn by_patterns(patterns: &[&str]) -> TextResult<PreTokenizerWrapper> {
    let mut steps = patterns.iter().map(|p| split(p)).collect::<TextResult<Vec<_>>>()?;
    steps.push(ByteLevel::new(false, true, false).into());
    Ok(Sequence::new(steps).into())
}

/// One pattern, then bytes to characters.
pub fn by_pattern(pattern: &str) -> TextResult<PreTokenizerWrapper> {
    by_patterns(&[pattern])
}

/// GPT-2's own pattern.
pub fn gpt2(add_prefix_space: bool) -> PreTokenizerWrapper {
    ByteLevel::new(add_prefix_space, true, true).into()
}

/// The pre-tokenizer of a GGUF file's `tokenizer.ggml.pre`; None if the name is not known. The names
/// and their patterns are llama.cpp's (llama-vocab.cpp), the forms those of the HF tokenizers.
pub fn of_gguf(pre: &str) -> TextResult<Option<PreTokenizerWrapper>> {
    Ok(Some(match pre {
        "" | "default" => by_patterns(&[PUNCTUATION_RUNS, GPT2, r"\p{N}+", THREE_DIGITS])?,
        "gpt-2" | "phi-2" | "olmo" | "mpt" | "jais" | "dolly" => gpt2(false),
        "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone" | "minerva-7b" => {
            Sequence::new(vec![Digits::new(true).into(), gpt2(false)]).into()
        }
        "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "smaug-bpe" | "dbrx" | "chatglm-bpe"
        | "glm4" | "pixtral" => by_pattern(LLAMA3)?,
        "qwen2" | "stablelm2" | "deepseek-r1-qwen" | "megrez" => by_pattern(QWEN2)?,
        "tekken" => by_pattern(TEKKEN)?,
        "gpt-4o" | "llama4" => by_pattern(GPT_4O)?,
        "deepseek-v3" => by_patterns(&DEEPSEEK_V3)?,
        "falcon" => Sequence::new(vec![
            split(FALCON_PUNCTUATION)?,
            gpt2(false),
            Digits::new(false).into(),
            split(THREE_DIGITS)?,
        ])
        .into(),
        "bloom" | "gpt3-finnish" => by_pattern(BLOOM)?,
        _ => return Ok(None),
    }))
}

/// Families whose merges are not applied to a piece that is a token as a whole.
pub fn ignores_merges(pre: &str) -> bool {
    matches!(
        pre,
        "llama-bpe"
            | "llama3"
            | "llama-v3"
            | "falcon3"
            | "pixtral"
            | "tekken"
            | "smaug-bpe"
            | "gpt-4o"
            | "llama4"
            | "glm4"
            | "chatglm-bpe"
    )
}

/// Families whose published tokenizers bring text into Unicode form NFC first.
pub fn normalizes_nfc(pre: &str) -> bool {
    matches!(pre, "qwen2" | "deepseek-r1-qwen" | "megrez" | "stablelm2")
}
