// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/gguf_vocabulary.h"

// Opaque types of the Rust library; only rust_api.cpp knows more.
struct LannerTextStreamDecoder;
struct LannerTextTokenizer;

namespace lanner {

// What becomes of text that spells a special token, such as "</s>" in a user's message.
enum class SpecialInText {
  kDefault,  // as the reference: tokenizer.json and tiktoken files recognise it, SentencePiece does
             // not
  kRecognise,  // it is the token: for what a chat template has rendered
  kIgnore,     // it is text like any other: for text that nobody vouches for
};

// Ids of the tokens with a role, where the model has them.
struct RoleTokenIds {
  std::optional<int32_t> bos;
  std::optional<int32_t> eos;
  std::optional<int32_t> unk;
  std::optional<int32_t> pad;
};

// Text to token ids and back. Owns the vocabulary. Immutable: any number of threads may use one.
class Tokenizer {
 public:
  // Of a model folder, by the first that is there: tokenizer.json, tokenizer.model, ice_text.model,
  // *.tiktoken, vocab.json with merges.txt; tokenizer_config.json beside it is taken into account.
  // Throws Error, naming the file: kNotFound, kIo, kCorruptFile, kUnsupported.
  static std::unique_ptr<Tokenizer> from_folder(const std::string& folder);
  // Throws Error(kCorruptFile) or Error(kUnsupported) naming the key.
  static std::unique_ptr<Tokenizer> from_gguf(const GgufVocabulary& vocabulary);

  // add_special: with the tokens the model wants around a text (e.g. <s>).
  // Throws Error(kInvalidArgument) if the text is not valid UTF-8.
  std::vector<int32_t> encode(std::string_view text, bool add_special,
                              SpecialInText special_in_text = SpecialInText::kDefault) const;
  // Always valid UTF-8: bytes that make no character become U+FFFD. Ids without a token stand for
  // nothing (models pad their vocabularies). skip_special leaves special tokens out.
  std::string decode(std::span<const int32_t> ids, bool skip_special) const;

  // One more than the largest token id.
  int vocab_size() const;
  // A token as the vocabulary spells it ("Ġthe", "▁the", "<0x0A>", "<|im_end|>").
  std::optional<int32_t> token_id(std::string_view token) const;
  std::optional<std::string> token(int32_t id) const;
  // What a token adds to a text that others come before; a part of a character where it is one.
  std::string token_bytes(int32_t id) const;
  // Whether skip_special leaves the token out.
  bool is_special(int32_t id) const;
  RoleTokenIds role_ids() const;

 private:
  friend class GrammarCompiler;
  friend class StreamDecoder;
  struct Deleter {
    void operator()(LannerTextTokenizer* tokenizer) const;
  };
  explicit Tokenizer(LannerTextTokenizer* tokenizer) : tokenizer_(tokenizer) {}

  std::unique_ptr<LannerTextTokenizer, Deleter> tokenizer_;
};

// The text of one sequence, token by token, in whole characters; the work for a token does not
// depend on the length of the sequence. All pieces together are what Tokenizer::decode gives for
// all ids. (One exception: where bytes of a tokenizer.json's byte fallback are not UTF-8, HF's
// decoder drops the good characters beside them as well, this one does not.) For one thread at a
// time; may outlive its tokenizer.
class StreamDecoder {
 public:
  // shown_special: special tokens that are text even so, e.g. the marks of tool calls.
  StreamDecoder(const Tokenizer& tokenizer, bool skip_special,
                std::span<const int32_t> shown_special = {});

  // The text that is certain now; often empty in the middle of a character.
  std::string push(int32_t id);
  // Ends the sequence: what was kept back, incomplete characters as U+FFFD. Starts a new one.
  std::string flush();

 private:
  struct Deleter {
    void operator()(LannerTextStreamDecoder* decoder) const;
  };

  std::unique_ptr<LannerTextStreamDecoder, Deleter> decoder_;
  std::vector<std::pair<int32_t, std::string>> shown_;
};

}  // namespace lanner
