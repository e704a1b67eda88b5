// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace lanner {

// The vocabulary in the metadata of a GGUF file, key by key, unchecked: Tokenizer::from_gguf checks
// it. Whoever reads the file fills it.
struct GgufVocabulary {
  std::string name;                  // the file, for messages
  std::string model;                 // tokenizer.ggml.model: "gpt2" (byte-level BPE) or "llama"
  std::string pre;                   // tokenizer.ggml.pre: "smollm", "llama-bpe", …; "" if absent
  std::vector<std::string> tokens;   // tokenizer.ggml.tokens
  std::vector<float> scores;         // tokenizer.ggml.scores: one for each token, or empty
  std::vector<int32_t> token_types;  // tokenizer.ggml.token_type: one for each token, or empty
  std::vector<std::string> merges;   // tokenizer.ggml.merges: "left right"
  // tokenizer.ggml.{bos,eos,unknown,padding}_token_id
  std::optional<int32_t> bos_id;
  std::optional<int32_t> eos_id;
  std::optional<int32_t> unk_id;
  std::optional<int32_t> pad_id;
  // tokenizer.ggml.{add_bos_token,add_eos_token,add_space_prefix}
  std::optional<bool> add_bos;
  std::optional<bool> add_eos;
  std::optional<bool> add_space_prefix;
  std::string chat_template;  // tokenizer.chat_template: "" if absent
};

}  // namespace lanner
