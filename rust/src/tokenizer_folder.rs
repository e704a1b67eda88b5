// SPDX-License-Identifier: Apache-2.0
//! The tokenizer of a model folder, from whichever files are there.

use std::path::Path;

use serde_json::Value;
use tokenizers::Tokenizer;
use tokenizers::tokenizer::AddedToken;

use crate::charsmap::Charsmap;
use crate::error::{ErrorKind, TextError, TextResult, corrupt, reading, unsupported};
use crate::sentencepiece::ScoredVocabulary;
use crate::sentencepiece_proto::ModelFile;
use crate::split_patterns;
use crate::tiktoken::{self, Family, base64};
use crate::tokenizer::{Parts, Pieces, RoleIds, TextNormalizer, TextTokenizer};
use crate::tokenizer_config::{TokenizerConfig, read_file};
use crate::vocab_json;

pub fn load(folder: &Path) -> TextResult<TextTokenizer> {
    let config = TokenizerConfig::read(folder)?;
    if let Some((name, bytes)) = named(folder, "tokenizer.json")? {
        return from_tokenizer_json(&name, &bytes, &config);
    }
    if let Some((name, bytes)) = named(folder, "tokenizer.model")? {
        if tiktoken::looks_like_ranks(&bytes) {
            return from_glm4_ranks(&name, &bytes, &config);
        }
        return from_sentencepiece(&name, &bytes, &config);
    }
    if let Some((name, bytes)) = named(folder, "ice_text.model")? {
        return from_ice_text(&name, &bytes, &config);
    }
    if let Some((name, bytes)) = rank_file(folder)? {
        return from_qwen_ranks(&name, &bytes);
    }
    if let Some((_, bytes)) = named(folder, "vocab.json")? {
        return vocab_json::load(folder, &bytes, &config);
    }
    Err(TextError {
        kind: ErrorKind::NotFound,
        message: format!(
            "{}: no tokenizer: none of tokenizer.json, tokenizer.model, ice_text.model, *.tiktoken, vocab.json is there",
            folder.display()
        ),
    })
}

fn named(folder: &Path, file: &str) -> TextResult<Option<(String, Vec<u8>)>> {
    let path = folder.join(file);
    Ok(read_file(&path)?.map(|bytes| (path.display().to_string(), bytes)))
}

/// The first *.tiktoken file by name.
fn rank_file(folder: &Path) -> TextResult<Option<(String, Vec<u8>)>> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(None) };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    match names.filter(|name| name.ends_with(".tiktoken")).min() {
        Some(name) => named(folder, &name),
        None => Ok(None),
    }
}

/// Ids of the tokens that the configuration names.
pub fn roles_of(inner: &Tokenizer, config: &TokenizerConfig) -> TextResult<RoleIds> {
    let id = |key: &str| -> TextResult<Option<u32>> {
        Ok(config.token(key)?.and_then(|token| inner.token_to_id(&token)))
    };
    Ok(RoleIds {
        bos: id("bos_token")?,
        eos: id("eos_token")?,
        unk: id("unk_token")?,
        pad: id("pad_token")?,
    })
}

/// What add_bos_token and add_eos_token put around a text.
pub fn bos_eos_frame(roles: RoleIds, add_bos: bool, add_eos: bool) -> (Vec<u32>, Vec<u32>) {
    let before = roles.bos.filter(|_| add_bos);
    let after = roles.eos.filter(|_| add_eos);
    (before.into_iter().collect(), after.into_iter().collect())
}

fn from_tokenizer_json(
    name: &str,
    bytes: &[u8],
    config: &TokenizerConfig,
) -> TextResult<TextTokenizer> {
    let mut inner = reading(name, || Tokenizer::from_bytes(bytes))?;
    check_charsmaps(name, &serde_json::to_value(inner.get_normalizer()).unwrap_or_default())?;
    check_templates(name, &serde_json::to_value(inner.get_post_processor()).unwrap_or_default())?;
    let added: Vec<AddedToken> =
        config.added_tokens()?.into_iter().map(|(_, token)| token).collect();
    if !added.is_empty() {
        reading(config.name(), || inner.add_tokens(added))?;
    }
    let roles = roles_of(&inner, config)?;
    // These classes of HF put the tokens there themselves and overrule the file's post-processor.
    let class = config.class();
    let overrules = matches!(
        class,
        "LlamaTokenizer" | "CodeLlamaTokenizer" | "GemmaTokenizer" | "CohereTokenizer"
    );
    let frame = if overrules {
        let add_bos = config.flag("add_bos_token")?.unwrap_or(true);
        let add_eos = config.flag("add_eos_token")?.unwrap_or(false);
        Some(bos_eos_frame(roles, add_bos, add_eos))
    } else {
        None
    };
    let pieces = pieces_of_decoder(&serde_json::to_value(inner.get_decoder()).unwrap_or_default());
    TextTokenizer::new(
        name,
        Parts {
            inner,
            normalizer: TextNormalizer::Own,
            recognises_by_default: true,
            frame,
            pieces,
            decodes_by_pieces: false,
            roles,
        },
    )
}

/// HF trusts the tables of a normalizer, and would panic over the first text that a bad one leads astray.
fn check_charsmaps(name: &str, normalizer: &Value) -> TextResult<()> {
    if let Some(text) = normalizer.get("precompiled_charsmap").and_then(Value::as_str) {
        let bad = |what: &str| corrupt(format!("{name}: precompiled_charsmap: {what}"));
        let bytes = base64(text).ok_or_else(|| bad("not base64"))?;
        if !Charsmap::parse(name, &bytes)?.is_closed() {
            return Err(bad("the trie leads out of itself"));
        }
    }
    let steps = normalizer.get("normalizers").and_then(Value::as_array);
    steps.into_iter().flatten().try_for_each(|step| check_charsmaps(name, step))
}

/// HF panics over a template for single texts that names a token which its own table lacks.
fn check_templates(name: &str, post_processor: &Value) -> TextResult<()> {
    for piece in post_processor.get("single").and_then(Value::as_array).into_iter().flatten() {
        let Some(token) = piece["SpecialToken"]["id"].as_str() else { continue };
        if post_processor["special_tokens"].get(token).is_none() {
            return Err(corrupt(format!(
                "{name}: post_processor: the template's token '{token}' is not among its special_tokens"
            )));
        }
    }
    let steps = post_processor.get("processors").and_then(Value::as_array);
    steps.into_iter().flatten().try_for_each(|step| check_templates(name, step))
}

/// Recognises the decoders that can be run token by token.
fn pieces_of_decoder(decoder: &Value) -> Option<Pieces> {
    let kind = |step: &Value| step.get("type").and_then(Value::as_str).unwrap_or("").to_string();
    if kind(decoder) == "ByteLevel" {
        return Some(Pieces::ByteLevel);
    }
    let steps = decoder.get("decoders")?.as_array()?;
    let (mut bytes, mut strip_blank, mut replaces) = (false, false, false);
    for step in steps {
        match kind(step).as_str() {
            "Replace"
                if step["pattern"]["String"] == "\u{2581}" && step["content"] == " " && !bytes =>
            {
                replaces = true;
            }
            "ByteFallback" if replaces && !strip_blank => bytes = true,
            "Fuse" if replaces && !strip_blank => {}
            "Strip" if step["content"] == " " && step["start"] == 1 && step["stop"] == 0 => {
                strip_blank = true;
            }
            _ => return None,
        }
    }
    // Without "Fuse" a "Strip" works on every token.
    let fused = steps.iter().any(|step| kind(step) == "Fuse");
    (replaces && (fused || !strip_blank)).then_some(Pieces::SentencePiece {
        bytes,
        strip_blank,
        symbols: false,
    })
}

fn from_sentencepiece(
    name: &str,
    bytes: &[u8],
    config: &TokenizerConfig,
) -> TextResult<TextTokenizer> {
    let file = ModelFile::parse(name, bytes)?;
    let size = file.pieces.len() as u32;
    let id_of = |token: Option<String>, fallback: i64| match token {
        Some(token) => file.pieces.iter().position(|p| p.text == token).map(|id| id as u32),
        None => u32::try_from(fallback).ok().filter(|id| *id < size),
    };
    let mut roles = RoleIds {
        bos: id_of(config.token("bos_token")?, file.bos_id),
        eos: id_of(config.token("eos_token")?, file.eos_id),
        unk: id_of(config.token("unk_token")?, file.unk_id),
        pad: id_of(config.token("pad_token")?, file.pad_id),
    };
    let mut later = config.added_tokens()?;
    later.retain(|(id, _)| *id >= size);
    let frame = if config.class() == "ChatGLMTokenizer" {
        if later.is_empty() {
            later = chatglm_special_tokens(config, size);
        }
        let id = |content: &str| {
            let found = later.iter().find(|(_, token)| token.content == content);
            found.map(|(id, _)| *id).ok_or_else(|| corrupt(format!("{name}: no token '{content}'")))
        };
        roles.bos = Some(id("sop")?);
        (vec![id("[gMASK]")?, id("sop")?], Vec::new())
    } else {
        let by_class = matches!(
            config.class(),
            "" | "LlamaTokenizer"
                | "CodeLlamaTokenizer"
                | "GemmaTokenizer"
                | "InternLMTokenizer"
                | "InternLM2Tokenizer"
        );
        let add_bos = config.flag("add_bos_token")?.unwrap_or(by_class);
        let add_eos = config.flag("add_eos_token")?.unwrap_or(false);
        bos_eos_frame(roles, add_bos, add_eos)
    };
    for ((id, token), expected) in later.iter().zip(size..) {
        if *id != expected {
            return Err(corrupt(format!(
                "{name}: token '{}' has the id {id}; {expected} comes next",
                token.content
            )));
        }
    }
    let later: Vec<AddedToken> = later.into_iter().map(|(_, t)| t.normalized(false)).collect();
    ScoredVocabulary::from_model_file(name, file, false)?.build(name, &later, false, frame, roles)
}

/// ChatGLM2's and ChatGLM3's special tokens, numbered after the vocabulary (tokenization_chatglm.py).
fn chatglm_special_tokens(config: &TokenizerConfig, size: u32) -> Vec<(u32, AddedToken)> {
    const NAMES: [&str; 9] = [
        "[MASK]",
        "[gMASK]",
        "[sMASK]",
        "sop",
        "eop",
        "<|system|>",
        "<|user|>",
        "<|assistant|>",
        "<|observation|>",
    ];
    let second = config.text("name_or_path").is_some_and(|name| name.contains("chatglm2"));
    let names = &NAMES[..if second { 5 } else { 9 }];
    (size..).zip(names).map(|(id, name)| (id, AddedToken::from(*name, true))).collect()
}

/// ChatGLM-6B: every text ends with [gMASK] and the begin token (tokenization_chatglm.py).
fn from_ice_text(name: &str, bytes: &[u8], config: &TokenizerConfig) -> TextResult<TextTokenizer> {
    let images = config.get("num_image_tokens").and_then(Value::as_i64).unwrap_or(0);
    if images != 0 {
        return Err(unsupported(format!(
            "{}: num_image_tokens is {images}; only the later files, with 0, are supported",
            config.name()
        )));
    }
    let file = ModelFile::parse(name, bytes)?;
    let id = |key: &str, default: &str| -> TextResult<u32> {
        let token = config.token(key)?.unwrap_or_else(|| default.to_string());
        let found = file.pieces.iter().position(|piece| piece.text == token);
        found
            .map(|id| id as u32)
            .ok_or_else(|| corrupt(format!("{name}: no piece '{token}' ({key})")))
    };
    let roles = RoleIds {
        bos: Some(id("bos_token", "<sop>")?),
        eos: Some(id("eos_token", "<eop>")?),
        unk: Some(id("unk_token", "<unk>")?),
        pad: Some(id("pad_token", "<pad>")?),
    };
    let after = vec![id("gmask_token", "[gMASK]")?, id("bos_token", "<sop>")?];
    ScoredVocabulary::from_model_file(name, file, true)?.build(
        name,
        &[],
        false,
        (Vec::new(), after),
        roles,
    )
}

fn from_qwen_ranks(name: &str, bytes: &[u8]) -> TextResult<TextTokenizer> {
    let ranks = tiktoken::parse_ranks(name, bytes)?;
    let family = Family {
        pattern: split_patterns::QWEN2,
        nfc: true,
        special: tiktoken::qwen_special_tokens(ranks.len() as u32),
        prefix: Vec::new(),
        eos: Some("<|endoftext|>"),
    };
    tiktoken::build(name, &ranks, &family)
}

/// GLM 4's tokenizer.model; its special tokens are those of tokenizer_config.json.
fn from_glm4_ranks(
    name: &str,
    bytes: &[u8],
    config: &TokenizerConfig,
) -> TextResult<TextTokenizer> {
    if config.class() != "ChatGLM4Tokenizer" {
        return Err(unsupported(format!(
            "{name}: tiktoken ranks with the tokenizer class '{}'; ChatGLM4Tokenizer is supported (or a tokenizer.json)",
            config.class()
        )));
    }
    let ranks = tiktoken::parse_ranks(name, bytes)?;
    let family = Family {
        pattern: split_patterns::LLAMA3,
        nfc: false,
        special: config.added_tokens()?,
        prefix: vec!["[gMASK]", "<sop>"],
        eos: Some("<|endoftext|>"),
    };
    tiktoken::build(name, &ranks, &family)
}
