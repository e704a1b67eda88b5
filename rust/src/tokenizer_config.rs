// SPDX-License-Identifier: Apache-2.0
//! tokenizer_config.json and special_tokens_map.json: what they add to a tokenizer.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value};
use tokenizers::tokenizer::AddedToken;

use crate::error::{ErrorKind, TextError, TextResult, corrupt};

/// Largest file that is read; published tokenizer.json files reach some 35 MB.
const MAX_FILE_BYTES: u64 = 512 << 20;

/// The file's bytes, or None if there is no such file.
pub fn read_file(path: &Path) -> TextResult<Option<Vec<u8>>> {
    let failed = |error: std::io::Error| TextError {
        kind: ErrorKind::Io,
        message: format!("{}: {error}", path.display()),
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(corrupt(format!("{}: larger than {MAX_FILE_BYTES} bytes", path.display())));
    }
    Ok(Some(bytes))
}

/// The JSON object in a file; empty if there is no such file.
fn read_object(path: &Path) -> TextResult<Map<String, Value>> {
    let Some(bytes) = read_file(path)? else { return Ok(Map::new()) };
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(corrupt(format!("{}: not a JSON object", path.display()))),
        Err(error) => Err(corrupt(format!("{}: not valid JSON: {error}", path.display()))),
    }
}

pub struct TokenizerConfig {
    /// The path, for messages.
    name: String,
    object: Map<String, Value>,
}

/// The keys of one token each, in the order in which HF adds them.
const TOKEN_KEYS: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

impl TokenizerConfig {
    /// Of a folder that may lack the file; special tokens it does not name come from
    /// special_tokens_map.json.
    pub fn read(folder: &Path) -> TextResult<Self> {
        let path = folder.join("tokenizer_config.json");
        let mut object = read_object(&path)?;
        for (key, value) in read_object(&folder.join("special_tokens_map.json"))? {
            object.entry(key).or_insert(value);
        }
        Ok(TokenizerConfig { name: path.display().to_string(), object })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn get(&self, key: &str) -> Option<&Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    pub fn flag(&self, key: &str) -> TextResult<Option<bool>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(other) => {
                Err(corrupt(format!("{}: {key} is {other}, not true or false", self.name)))
            }
        }
    }

    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }

    /// tokenizer_class without the "Fast" of HF's Rust-backed twins; "" if not given.
    pub fn class(&self) -> &str {
        let class = self.text("tokenizer_class").unwrap_or_default();
        class.strip_suffix("Fast").unwrap_or(class)
    }

    /// bos_token and the like: a string, or an object with "content".
    pub fn token(&self, key: &str) -> TextResult<Option<String>> {
        self.get(key).map(|value| self.token_text(key, value)).transpose()
    }

    fn token_text(&self, key: &str, value: &Value) -> TextResult<String> {
        let text = value.as_str().or_else(|| value.get("content")?.as_str());
        text.map(str::to_string)
            .ok_or_else(|| corrupt(format!("{}: {key} is neither a string nor a token", self.name)))
    }

    /// Every named special token, in HF's order, with its key ("additional_special_tokens" last).
    pub fn special_tokens(&self) -> TextResult<Vec<(&'static str, String)>> {
        let mut tokens = Vec::new();
        for key in TOKEN_KEYS {
            if let Some(token) = self.token(key)? {
                tokens.push((key, token));
            }
        }
        const ADDITIONAL: &str = "additional_special_tokens";
        match self.get(ADDITIONAL) {
            None => {}
            Some(Value::Array(list)) => {
                for value in list {
                    tokens.push((ADDITIONAL, self.token_text(ADDITIONAL, value)?));
                }
            }
            Some(_) => return Err(corrupt(format!("{}: {ADDITIONAL} is not a list", self.name))),
        }
        Ok(tokens)
    }

    /// added_tokens_decoder, by ascending id.
    pub fn added_tokens(&self) -> TextResult<Vec<(u32, AddedToken)>> {
        let bad = |what: String| corrupt(format!("{}: added_tokens_decoder: {what}", self.name));
        let Some(value) = self.get("added_tokens_decoder") else { return Ok(Vec::new()) };
        let object = value.as_object().ok_or_else(|| bad("not an object".to_string()))?;
        let mut tokens = Vec::with_capacity(object.len());
        for (id, value) in object {
            let id: u32 = id.parse().map_err(|_| bad(format!("'{id}' is not a token id")))?;
            let content = value.get("content").and_then(Value::as_str);
            let content = content.ok_or_else(|| bad(format!("token {id} has no content")))?;
            let flag = |key: &str| value.get(key).and_then(Value::as_bool);
            let special = flag("special").unwrap_or(false);
            tokens.push((
                id,
                AddedToken::from(content, special)
                    .single_word(flag("single_word").unwrap_or(false))
                    .lstrip(flag("lstrip").unwrap_or(false))
                    .rstrip(flag("rstrip").unwrap_or(false))
                    .normalized(flag("normalized").unwrap_or(!special)),
            ));
        }
        tokens.sort_by_key(|(id, _)| *id);
        Ok(tokens)
    }
}
