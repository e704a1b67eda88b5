// SPDX-License-Identifier: Apache-2.0
//! Tokenizers, chat templates and grammars of Lanner, behind a C interface.
//!
//! Every way a model stores its tokenizer ends in one `TextTokenizer` (tokenizer.rs), whose parts are
//! those of the `tokenizers` crate. What C++ calls is in ffi*.rs and nowhere else; the header
//! `lanner_text.h` is generated from there.

mod byte_level;
mod charsmap;
mod chat_template;
mod error;
pub mod ffi;
pub mod ffi_chat_template;
pub mod ffi_grammar;
pub mod ffi_tokenizer;
mod gguf_vocabulary;
mod grammar;
mod grammar_limits;
mod lark_source;
mod merges;
mod python_json;
mod sentencepiece;
mod sentencepiece_proto;
mod split_patterns;
mod stream_decoder;
mod tiktoken;
mod tokenizer;
mod tokenizer_config;
mod tokenizer_folder;
mod vocab_json;
