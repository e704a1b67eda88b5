// SPDX-License-Identifier: Apache-2.0
//! Folders with vocab.json and merges.txt only: GPT-2, OPT, Qwen2.

use std::path::Path;

use serde_json::Value;
use tokenizers::Tokenizer;
use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::normalizers::NFC;
use tokenizers::tokenizer::AddedToken;

use crate::error::{TextResult, corrupt, reading};
use crate::split_patterns;
use crate::tokenizer::{Parts, Pieces, TextNormalizer, TextTokenizer};
use crate::tokenizer_config::{TokenizerConfig, read_file};
use crate::tokenizer_folder::{bos_eos_frame, roles_of};

pub fn load(folder: &Path, vocab: &[u8], config: &TokenizerConfig) -> TextResult<TextTokenizer> {
    let vocab_name = folder.join("vocab.json").display().to_string();
    let vocab = parse_vocab(&vocab_name, vocab)?;
    let merges_path = folder.join("merges.txt");
    let merges_name = merges_path.display().to_string();
    let merges = read_file(&merges_path)?
        .ok_or_else(|| corrupt(format!("{vocab_name}: there is no merges.txt beside it")))?;
    let merges = parse_merges(&merges_name, &merges, &vocab)?;
    let added = added_tokens(folder, config)?;

    let qwen2 = config.class() == "Qwen2Tokenizer";
    let builder = BPE::builder().vocab_and_merges(vocab, merges);
    let mut inner = Tokenizer::new(reading(&vocab_name, || builder.build())?);
    if qwen2 {
        reading(&vocab_name, || inner.with_normalizer(Some(NFC)).map(|_| ()))?;
        inner.with_pre_tokenizer(Some(split_patterns::by_pattern(split_patterns::QWEN2)?));
    } else {
        let prefix_space = config.flag("add_prefix_space")?.unwrap_or(false);
        inner.with_pre_tokenizer(Some(split_patterns::gpt2(prefix_space)));
    }
    inner.with_decoder(Some(ByteLevel::default()));
    crate::tiktoken::add_numbered_tokens(config.name(), &mut inner, &added)?;
    // Special tokens that no file gives an id follow the vocabulary, as in HF.
    for (_, token) in config.special_tokens()? {
        if !inner.get_added_vocabulary().is_special_token(&token) {
            reading(config.name(), || inner.add_special_tokens([AddedToken::from(token, true)]))?;
        }
    }
    let roles = roles_of(&inner, config)?;
    let add_bos = config.flag("add_bos_token")?.unwrap_or(false);
    let add_eos = config.flag("add_eos_token")?.unwrap_or(false);
    TextTokenizer::new(
        &vocab_name,
        Parts {
            inner,
            normalizer: TextNormalizer::Own,
            recognises_by_default: true,
            frame: Some(bos_eos_frame(roles, add_bos, add_eos)),
            pieces: Some(Pieces::ByteLevel),
            decodes_by_pieces: false,
            roles,
        },
    )
}

fn parse_vocab(name: &str, bytes: &[u8]) -> TextResult<Vocab> {
    let object: serde_json::Map<String, Value> = serde_json::from_slice(bytes)
        .map_err(|error| corrupt(format!("{name}: not a JSON object of token ids: {error}")))?;
    let mut vocab = Vocab::with_capacity(object.len());
    for (token, id) in object {
        let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
        let id =
            id.ok_or_else(|| corrupt(format!("{name}: the id of '{token}' is not a token id")))?;
        vocab.insert(token, id);
    }
    let mut ids: Vec<u32> = vocab.values().copied().collect();
    ids.sort_unstable();
    if let Some(twice) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(corrupt(format!("{name}: two tokens have the id {}", twice[0])));
    }
    Ok(vocab)
}

fn parse_merges(name: &str, bytes: &[u8], vocab: &Vocab) -> TextResult<Merges> {
    let text =
        std::str::from_utf8(bytes).map_err(|_| corrupt(format!("{name}: not valid UTF-8")))?;
    let mut merges = Vec::new();
    for (number, line) in text.split('\n').enumerate() {
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.is_empty() || (number == 0 && line.starts_with("#version")) {
            continue;
        }
        let bad = |what: &str| corrupt(format!("{name}: line {}: {what}", number + 1));
        let (left, right) = line.split_once(' ').ok_or_else(|| bad("not two tokens"))?;
        let known = [left, right, &format!("{left}{right}")].iter().all(|t| vocab.contains_key(*t));
        if !known {
            return Err(bad(&format!("'{line}' has tokens that vocab.json lacks")));
        }
        merges.push((left.to_string(), right.to_string()));
    }
    Ok(merges)
}

/// added_tokens.json (token to id, the older form) and added_tokens_decoder.
fn added_tokens(folder: &Path, config: &TokenizerConfig) -> TextResult<Vec<(u32, AddedToken)>> {
    let mut added = config.added_tokens()?;
    let path = folder.join("added_tokens.json");
    if let Some(bytes) = read_file(&path)? {
        for (token, id) in parse_vocab(&path.display().to_string(), &bytes)? {
            if added.iter().all(|(known, _)| *known != id) {
                added.push((id, AddedToken::from(token, true)));
            }
        }
        added.sort_by_key(|(id, _)| *id);
    }
    Ok(added)
}
