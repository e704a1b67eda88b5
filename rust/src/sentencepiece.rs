// SPDX-License-Identifier: Apache-2.0
//! SentencePiece vocabularies (tokenizer.model, ice_text.model, GGUF "llama") as models of the
//! `tokenizers` crate. What SentencePiece does to a text before it looks for pieces is done here.

use std::collections::HashSet;

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::models::unigram::Unigram;
use tokenizers::tokenizer::AddedToken;
use tokenizers::{ModelWrapper, Tokenizer};

use crate::charsmap::Charsmap;
use crate::error::{TextResult, corrupt, reading, unsupported};
use crate::merges::merges_of_ranked;
use crate::sentencepiece_proto::{ModelFile, ModelType, PieceType, SentencePiece};
use crate::tokenizer::{Parts, Pieces, RoleIds, TextNormalizer, TextTokenizer, byte_piece};

/// Below every path that uses other pieces only; finite, so that sums stay comparable.
const NEVER: f64 = -1e30;
const CHATGLM_MAX_BLANKS: usize = 80;

/// The normalizer_spec of a model, and what ChatGLM-6B does before it.
pub struct SentencePieceNormalizer {
    charsmap: Option<Charsmap>,
    remove_extra_whitespaces: bool,
    add_dummy_prefix: bool,
    escape_whitespaces: bool,
    chatglm_symbols: bool,
}

impl SentencePieceNormalizer {
    pub fn apply(&self, text: &str) -> String {
        let mut text =
            if self.chatglm_symbols { with_chatglm_symbols(text) } else { text.to_string() };
        if let Some(charsmap) = &self.charsmap {
            text = charsmap.apply(&text);
        }
        if self.remove_extra_whitespaces {
            text = text.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        }
        if self.add_dummy_prefix && !text.is_empty() {
            text.insert(0, ' ');
        }
        if self.escape_whitespaces {
            text = text.replace(' ', "\u{2581}");
        }
        text
    }
}

/// Newlines, tabs and runs of blanks as the symbols that ChatGLM-6B's vocabulary has for them.
fn with_chatglm_symbols(text: &str) -> String {
    let text = text.replace('\n', "<n>").replace('\t', "<|tab|>");
    let mut result = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find("  ") {
        result.push_str(&rest[..at]);
        rest = &rest[at..];
        let blanks = rest.bytes().take(CHATGLM_MAX_BLANKS).take_while(|b| *b == b' ').count();
        if blanks > 1 {
            result.push_str(&format!("<|blank_{blanks}|>"));
        } else {
            result.push(' ');
        }
        rest = &rest[blanks..];
    }
    result.push_str(rest);
    result
}

/// The text of a symbol of with_chatglm_symbols().
pub fn chatglm_symbol_text(token: &str) -> Option<String> {
    match token {
        "<n>" => Some("\n".to_string()),
        "<|tab|>" => Some("\t".to_string()),
        _ => {
            let blanks =
                token.strip_prefix("<|blank_")?.strip_suffix("|>")?.parse::<usize>().ok()?;
            (2..=CHATGLM_MAX_BLANKS).contains(&blanks).then(|| " ".repeat(blanks))
        }
    }
}

/// A vocabulary with scores, from a model file or from GGUF metadata.
pub struct ScoredVocabulary {
    pub pieces: Vec<SentencePiece>,
    pub model_type: ModelType,
    pub byte_fallback: bool,
    pub unk_id: Option<u32>,
    pub normalizer: SentencePieceNormalizer,
}

impl ScoredVocabulary {
    pub fn from_model_file(name: &str, file: ModelFile, chatglm_symbols: bool) -> TextResult<Self> {
        if file.whitespace_as_suffix {
            return Err(unsupported(format!(
                "{name}: treat_whitespace_as_suffix is not supported"
            )));
        }
        let charsmap = match file.charsmap.as_slice() {
            [] => None,
            bytes => Some(Charsmap::parse(name, bytes)?),
        };
        let unk_id =
            u32::try_from(file.unk_id).ok().filter(|id| (*id as usize) < file.pieces.len());
        Ok(ScoredVocabulary {
            pieces: file.pieces,
            model_type: file.model_type,
            byte_fallback: file.byte_fallback,
            unk_id,
            normalizer: SentencePieceNormalizer {
                charsmap,
                remove_extra_whitespaces: file.remove_extra_whitespaces,
                add_dummy_prefix: file.add_dummy_prefix,
                escape_whitespaces: file.escape_whitespaces,
                chatglm_symbols,
            },
        })
    }

    pub fn from_gguf(pieces: Vec<SentencePiece>, unk_id: Option<u32>, space_prefix: bool) -> Self {
        let byte_fallback = pieces.iter().any(|piece| piece.kind == PieceType::Byte);
        ScoredVocabulary {
            pieces,
            model_type: ModelType::Bpe,
            byte_fallback,
            unk_id,
            normalizer: SentencePieceNormalizer {
                charsmap: None,
                remove_extra_whitespaces: false,
                add_dummy_prefix: space_prefix,
                escape_whitespaces: true,
                chatglm_symbols: false,
            },
        }
    }

    /// `later` are special tokens numbered after the vocabulary, in order; `recognises`: text that
    /// spells a control piece is that piece.
    pub fn build(
        self,
        name: &str,
        later: &[AddedToken],
        recognises: bool,
        frame: (Vec<u32>, Vec<u32>),
        roles: RoleIds,
    ) -> TextResult<TextTokenizer> {
        let mut seen = HashSet::new();
        for (id, piece) in self.pieces.iter().enumerate() {
            if piece.text.is_empty() {
                return Err(corrupt(format!("{name}: piece {id} is empty")));
            }
            if piece.kind == PieceType::Byte && byte_piece(&piece.text).is_none() {
                return Err(corrupt(format!("{name}: byte piece {id} is '{}'", piece.text)));
            }
            if !seen.insert(piece.text.as_str()) {
                return Err(corrupt(format!("{name}: piece '{}' appears twice", piece.text)));
            }
        }
        let model = match self.model_type {
            ModelType::Bpe => self.bpe(name)?,
            ModelType::Unigram => self.unigram(name)?,
        };
        let mut inner = Tokenizer::new(model);
        // Control pieces are cut out of the raw text, user-defined ones of the normalised one: that
        // is the order of the two passes in AddedVocabulary.
        let added = self.pieces.iter().filter_map(|piece| match piece.kind {
            PieceType::Control | PieceType::Unknown => Some(AddedToken::from(&piece.text, true)),
            PieceType::UserDefined => {
                Some(AddedToken::from(piece.text.replace(' ', "\u{2581}"), false).normalized(true))
            }
            _ => None,
        });
        let added: Vec<AddedToken> = added.chain(later.iter().cloned()).collect();
        reading(name, || inner.add_tokens(added))?;
        let strip_blank = self.normalizer.add_dummy_prefix;
        let pieces = Pieces::SentencePiece {
            bytes: self.byte_fallback,
            strip_blank,
            symbols: self.normalizer.chatglm_symbols,
        };
        TextTokenizer::new(
            name,
            Parts {
                inner,
                normalizer: TextNormalizer::SentencePiece(self.normalizer),
                recognises_by_default: recognises,
                frame: Some(frame),
                pieces: Some(pieces),
                decodes_by_pieces: true,
                roles,
            },
        )
    }

    fn bpe(&self, name: &str) -> TextResult<ModelWrapper> {
        let mut ranked: Vec<(&SentencePiece, u32)> = (self.pieces.iter().zip(0..))
            .filter(|(piece, _)| {
                matches!(piece.kind, PieceType::Normal | PieceType::UserDefined | PieceType::Unused)
            })
            .collect();
        ranked.sort_by(|(a, a_id), (b, b_id)| b.score.total_cmp(&a.score).then(a_id.cmp(b_id)));
        let ranked: Vec<(&str, u32)> =
            ranked.into_iter().map(|(piece, id)| (piece.text.as_str(), id)).collect();
        let merges = merges_of_ranked(&ranked);
        let vocab: Vocab =
            self.pieces.iter().zip(0..).map(|(piece, id)| (piece.text.clone(), id)).collect();
        let mut builder = BPE::builder()
            .vocab_and_merges(vocab, merges)
            .fuse_unk(true)
            .byte_fallback(self.byte_fallback);
        if let Some(unk) = self.unk_id {
            builder = builder.unk_token(self.pieces[unk as usize].text.clone());
        }
        reading(name, || builder.build()).map(Into::into)
    }

    fn unigram(&self, name: &str) -> TextResult<ModelWrapper> {
        let reachable = |piece: &SentencePiece| {
            matches!(piece.kind, PieceType::Normal | PieceType::UserDefined)
        };
        let vocab = self.pieces.iter().map(|piece| {
            let score = if reachable(piece) { f64::from(piece.score) } else { NEVER };
            (piece.text.clone(), score)
        });
        let vocab = vocab.collect();
        let unk = self.unk_id.map(|id| id as usize);
        let mut model = reading(name, || Unigram::from(vocab, unk, self.byte_fallback))?;
        // The score of an unknown character is ten below the worst piece that can be used.
        let usable = self.pieces.iter().filter(|piece| piece.kind == PieceType::Normal);
        let worst = usable.map(|piece| f64::from(piece.score)).fold(f64::INFINITY, f64::min);
        model.min_score = if worst.is_finite() { worst } else { 0.0 };
        Ok(model.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_blanks_become_the_longest_symbols_first() {
        assert_eq!(with_chatglm_symbols("a b\n\tc   d "), "a b<n><|tab|>c<|blank_3|>d ");
        assert_eq!(with_chatglm_symbols(&" ".repeat(81)), "<|blank_80|> ");
        assert_eq!(with_chatglm_symbols(&" ".repeat(83)), "<|blank_80|><|blank_3|>");
        assert_eq!(chatglm_symbol_text("<|blank_3|>").as_deref(), Some("   "));
        assert_eq!(chatglm_symbol_text("<|blank_81|>"), None);
    }
}
