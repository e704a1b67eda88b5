// SPDX-License-Identifier: Apache-2.0
//! A loaded tokenizer, wherever it came from: the one type behind the C interface.

use tokenizers::Tokenizer;
use tokenizers::tokenizer::{
    AddedVocabulary, Model, NormalizedString, Normalizer, OffsetType, PreTokenizer,
};

use crate::byte_level;
use crate::error::{TextResult, corrupt, internal, invalid};
use crate::sentencepiece::SentencePieceNormalizer;

/// What becomes of text that spells a special token, such as "</s>" in a user's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpecialInText {
    /// What the reference implementation does: HF's tokenizer.json and tiktoken files recognise it,
    /// SentencePiece does not.
    Default,
    /// It is the token: for text that a chat template made.
    Recognise,
    /// It is text like any other: for text of which nothing is known.
    Ignore,
}

/// How the bytes of a token are found, for the decoders that work token by token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pieces {
    /// Characters stand for bytes.
    ByteLevel,
    /// U+2581 is a blank, <0x41> is a byte if `bytes`; one blank at the start of the text goes if
    /// `strip_blank`. `symbols` are ChatGLM's names of newline, tab and runs of blanks.
    SentencePiece { bytes: bool, strip_blank: bool, symbols: bool },
}

/// The text before the tokens of the vocabulary are looked for.
pub enum TextNormalizer {
    /// The tokenizer's own.
    Own,
    SentencePiece(SentencePieceNormalizer),
}

/// Ids of the tokens with a role, where the model has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoleIds {
    pub bos: Option<u32>,
    pub eos: Option<u32>,
    pub unk: Option<u32>,
    pub pad: Option<u32>,
}

/// Immutable once built; shared by threads.
pub struct TextTokenizer {
    inner: Tokenizer,
    normalizer: TextNormalizer,
    recognising: AddedVocabulary,
    ignoring: AddedVocabulary,
    recognises_by_default: bool,
    /// Ids put around a text with `add_special`; None leaves it to the post-processor.
    frame: Option<(Vec<u32>, Vec<u32>)>,
    pieces: Option<Pieces>,
    /// The decoder takes "<0x41>" for a byte.
    has_byte_tokens: bool,
    /// decode() works by pieces; otherwise by the decoder of the `tokenizers` crate.
    decodes_by_pieces: bool,
    roles: RoleIds,
    vocab_size: u32,
}

/// What a source of tokenizers knows beyond the parts of `inner`.
pub struct Parts {
    pub inner: Tokenizer,
    pub normalizer: TextNormalizer,
    pub recognises_by_default: bool,
    pub frame: Option<(Vec<u32>, Vec<u32>)>,
    pub pieces: Option<Pieces>,
    pub decodes_by_pieces: bool,
    pub roles: RoleIds,
}

struct Normalizing<'a>(&'a TextTokenizer);

impl Normalizer for Normalizing<'_> {
    fn normalize(&self, text: &mut NormalizedString) -> tokenizers::Result<()> {
        match (&self.0.normalizer, self.0.inner.get_normalizer()) {
            (TextNormalizer::SentencePiece(normalizer), _) => {
                // Nothing here uses offsets into the original text.
                *text = NormalizedString::from(normalizer.apply(text.get()));
                Ok(())
            }
            (TextNormalizer::Own, Some(normalizer)) => normalizer.normalize(text),
            (TextNormalizer::Own, None) => Ok(()),
        }
    }
}

impl TextTokenizer {
    /// `name` is the file or source that errors speak of.
    pub fn new(name: &str, parts: Parts) -> TextResult<Self> {
        let mut inner = parts.inner;
        // Texts are encoded whole; cutting and padding are the engine's business.
        inner.with_truncation(None).map_err(|error| corrupt(format!("{name}: {error}")))?;
        inner.with_padding(None);
        let largest = inner.get_vocab(true).values().copied().max();
        let largest = largest.ok_or_else(|| corrupt(format!("{name}: the vocabulary is empty")))?;
        if largest >= i32::MAX as u32 {
            return Err(corrupt(format!("{name}: token id {largest} is too large")));
        }
        let decoder = serde_json::to_value(inner.get_decoder()).unwrap_or_default();
        let mut recognising = inner.get_added_vocabulary().clone();
        recognising.set_encode_special_tokens(false);
        let mut ignoring = recognising.clone();
        ignoring.set_encode_special_tokens(true);
        Ok(TextTokenizer {
            inner,
            normalizer: parts.normalizer,
            recognising,
            ignoring,
            recognises_by_default: parts.recognises_by_default,
            frame: parts.frame,
            pieces: parts.pieces,
            has_byte_tokens: has_step(&decoder, "ByteFallback"),
            decodes_by_pieces: parts.decodes_by_pieces,
            roles: parts.roles,
            vocab_size: largest + 1,
        })
    }

    pub fn encode(
        &self,
        text: &str,
        add_special: bool,
        special_in_text: SpecialInText,
    ) -> TextResult<Vec<u32>> {
        let failed = |error| invalid(format!("the text cannot be tokenised: {error}"));
        let recognise = match special_in_text {
            SpecialInText::Default => self.recognises_by_default,
            SpecialInText::Recognise => true,
            SpecialInText::Ignore => false,
        };
        let added = if recognise { &self.recognising } else { &self.ignoring };
        let mut split = added.extract_and_normalize(Some(&Normalizing(self)), text);
        if let Some(pre_tokenizer) = self.inner.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut split).map_err(failed)?;
        }
        let model = self.inner.get_model();
        split.tokenize(|part| model.tokenize(part.get())).map_err(failed)?;
        let encoding = split.into_encoding(None, 0, OffsetType::None).map_err(failed)?;
        match &self.frame {
            Some((before, after)) if add_special => {
                Ok([before.as_slice(), encoding.get_ids(), after.as_slice()].concat())
            }
            Some(_) => Ok(encoding.get_ids().to_vec()),
            None => {
                let encoding =
                    self.inner.post_process(encoding, None, add_special).map_err(failed)?;
                Ok(encoding.get_ids().to_vec())
            }
        }
    }

    /// Ids without a token (models pad their vocabularies) stand for nothing, as in HF.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> TextResult<String> {
        if self.decodes_by_pieces {
            let mut stream = crate::stream_decoder::StreamDecoder::new(self, skip_special);
            let mut text = String::new();
            for id in ids {
                text.push_str(&stream.push(self, *id)?);
            }
            text.push_str(&stream.flush(self)?);
            return Ok(text);
        }
        self.decode_by_library(ids, skip_special)
    }

    pub fn decode_by_library(&self, ids: &[u32], skip_special: bool) -> TextResult<String> {
        self.inner
            .decode(ids, skip_special)
            .map_err(|error| internal(format!("the tokens cannot be decoded: {error}")))
    }

    pub fn pieces(&self) -> Option<Pieces> {
        self.pieces
    }

    /// The bytes a token adds to the text; empty for an id without a token. `pieces` as in `pieces()`.
    pub fn piece_bytes(&self, pieces: Pieces, id: u32) -> Piece {
        // As HF's decoders see it: of an added token the form it has after normalisation.
        let Some(token) = self
            .recognising
            .simple_id_to_token(id)
            .or_else(|| self.inner.get_model().id_to_token(id))
        else {
            return Piece::Text(Vec::new());
        };
        match pieces {
            Pieces::ByteLevel => Piece::Text(byte_level::decode(&token)),
            Pieces::SentencePiece { bytes, symbols, .. } => {
                if let Some(byte) = byte_piece(&token).filter(|_| bytes) {
                    return Piece::Byte(byte);
                }
                let symbol = crate::sentencepiece::chatglm_symbol_text(&token);
                if let Some(text) = symbol.filter(|_| symbols) {
                    return Piece::Text(text.into_bytes());
                }
                Piece::Text(token.replace('\u{2581}', " ").into_bytes())
            }
        }
    }

    /// What a token adds to a text that others come before, as bytes: it may be a part of a character.
    pub fn token_bytes(&self, id: u32) -> TextResult<Vec<u8>> {
        let added = self.recognising.get_added_tokens_decoder().get(&id);
        match (added, self.pieces) {
            (Some(token), _) => Ok(token.content.clone().into_bytes()),
            (None, Some(pieces)) => Ok(match self.piece_bytes(pieces, id) {
                Piece::Byte(byte) => vec![byte],
                Piece::Text(bytes) => bytes,
            }),
            // On its own a part of a character would become U+FFFD.
            (None, None) => match self.byte_of(id) {
                Some(byte) => Ok(vec![byte]),
                None => Ok(self.decode_by_library(&[id], false)?.into_bytes()),
            },
        }
    }

    fn byte_of(&self, id: u32) -> Option<u8> {
        let token = self.inner.get_model().id_to_token(id).filter(|_| self.has_byte_tokens)?;
        byte_piece(&token)
    }

    pub fn is_special(&self, id: u32) -> bool {
        self.recognising.get_added_tokens_decoder().get(&id).is_some_and(|token| token.special)
    }

    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    pub fn token(&self, id: u32) -> Option<String> {
        let added = self.recognising.get_added_tokens_decoder().get(&id);
        added.map(|token| token.content.clone()).or_else(|| self.inner.get_model().id_to_token(id))
    }

    /// One more than the largest id.
    pub fn vocab_size(&self) -> u32 {
        self.vocab_size
    }

    pub fn roles(&self) -> RoleIds {
        self.roles
    }
}

/// Whether a decoder, or a step of it, is of this type.
fn has_step(decoder: &serde_json::Value, kind: &str) -> bool {
    let steps = decoder.get("decoders").and_then(serde_json::Value::as_array);
    decoder["type"] == kind || steps.into_iter().flatten().any(|step| has_step(step, kind))
}

/// What a token adds to the text.
pub enum Piece {
    Text(Vec<u8>),
    /// One byte of a character spelt in bytes.
    Byte(u8),
}

/// The byte of "<0x41>".
pub fn byte_piece(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() != 2 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    u8::from_str_radix(digits, 16).ok()
}
