// SPDX-License-Identifier: Apache-2.0
// The C interface of rust/. Generated from rust/src/ffi*.rs by cbindgen: do not edit, run
//   LANNER_UPDATE_HEADER=1 cargo test --release --test header
// clang-format off

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// How a call ended. Anything but OK comes with a message.
typedef enum LannerTextStatus {
  LANNER_TEXT_STATUS_OK = 0,
  LANNER_TEXT_STATUS_INVALID_ARGUMENT = 1,
  LANNER_TEXT_STATUS_NOT_FOUND = 2,
  LANNER_TEXT_STATUS_UNSUPPORTED = 3,
  LANNER_TEXT_STATUS_CORRUPT_FILE = 4,
  LANNER_TEXT_STATUS_IO = 5,
  LANNER_TEXT_STATUS_INTERNAL = 6,
} LannerTextStatus;

// What becomes of text that spells a special token.
typedef enum LannerTextSpecialInText {
  // What the reference implementation of the tokenizer does.
  LANNER_TEXT_SPECIAL_IN_TEXT_DEFAULT = 0,
  // It is the token.
  LANNER_TEXT_SPECIAL_IN_TEXT_RECOGNISE = 1,
  // It is text like any other.
  LANNER_TEXT_SPECIAL_IN_TEXT_IGNORE = 2,
} LannerTextSpecialInText;

// What a grammar's source is.
typedef enum LannerTextGrammarKind {
  // Nothing: any JSON object.
  LANNER_TEXT_GRAMMAR_KIND_JSON_OBJECT = 0,
  LANNER_TEXT_GRAMMAR_KIND_JSON_SCHEMA = 1,
  LANNER_TEXT_GRAMMAR_KIND_REGEX = 2,
  // A JSON list of texts.
  LANNER_TEXT_GRAMMAR_KIND_CHOICE = 3,
  LANNER_TEXT_GRAMMAR_KIND_LARK = 4,
} LannerTextGrammarKind;

// A chat template: immutable, may be used by several threads at once.
typedef struct LannerTextChatTemplate LannerTextChatTemplate;

// A vocabulary prepared for grammars: immutable, may be used by several threads at once.
typedef struct LannerTextGrammarCompiler LannerTextGrammarCompiler;

// The state of a grammar in one sequence: for one thread at a time.
typedef struct LannerTextGrammarMatcher LannerTextGrammarMatcher;

// The decoder of one sequence: for one thread at a time. Keeps its tokenizer alive.
typedef struct LannerTextStreamDecoder LannerTextStreamDecoder;

// A tokenizer: immutable, may be used by several threads at once.
typedef struct LannerTextTokenizer LannerTextTokenizer;

// Bytes, usually UTF-8 text, without a NUL at the end. Belongs to the caller: free it with
// lanner_text_buffer_free(). Empty: data is null.
typedef struct LannerTextBuffer {
  uint8_t *data;
  size_t size;
} LannerTextBuffer;

// Token ids. Belongs to the caller: free it with lanner_text_ids_free(). Empty: data is null.
typedef struct LannerTextIds {
  uint32_t *data;
  size_t size;
} LannerTextIds;

// Bytes lent for the time of a call; data may be null if size is 0.
typedef struct LannerTextView {
  const uint8_t *data;
  size_t size;
} LannerTextView;

// Texts end to end: text i is bytes[offsets[i] .. offsets[i + 1]]; there are num_offsets - 1.
typedef struct LannerTextList {
  struct LannerTextView bytes;
  const uint64_t *offsets;
  size_t num_offsets;
} LannerTextList;

// Ids of the tokens with a role; -1 where the model has none.
typedef struct LannerTextRoles {
  int64_t bos;
  int64_t eos;
  int64_t unk;
  int64_t pad;
} LannerTextRoles;

// The vocabulary of a GGUF file (keys tokenizer.ggml.*), lent for the time of a call.
typedef struct LannerTextGgufVocabulary {
  // The file, for messages.
  struct LannerTextView name;
  struct LannerTextView model;
  struct LannerTextView pre;
  struct LannerTextList tokens;
  struct LannerTextList merges;
  // One for each token, or none.
  const float *scores;
  size_t num_scores;
  // One for each token, or none.
  const int32_t *token_types;
  size_t num_token_types;
  // Ids, -1 for none.
  struct LannerTextRoles roles;
  // 1, 0, or -1 if the file does not say.
  int32_t add_bos;
  int32_t add_eos;
  int32_t add_space_prefix;
} LannerTextGgufVocabulary;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Frees a buffer; one that is empty or null is left alone.
//
// # Safety
// The buffer comes from this library and is not used again.
void lanner_text_buffer_free(struct LannerTextBuffer buffer);

// Frees token ids; those that are empty or null are left alone.
//
// # Safety
// The ids come from this library and are not used again.
void lanner_text_ids_free(struct LannerTextIds ids);

// Loads the tokenizer of a model folder.
//
// # Safety
// The view is valid; result and message may be written to.
enum LannerTextStatus lanner_text_tokenizer_from_folder(struct LannerTextView folder,
                                                        struct LannerTextTokenizer **result,
                                                        struct LannerTextBuffer *message);

// Makes the tokenizer of a GGUF file.
//
// # Safety
// All pointers of the vocabulary are valid; result and message may be written to.
enum LannerTextStatus lanner_text_tokenizer_from_gguf(const struct LannerTextGgufVocabulary *vocabulary,
                                                      struct LannerTextTokenizer **result,
                                                      struct LannerTextBuffer *message);

// # Safety
// The tokenizer is null or comes from this library and is not used again.
void lanner_text_tokenizer_free(struct LannerTextTokenizer *tokenizer);

// Token ids of a text.
//
// # Safety
// The tokenizer and the view are valid; result and message may be written to.
enum LannerTextStatus lanner_text_tokenizer_encode(const struct LannerTextTokenizer *tokenizer,
                                                   struct LannerTextView text,
                                                   bool add_special,
                                                   enum LannerTextSpecialInText special_in_text,
                                                   struct LannerTextIds *result,
                                                   struct LannerTextBuffer *message);

// The text of token ids; ids without a token stand for nothing.
//
// # Safety
// The tokenizer is valid, ids points to num_ids values; result and message may be written to.
enum LannerTextStatus lanner_text_tokenizer_decode(const struct LannerTextTokenizer *tokenizer,
                                                   const uint32_t *ids,
                                                   size_t num_ids,
                                                   bool skip_special,
                                                   struct LannerTextBuffer *result,
                                                   struct LannerTextBuffer *message);

// One more than the largest token id; 0 if the tokenizer is null.
//
// # Safety
// The tokenizer is null or valid.
uint32_t lanner_text_tokenizer_vocab_size(const struct LannerTextTokenizer *tokenizer);

// Whether skip_special leaves the token out.
//
// # Safety
// The tokenizer is null or valid.
bool lanner_text_tokenizer_is_special(const struct LannerTextTokenizer *tokenizer, uint32_t id);

// Ids of the tokens with a role.
//
// # Safety
// The tokenizer is null or valid.
struct LannerTextRoles lanner_text_tokenizer_roles(const struct LannerTextTokenizer *tokenizer);

// The id of a token as the vocabulary spells it; -1 if there is none.
//
// # Safety
// The tokenizer and the view are valid; result and message may be written to.
enum LannerTextStatus lanner_text_tokenizer_token_id(const struct LannerTextTokenizer *tokenizer,
                                                     struct LannerTextView token,
                                                     int64_t *result,
                                                     struct LannerTextBuffer *message);

// A token as the vocabulary spells it; an empty text if there is none.
//
// # Safety
// The tokenizer is valid; result and message may be written to.
enum LannerTextStatus lanner_text_tokenizer_token(const struct LannerTextTokenizer *tokenizer,
                                                  uint32_t id,
                                                  struct LannerTextBuffer *result,
                                                  struct LannerTextBuffer *message);

// The bytes that a token adds to a text, which may be a part of a character; none for an id without a
// token.
//
// # Safety
// The tokenizer is valid; result and message may be written to.
enum LannerTextStatus lanner_text_tokenizer_token_bytes(const struct LannerTextTokenizer *tokenizer,
                                                        uint32_t id,
                                                        struct LannerTextBuffer *result,
                                                        struct LannerTextBuffer *message);

// Starts decoding one sequence.
//
// # Safety
// The tokenizer is valid; result and message may be written to.
enum LannerTextStatus lanner_text_stream_decoder_new(const struct LannerTextTokenizer *tokenizer,
                                                     bool skip_special,
                                                     struct LannerTextStreamDecoder **result,
                                                     struct LannerTextBuffer *message);

// # Safety
// The decoder is null or comes from this library and is not used again.
void lanner_text_stream_decoder_free(struct LannerTextStreamDecoder *decoder);

// Takes the next token; the text that is certain now.
//
// # Safety
// The decoder is valid and used by this thread only; result and message may be written to.
enum LannerTextStatus lanner_text_stream_decoder_push(struct LannerTextStreamDecoder *decoder,
                                                      uint32_t id,
                                                      struct LannerTextBuffer *result,
                                                      struct LannerTextBuffer *message);

// Ends the sequence: the text that was kept back. The decoder starts anew.
//
// # Safety
// As lanner_text_stream_decoder_push().
enum LannerTextStatus lanner_text_stream_decoder_flush(struct LannerTextStreamDecoder *decoder,
                                                       struct LannerTextBuffer *result,
                                                       struct LannerTextBuffer *message);

// Parses a template. special_tokens: a JSON object with bos_token and the like, or empty.
//
// # Safety
// The views are valid; result and message may be written to.
enum LannerTextStatus lanner_text_chat_template_from_source(struct LannerTextView source,
                                                            struct LannerTextView special_tokens,
                                                            struct LannerTextChatTemplate **result,
                                                            struct LannerTextBuffer *message);

// Loads the template of a model folder; the result is null if it has none.
//
// # Safety
// The view is valid; result and message may be written to.
enum LannerTextStatus lanner_text_chat_template_from_folder(struct LannerTextView folder,
                                                            struct LannerTextChatTemplate **result,
                                                            struct LannerTextBuffer *message);

// # Safety
// The template is null or comes from this library and is not used again.
void lanner_text_chat_template_free(struct LannerTextChatTemplate *template_);

// Renders a conversation. messages: a JSON list; tools: a JSON list, null or empty; extra: a JSON
// object of further variables, or empty.
//
// # Safety
// The template and the views are valid; result and message may be written to.
enum LannerTextStatus lanner_text_chat_template_render(const struct LannerTextChatTemplate *template_,
                                                       struct LannerTextView messages,
                                                       struct LannerTextView tools,
                                                       bool add_generation_prompt,
                                                       struct LannerTextView extra,
                                                       struct LannerTextBuffer *result,
                                                       struct LannerTextBuffer *message);

// The template's source: of the template for tools if with_tools and there is one.
//
// # Safety
// The template is valid; result and message may be written to.
enum LannerTextStatus lanner_text_chat_template_source(const struct LannerTextChatTemplate *template_,
                                                       bool with_tools,
                                                       struct LannerTextBuffer *result,
                                                       struct LannerTextBuffer *message);

// Prepares a vocabulary. vocab_size: the number of logits; eos_ids: the tokens that end a sequence.
//
// # Safety
// The tokenizer is valid, eos_ids points to num_eos_ids values; result and message may be written
// to.
enum LannerTextStatus lanner_text_grammar_compiler_new(const struct LannerTextTokenizer *tokenizer,
                                                       uint32_t vocab_size,
                                                       const uint32_t *eos_ids,
                                                       size_t num_eos_ids,
                                                       struct LannerTextGrammarCompiler **result,
                                                       struct LannerTextBuffer *message);

// # Safety
// The compiler is null or comes from this library and is not used again.
void lanner_text_grammar_compiler_free(struct LannerTextGrammarCompiler *compiler);

// Compiles a grammar; the matcher stands at the start of a sequence.
//
// # Safety
// The compiler and the view are valid; result and message may be written to.
enum LannerTextStatus lanner_text_grammar_compile(const struct LannerTextGrammarCompiler *compiler,
                                                  enum LannerTextGrammarKind kind,
                                                  struct LannerTextView source,
                                                  struct LannerTextGrammarMatcher **result,
                                                  struct LannerTextBuffer *message);

// # Safety
// The matcher is null or comes from this library and is not used again.
void lanner_text_grammar_matcher_free(struct LannerTextGrammarMatcher *matcher);

// Another matcher in the same state.
//
// # Safety
// The matcher is valid and used by this thread only; result and message may be written to.
enum LannerTextStatus lanner_text_grammar_matcher_fork(const struct LannerTextGrammarMatcher *matcher,
                                                       struct LannerTextGrammarMatcher **result,
                                                       struct LannerTextBuffer *message);

// Sets the bits of the tokens that may come next, token i at bit i % 32 of word i / 32; their
// number. mask: a bit for every logit.
//
// # Safety
// The matcher is valid and used by this thread only, mask points to num_words values; result and
// message may be written to.
enum LannerTextStatus lanner_text_grammar_matcher_mask(struct LannerTextGrammarMatcher *matcher,
                                                       uint32_t *mask,
                                                       size_t num_words,
                                                       size_t *result,
                                                       struct LannerTextBuffer *message);

// Takes tokens that have come. True: the grammar is complete, and nothing may follow.
//
// # Safety
// The matcher is valid and used by this thread only, ids points to num_ids values; result and
// message may be written to.
enum LannerTextStatus lanner_text_grammar_matcher_consume(struct LannerTextGrammarMatcher *matcher,
                                                          const uint32_t *ids,
                                                          size_t num_ids,
                                                          bool *result,
                                                          struct LannerTextBuffer *message);

// The tokens that must come next; an end token where nothing may follow; none where there is a
// choice.
//
// # Safety
// The matcher is valid and used by this thread only; result and message may be written to.
enum LannerTextStatus lanner_text_grammar_matcher_forced(struct LannerTextGrammarMatcher *matcher,
                                                         struct LannerTextIds *result,
                                                         struct LannerTextBuffer *message);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus
