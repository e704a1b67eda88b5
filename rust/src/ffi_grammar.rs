// SPDX-License-Identifier: Apache-2.0
//! Entry points for structured output.

use std::sync::Arc;

use crate::error::internal;
use crate::ffi::{
    LannerTextBuffer, LannerTextIds, LannerTextStatus, LannerTextView, borrow, guard, slice,
};
use crate::ffi_tokenizer::LannerTextTokenizer;
use crate::grammar::{GrammarCompiler, GrammarKind, GrammarMatcher};

/// A vocabulary prepared for grammars: immutable, may be used by several threads at once.
pub struct LannerTextGrammarCompiler(GrammarCompiler);

/// The state of a grammar in one sequence: for one thread at a time.
pub struct LannerTextGrammarMatcher(GrammarMatcher);

/// What a grammar's source is.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LannerTextGrammarKind {
    /// Nothing: any JSON object.
    JsonObject = 0,
    JsonSchema = 1,
    Regex = 2,
    /// A JSON list of texts.
    Choice = 3,
    Lark = 4,
}

fn boxed(matcher: GrammarMatcher) -> *mut LannerTextGrammarMatcher {
    Box::into_raw(Box::new(LannerTextGrammarMatcher(matcher)))
}

/// Prepares a vocabulary. vocab_size: the number of logits; eos_ids: the tokens that end a sequence.
///
/// # Safety
/// The tokenizer is valid, eos_ids points to num_eos_ids values; result and message may be written
/// to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lanner_text_grammar_compiler_new(
    tokenizer: *const LannerTextTokenizer,
    vocab_size: u32,
    eos_ids: *const u32,
    num_eos_ids: usize,
    result: *mut *mut LannerTextGrammarCompiler,
    message: *mut LannerTextBuffer,
) -> LannerTextStatus {
    // SAFETY: the promise of the caller.
    unsafe {
        guard(result, message, || {
            let tokenizer = Arc::clone(&borrow(tokenizer, "the tokenizer")?.0);
            let eos_ids = slice(eos_ids, num_eos_ids);
            let compiler = GrammarCompiler::new(tokenizer, vocab_size, eos_ids)?;
            Ok(Box::into_raw(Box::new(LannerTextGrammarCompiler(compiler))))
        })
    }
}

/// # Safety
/// The compiler is null or comes from this library and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lanner_text_grammar_compiler_free(
    compiler: *mut LannerTextGrammarCompiler,
) {
    if !compiler.is_null() {
        // SAFETY: the promise of the caller.
        drop(unsafe { Box::from_raw(compiler) });
    }
}

/// Compiles a grammar; the matcher stands at the start of a sequence.
///
/// # Safety
/// The compiler and the view are valid; result and message may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lanner_text_grammar_compile(
    compiler: *const LannerTextGrammarCompiler,
    kind: LannerTextGrammarKind,
    source: LannerTextView,
    result: *mut *mut LannerTextGrammarMatcher,
    message: *mut LannerTextBuffer,
) -> LannerTextStatus {
    // SAFETY: the promise of the caller.
    unsafe {
        guard(result, message, || {
            let kind = match kind {
                LannerTextGrammarKind::JsonObject => GrammarKind::JsonObject,
                LannerTextGrammarKind::JsonSchema => GrammarKind::JsonSchema,
                LannerTextGrammarKind::Regex => GrammarKind::Regex,
                LannerTextGrammarKind::Choice => GrammarKind::Choice,
                LannerTextGrammarKind::Lark => GrammarKind::Lark,
            };
            let source = source.text("the grammar")?;
            Ok(boxed(borrow(compiler, "the grammar compiler")?.0.compile(kind, source)?))
        })
    }
}

/// # Safety
/// The matcher is null or comes from this library and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lanner_text_grammar_matcher_free(matcher: *mut LannerTextGrammarMatcher) {
    if !matcher.is_null() {
        // SAFETY: the promise of the caller.
        drop(unsafe { Box::from_raw(matcher) });
    }
}

/// Another matcher in the same state.
///
/// # Safety
/// The matcher is valid and used by this thread only; result and message may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lanner_text_grammar_matcher_fork(
    matcher: *const LannerTextGrammarMatcher,
    result: *mut *mut LannerTextGrammarMatcher,
    message: *mut LannerTextBuffer,
) -> LannerTextStatus {
    // SAFETY: the promise of the caller.
    unsafe { guard(result, message, || Ok(boxed(borrow(matcher, "the matcher")?.0.fork()))) }
}

/// Sets the bits of the tokens that may come next, token i at bit i % 32 of word i / 32; their
/// number. mask: a bit for every logit.
///
/// # Safety
/// The matcher is valid and used by this thread only, mask points to num_words values; result and
/// message may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lanner_text_grammar_matcher_mask(
    matcher: *mut LannerTextGrammarMatcher,
    mask: *mut u32,
    num_words: usize,
    result: *mut usize,
    message: *mut LannerTextBuffer,
) -> LannerTextStatus {
    // SAFETY: the promise of the caller.
    unsafe {
        guard(result, message, || {
            let this = matcher.as_mut().ok_or_else(|| internal("the matcher is null"))?;
            if mask.is_null() {
                return Err(internal("the mask is null"));
            }
            this.0.mask(std::slice::from_raw_parts_mut(mask, num_words))
        })
    }
}

/// Takes tokens that have come. True: the grammar is complete, and nothing may follow.
///
/// # Safety
/// The matcher is valid and used by this thread only, ids points to num_ids values; result and
/// message may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lanner_text_grammar_matcher_consume(
    matcher: *mut LannerTextGrammarMatcher,
    ids: *const u32,
    num_ids: usize,
    result: *mut bool,
    message: *mut LannerTextBuffer,
) -> LannerTextStatus {
    // SAFETY: the promise of the caller.
    unsafe {
        guard(result, message, || {
            let this = matcher.as_mut().ok_or_else(|| internal("the matcher is null"))?;
            this.0.consume(slice(ids, num_ids))
        })
    }
}

/// The tokens that must come next; an end token where nothing may follow; none where there is a
/// choice.
///
/// # Safety
/// The matcher is valid and used by this thread only; result and message may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lanner_text_grammar_matcher_forced(
    matcher: *mut LannerTextGrammarMatcher,
    result: *mut LannerTextIds,
    message: *mut LannerTextBuffer,
) -> LannerTextStatus {
    // SAFETY: the promise of the caller.
    unsafe {
        guard(result, message, || {
            let this = matcher.as_mut().ok_or_else(|| internal("the matcher is null"))?;
            Ok(this.0.forced().into())
        })
    }
}
