// SPDX-License-Identifier: Apache-2.0
//! Entry points for tokenizers and stream decoders.

use std::path::Path;
use std::sync::Arc;

use crate::error::internal;
use crate::ffi::{
    LannerTextBuffer, LannerTextIds, LannerTextStatus, LannerTextView, borrow, guard, slice,
};
use crate::gguf_vocabulary::{self, GgufVocabulary, split_texts};
use crate::stream_decoder::StreamDecoder;
use crate::tokenizer::{RoleIds, SpecialInText, TextTokenizer};
use crate::tokenizer_folder;

/// A tokenizer: immutable, may be used by several threads at once.
pub struct LannerTextTokenizer(pub(crate) Arc<TextTokenizer>);

/// The decoder of one sequence: for one thread at a time. Keeps its tokenizer alive.
pub struct LannerTextStreamDecoder {
    tokenizer: Arc<TextTokenizer>,
    decoder: StreamDecoder,
}

/// What becomes of text that spells a special token.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LannerTextSpecialInText {
    /// What the reference implementation of the tokenizer does.
    Default = 0,
    /// It is the token.
    Recognise = 1,
    /// It is text like any other.
    Ignore = 2,
}

/// Ids of the tokens with a role; -1 where the model has none.
#[repr(C)]
pub struct LannerTextRoles {
    pub bos: i64,
    pub eos: i64,
    pub unk: i64,
    pub pad: i64,
}

/// Texts end to end: text i is bytes[offsets[i] .. offsets[i + 1]]; there are num_offsets - 1.
#[repr(C)]
pub struct LannerTextList {
    pub bytes: LannerTextView,
    pub offsets: *const u64,
    pub num_offsets: usize,
}

/// The vocabulary of a GGUF file (keys tokenizer.ggml.*), lent for the time of a call.
#[repr(C)]
pub struct LannerTextGgufVocabulary {
    /// The file, for messages.
    pub name: LannerTextView,
    pub model: LannerTextView,
    pub pre: LannerTextView,
    pub tokens: LannerTextList,
    pub merges: LannerTextList,
    /// One for each token, or none.
    pub scores: *const f32,
    pub num_scores: usize,
    /// One for each token, or none.
    pub token_types: *const i32,
    pub num_token_types: usize,
    /// Ids, -1 for none.
    pub roles: LannerTextRoles,
    /// 1, 0, or -1 if the file does not say.
    pub add_bos: i32,
    pub add_eos: i32,
    pub add_space_prefix: i32,
}

impl LannerTextList {
    unsafe fn texts(&self, what: &str) -> crate::error::TextResult<Vec<String>> {
        // SAFETY: the promise of the caller of the entry point.
        unsafe { split_texts(what, self.bytes.bytes(), slice(self.offsets, self.num_offsets)) }
    }
}

fn id(number: i64) -> Option<u32> {
    u32::try_from(number).ok()
}

fn flag(number: i32) -> Option<bool> {
    (number >= 0).then_some(number != 0)
}

fn boxed(tokenizer: TextTokenizer) -> *mut LannerTextTokenizer {
    Box::into_raw(Box::new(LannerTextTokenizer(Arc::new(tokenizer))))
}

/// Loads the tokenizer of a model folder.
///
/// # Safety
/// The view is valid; result and message may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lanner_text_tokenizer_from_folder(
    folder: LannerTextView,
    result: *mut *mut LannerTextTokenizer,
    message: *mut LannerTextBuffer,
) -> LannerTextStatus {
    // SAFETY: the promise of the caller.
    unsafe {
        guard(result, message, || {
            let folder = folder.text("the folder's name")?;
            Ok(boxed(tokenizer_folder::load(Path::new(folder))?))
        })
    }
}

/// Makes the tokenizer of a GGUF file.
///
/// # Safety
/// All pointers of the vocabulary are valid; result and message may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lanner_text_tokenizer_from_gguf(
    vocabulary: *const LannerTextGgufVocabulary,
    result: *mut *mut LannerTextTokenizer,
    message: *mut LannerTextBuffer,
) -> LannerTextStatus {
    // SAFETY: the promise of the caller.
    unsafe {
        guard(result, message, || {
            let v = borrow(vocabulary, "the vocabulary")?;
            Ok(boxed(gguf_vocabulary::build(GgufVocabulary {
                name: v.name.text("the file's name")?.to_string(),
                model: v.model.text("tokenizer.ggml.model")?.to_string(),
                pre: v.pre.text("tokenizer.ggml.pre")?.to_string(),
                tokens: v.tokens.texts("token")?,
                scores: slice(v.scores, v.num_scores).to_vec(),
                token_types: slice(v.token_types, v.num_token_types).to_vec(),
                merges: v.merges.texts("merge")?,
                roles: RoleIds {
                    bos: id(v.roles.bos),
                    eos: id(v.roles.eos),
                    unk: id(v.roles.unk),
                    pad: id(v.roles.pad),
                },
                add_bos: flag(v.add_bos),
                add_eos: flag(v.add_eos),
                add_space_prefix: flag(v.add_space_prefix),
            })?))
        })
    }
}

/// # Safety
/// The tokenizer is null or comes from this library and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lanner_text_tokenizer_free(tokenizer: *mut LannerTextTokenizer) {
    if !tokenizer.is_null() {
        // SAFETY: the promise of the caller.
        drop(unsafe { Box::from_raw(tokenizer) });
    }
}

/// Token ids of a text.
///
/// # Safety
/// The tokenizer and the view are valid; result and message may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lanner_text_tokenizer_encode(
    tokenizer: *const LannerTextTokenizer,
    text: LannerTextView,
    add_special: bool,
    special_in_text: LannerTextSpecialInText,
    result: *mut LannerTextIds,
    message: *mut LannerTextBuffer,
) -> LannerTextStatus {
    // SAFETY: the promise of the caller.
    unsafe {
        guard(result, message, || {
            let special_in_text = match special_in_text {
                LannerTextSpecialInText::Default => SpecialInText::Default,
                LannerTextSpecialInText::Recognise => SpecialInText::Recognise,
                LannerTextSpecialInText::Ignore => SpecialInText::Ignore,
            };
            let text = text.text("the text")?;
            let tokenizer = borrow(tokenizer, "the tokenizer")?;
            Ok(tokenizer.0.encode(text, add_special, special_in_text)?.into())
        })
    }
}

/// The text of token ids; ids without a token stand for nothing.
///
/// # Safety
/// The tokenizer is valid, ids points to num_ids values; result and message may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lanner_text_tokenizer_decode(
    tokenizer: *const LannerTextTokenizer,
    ids: *const u32,
    num_ids: usize,
    skip_special: bool,
    result: *mut LannerTextBuffer,
    message: *mut LannerTextBuffer,
) -> LannerTextStatus {
    // SAFETY: the promise of the caller.
    unsafe {
        guard(result, message, || {
            let tokenizer = borrow(tokenizer, "the tokenizer")?;
            Ok(tokenizer.0.decode(slice(ids, num_ids), skip_special)?.into())
        })
    }
}

/// One more than the largest token id; 0 if the tokenizer is null.
///
/// # Safety
/// The tokenizer is null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lanner_text_tokenizer_vocab_size(
    tokenizer: *const LannerTextTokenizer,
) -> u32 {
    // SAFETY: the promise of the caller.
    unsafe { tokenizer.as_ref() }.map_or(0, |tokenizer| tokenizer.0.vocab_size())
}

/// Whether skip_special leaves the token out.
///
/// # Safety
/// The tokenizer is null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lanner_text_tokenizer_is_special(
    tokenizer: *const LannerTextTokenizer,
    id: u32,
) -> bool {
    // SAFETY: the promise of the caller.
    unsafe { tokenizer.as_ref() }.is_some_and(|tokenizer| tokenizer.0.is_special(id))
}

/// Ids of the tokens with a role.
///
/// # Safety
/// The tokenizer is null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lanner_text_tokenizer_roles(
    tokenizer: *const LannerTextTokenizer,
) -> LannerTextRoles {
    // SAFETY: the promise of the caller.
    let roles = unsafe { tokenizer.as_ref() }.map(|tokenizer| tokenizer.0.roles());
    let RoleIds { bos, eos, unk, pad } = roles.unwrap_or_default();
    let number = |id: Option<u32>| id.map_or(-1, i64::from);
    LannerTextRoles { bos: number(bos), eos: number(eos), unk: number(unk), pad: number(pad) }
}

/// The id of a token as the vocabulary spells it; -1 if there is none.
///
/// # Safety
/// The tokenizer and the view are valid; result and message may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lanner_text_tokenizer_token_id(
    tokenizer: *const LannerTextTokenizer,
    token: LannerTextView,
    result: *mut i64,
    message: *mut LannerTextBuffer,
) -> LannerTextStatus {
    // SAFETY: the promise of the caller.
    unsafe {
        guard(result, message, || {
            let tokenizer = borrow(tokenizer, "the tokenizer")?;
            let id = std::str::from_utf8(token.bytes()).ok().and_then(|t| tokenizer.0.token_id(t));
            Ok(id.map_or(-1, i64::from))
        })
    }
}

/// A token as the vocabulary spells it; an empty text if there is none.
///
/// # Safety
/// The tokenizer is valid; result and message may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lanner_text_tokenizer_token(
    tokenizer: *const LannerTextTokenizer,
    id: u32,
    result: *mut LannerTextBuffer,
    message: *mut LannerTextBuffer,
) -> LannerTextStatus {
    // SAFETY: the promise of the caller.
    unsafe {
        guard(result, message, || {
            Ok(borrow(tokenizer, "the tokenizer")?.0.token(id).unwrap_or_default().into())
        })
    }
}

/// The bytes that a token adds to a text, which may be a part of a character; none for an id without a
/// token.
///
/// # Safety
/// The tokenizer is valid; result and message may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lanner_text_tokenizer_token_bytes(
    tokenizer: *const LannerTextTokenizer,
    id: u32,
    result: *mut LannerTextBuffer,
    message: *mut LannerTextBuffer,
) -> LannerTextStatus {
    // SAFETY: the promise of the caller.
    unsafe {
        guard(result, message, || Ok(borrow(tokenizer, "the tokenizer")?.0.token_bytes(id)?.into()))
    }
}

/// Starts decoding one sequence.
///
/// # Safety
/// The tokenizer is valid; result and message may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lanner_text_stream_decoder_new(
    tokenizer: *const LannerTextTokenizer,
    skip_special: bool,
    result: *mut *mut LannerTextStreamDecoder,
    message: *mut LannerTextBuffer,
) -> LannerTextStatus {
    // SAFETY: the promise of the caller.
    unsafe {
        guard(result, message, || {
            let tokenizer = Arc::clone(&borrow(tokenizer, "the tokenizer")?.0);
            let decoder = StreamDecoder::new(&tokenizer, skip_special);
            Ok(Box::into_raw(Box::new(LannerTextStreamDecoder { tokenizer, decoder })))
        })
    }
}

/// # Safety
/// The decoder is null or comes from this library and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lanner_text_stream_decoder_free(decoder: *mut LannerTextStreamDecoder) {
    if !decoder.is_null() {
        // SAFETY: the promise of the caller.
        drop(unsafe { Box::from_raw(decoder) });
    }
}

/// Takes the next token; the text that is certain now.
///
/// # Safety
/// The decoder is valid and used by this thread only; result and message may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lanner_text_stream_decoder_push(
    decoder: *mut LannerTextStreamDecoder,
    id: u32,
    result: *mut LannerTextBuffer,
    message: *mut LannerTextBuffer,
) -> LannerTextStatus {
    // SAFETY: the promise of the caller.
    unsafe {
        guard(result, message, || {
            let this = decoder.as_mut().ok_or_else(|| internal("the decoder is null"))?;
            Ok(this.decoder.push(&this.tokenizer, id)?.into())
        })
    }
}

/// Ends the sequence: the text that was kept back. The decoder starts anew.
///
/// # Safety
/// As lanner_text_stream_decoder_push().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lanner_text_stream_decoder_flush(
    decoder: *mut LannerTextStreamDecoder,
    result: *mut LannerTextBuffer,
    message: *mut LannerTextBuffer,
) -> LannerTextStatus {
    // SAFETY: the promise of the caller.
    unsafe {
        guard(result, message, || {
            let this = decoder.as_mut().ok_or_else(|| internal("the decoder is null"))?;
            Ok(this.decoder.flush(&this.tokenizer)?.into())
        })
    }
}
