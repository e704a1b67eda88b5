// SPDX-License-Identifier: Apache-2.0
//! Structured output: which tokens may come next so that the text keeps the form that was asked for.
//!
//! llguidance does the work; this file gives it our vocabulary, holds what comes from a client
//! within limits, and turns its failures into sentences.

use std::sync::Arc;

use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::{
    InferenceCapabilities, TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv,
};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};

use crate::error::{TextError, TextResult, internal, invalid, panic_text, unsupported};
use crate::grammar_limits::{SchemaSize, check_regex, check_schema, parse_json};
use crate::lark_source;
use crate::tokenizer::{Piece, Pieces, SpecialInText, TextTokenizer};

/// Bytes of a schema, regex, grammar, or of all choices together.
pub const MAX_SOURCE_BYTES: usize = 256 << 10;
pub const MAX_CHOICES: usize = 10_000;
/// Starts the messages of failures in the middle of a sequence.
const STEP: &str = "[structured]";
const MAX_MESSAGE_CHARS: usize = 400;
/// A grammar is compiled on a stack of its own: its depth is bounded, but not every recursion of the
/// library by it.
const STACK_BYTES: usize = 256 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrammarKind {
    JsonObject,
    JsonSchema,
    Regex,
    /// The source is a JSON list of texts.
    Choice,
    Lark,
}

impl GrammarKind {
    /// Starts every message about a grammar of this kind.
    fn name(self) -> &'static str {
        match self {
            GrammarKind::JsonObject => "[structured] JSON object",
            GrammarKind::JsonSchema => "[structured] JSON schema",
            GrammarKind::Regex => "[structured] regex",
            GrammarKind::Choice => "[structured] choice",
            GrammarKind::Lark => "[structured] grammar",
        }
    }
}

/// The vocabulary as the library sees it.
struct Vocabulary {
    trie: TokTrie,
    tokenizer: Arc<TextTokenizer>,
    /// The tokenizer splits a piece of a text as it would inside of the text.
    canonical: bool,
}

impl TokenizerEnv for Vocabulary {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    /// A text that can only go on in one way is forced in these tokens, which must spell it exactly.
    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        if self.canonical {
            let encode = |text: &str| {
                self.tokenizer.encode(text, false, SpecialInText::Ignore).unwrap_or_default()
            };
            let ids = self.trie.tokenize_with_greedy_fallback(bytes, encode);
            if self.trie.decode_raw(&ids) == bytes {
                return ids;
            }
        }
        self.trie.greedy_tokenize(bytes)
    }

    fn tokenize_is_canonical(&self) -> bool {
        self.canonical
    }
}

/// A vocabulary prepared for grammars. Immutable; shared by threads.
pub struct GrammarCompiler {
    factory: ParserFactory,
    vocab_size: u32,
    eos: Vec<TokenId>,
}

/// The state of one sequence.
pub struct GrammarMatcher {
    matcher: Matcher,
    vocab_size: u32,
    eos: Vec<TokenId>,
}

/// What a library call on a client's text came to; its panics are the client's errors as well.
fn guarded<T>(name: &str, body: impl FnOnce() -> Result<T, String>) -> TextResult<T> {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(message)) => Err(refusal(name, &message)),
        Err(panic) => Err(refusal(name, &panic_text(&*panic))),
    }
}

/// The library's message in a sentence of ours. "Unimplemented", "not supported" and the like are
/// things that are right in themselves.
fn refusal(name: &str, message: &str) -> TextError {
    // Between the first line and that of an error it shows the place, on several lines.
    let mut lines = message.lines().map(str::trim);
    let first = lines.next().unwrap_or_default();
    let error = lines.find(|line| line.starts_with("error:")).unwrap_or_default();
    let mut line = match first {
        "NoExtension" | "NoExtensionBias" => "no text has this form".to_string(),
        _ => format!("{first} {error}"),
    };
    if let Some((end, _)) = line.char_indices().nth(MAX_MESSAGE_CHARS) {
        line.truncate(end);
    }
    let text = format!("{name}: {}", line.trim_end());
    let lower = line.to_ascii_lowercase();
    if ["unimplemented", "not supported", "unknown format"].iter().any(|word| lower.contains(word))
    {
        return unsupported(text);
    }
    invalid(text)
}

fn limits() -> ParserLimits {
    ParserLimits {
        // A state of the lexer takes one to two kilobytes: some 40 MB for a request at most.
        max_lexer_states: 20_000,
        max_grammar_size: 200_000,
        // Compiling large lexemes against the whole vocabulary takes time that nothing bounds.
        precompute_large_lexemes: false,
        verbose_errors: false,
        ..ParserLimits::default()
    }
}

/// Blanks as Python's json.dumps puts them. Blanks where the model likes them would let a small one
/// go on with blanks for ever.
fn json_options() -> Value {
    json!({"whitespace_flexible": false, "item_separator": ", ", "key_separator": ": "})
}

impl GrammarCompiler {
    /// `vocab_size` is the number of logits, which may exceed the tokenizer's. `eos` end a sequence.
    pub fn new(
        tokenizer: Arc<TextTokenizer>,
        vocab_size: u32,
        eos: &[TokenId],
    ) -> TextResult<GrammarCompiler> {
        let Some(pieces) = tokenizer.pieces() else {
            return Err(unsupported(
                "structured output needs to know the bytes of each token, and this tokenizer's decoder does not tell",
            ));
        };
        let mut eos: Vec<TokenId> = eos.iter().copied().filter(|id| *id < vocab_size).collect();
        eos.dedup();
        let Some(first_eos) = eos.first().copied() else {
            return Err(unsupported("structured output needs a model with an end token"));
        };
        let words: Vec<Vec<u8>> = (0..vocab_size)
            .map(|id| {
                let mut bytes = match tokenizer.piece_bytes(pieces, id) {
                    Piece::Byte(byte) => vec![byte],
                    Piece::Text(bytes) => bytes,
                };
                if tokenizer.is_special(id) || eos.contains(&id) {
                    bytes.insert(0, TokTrie::SPECIAL_TOKEN_MARKER);
                }
                bytes
            })
            .collect();
        let trie = TokTrie::from(&TokRxInfo::new(vocab_size, first_eos), &words);
        // SentencePiece puts a blank before every text.
        let canonical = pieces == Pieces::ByteLevel;
        let env: TokEnv = Arc::new(Vocabulary { trie, tokenizer, canonical });
        let mut factory = ParserFactory::new(
            &env,
            InferenceCapabilities::default(),
            &SlicedBiasComputer::general_slices(),
        )
        .map_err(|error| {
            internal(format!("the vocabulary cannot be used for grammars: {error}"))
        })?;
        factory.quiet();
        *factory.limits_mut() = limits();
        Ok(GrammarCompiler { factory, vocab_size, eos })
    }

    /// Compiles a grammar within the limits; a matter of milliseconds.
    pub fn compile(&self, kind: GrammarKind, source: &str) -> TextResult<GrammarMatcher> {
        let name = kind.name();
        if source.len() > MAX_SOURCE_BYTES {
            return Err(invalid(format!(
                "{name}: {} bytes, at most {MAX_SOURCE_BYTES} are compiled",
                source.len()
            )));
        }
        let grammar = grammar_of(kind, source)?;
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
            let compiling = thread
                .spawn_scoped(scope, || {
                    guarded(name, || {
                        self.factory.create_parser(grammar).map_err(|error| format!("{error:#}"))
                    })
                })
                .map_err(|error| internal(format!("no thread to compile a grammar: {error}")))?;
            let parser = compiling
                .join()
                .unwrap_or_else(|panic| Err(refusal(name, &panic_text(&*panic))))?;
            let mut matcher = GrammarMatcher {
                matcher: Matcher::new(Ok(parser)),
                vocab_size: self.vocab_size,
                eos: self.eos.clone(),
            };
            // A form that nothing has would end every sequence at its first token.
            let mut mask = vec![0; self.vocab_size.div_ceil(32) as usize];
            match matcher.mask(&mut mask) {
                Ok(count) if count > 0 => Ok(matcher),
                Ok(_) => Err(invalid(format!("{name}: no text has this form"))),
                Err(error) => {
                    Err(TextError { message: error.message.replacen(STEP, name, 1), ..error })
                }
            }
        })
    }
}

fn grammar_of(kind: GrammarKind, source: &str) -> TextResult<TopLevelGrammar> {
    let name = kind.name();
    match kind {
        GrammarKind::JsonObject => Ok(TopLevelGrammar::from_json_schema(
            json!({"type": "object", "x-guidance": json_options()}),
        )),
        GrammarKind::JsonSchema => {
            let mut schema = parse_json(name, source)?;
            check_schema(name, &schema, &mut SchemaSize::default())?;
            if schema == Value::Bool(true) {
                schema = json!({});
            }
            let Some(object) = schema.as_object_mut() else {
                return Err(invalid(format!("{name}: not a JSON object")));
            };
            object.insert("x-guidance".to_string(), json_options());
            Ok(TopLevelGrammar::from_json_schema(schema))
        }
        GrammarKind::Regex => {
            check_regex(name, source)?;
            Ok(TopLevelGrammar::from_regex(source))
        }
        GrammarKind::Choice => {
            let choices: Vec<String> = serde_json::from_str(source)
                .map_err(|error| invalid(format!("{name}: not a list of texts: {error}")))?;
            if choices.is_empty() {
                return Err(invalid(format!("{name}: the list is empty")));
            }
            if choices.len() > MAX_CHOICES {
                return Err(invalid(format!(
                    "{name}: {} choices, at most {MAX_CHOICES} are compiled",
                    choices.len()
                )));
            }
            // A text in JSON is a text in Lark.
            let rules: Vec<String> =
                choices.iter().map(|choice| Value::from(choice.as_str()).to_string()).collect();
            Ok(TopLevelGrammar::from_lark(format!("start: CHOICE\nCHOICE: {}", rules.join(" | "))))
        }
        GrammarKind::Lark => {
            let source = lark_source::with_options(name, source, &json_options())?;
            Ok(TopLevelGrammar::from_lark(source))
        }
    }
}

impl GrammarMatcher {
    /// Sets the bit of every token that may come next; `mask` has a bit for every logit. Returns how
    /// many there are.
    pub fn mask(&mut self, mask: &mut [u32]) -> TextResult<usize> {
        if mask.len() != self.vocab_size.div_ceil(32) as usize {
            return Err(internal("the token mask does not fit the vocabulary"));
        }
        let set = self
            .matcher
            .compute_mask_or_eos()
            .map_err(|error| self.exhausted(&error.to_string()))?;
        // The library's set may be a word longer than its vocabulary.
        let words = set.as_slice();
        let count = words.len().min(mask.len());
        mask[..count].copy_from_slice(&words[..count]);
        mask[count..].fill(0);
        // The library knows one end token.
        if bit(mask, self.eos[0]) {
            for id in &self.eos {
                mask[*id as usize / 32] |= 1 << (id % 32);
            }
        }
        Ok(mask.iter().map(|word| word.count_ones() as usize).sum())
    }

    /// Takes tokens that have come. True: the form is complete, and nothing may follow.
    pub fn consume(&mut self, ids: &[TokenId]) -> TextResult<bool> {
        for id in ids {
            if self.is_complete() && self.eos.contains(id) {
                continue;
            }
            if self.is_complete() {
                return Err(internal("a token after the end of the grammar"));
            }
            let id = if self.eos.contains(id) { self.eos[0] } else { *id };
            self.matcher.consume_token(id).map_err(|error| self.exhausted(&error.to_string()))?;
        }
        Ok(self.is_complete())
    }

    /// The tokens that spell what must come next, whatever the model says; an end token where nothing
    /// may follow; none where there is a choice, or nothing is known of one.
    pub fn forced(&mut self) -> Vec<TokenId> {
        if self.is_complete() {
            return vec![self.eos[0]];
        }
        self.matcher.compute_ff_tokens()
    }

    pub fn is_complete(&self) -> bool {
        self.matcher.is_stopped() && !self.matcher.is_error()
    }

    /// Another sequence in the same state.
    pub fn fork(&self) -> GrammarMatcher {
        GrammarMatcher {
            matcher: self.matcher.deep_clone(),
            vocab_size: self.vocab_size,
            eos: self.eos.clone(),
        }
    }

    /// The limits of a step: too many states, too much ambiguity.
    fn exhausted(&self, message: &str) -> TextError {
        refusal(STEP, message)
    }
}

fn bit(mask: &[u32], id: TokenId) -> bool {
    mask[id as usize / 32] >> (id % 32) & 1 == 1
}

#[cfg(test)]
mod tests;
