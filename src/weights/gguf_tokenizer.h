// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "weights/gguf.h"

namespace lanner {

// Of a token, as GGUF numbers them (llama.h, enum llama_token_type).
enum class GgufTokenType : uint8_t {
  kUndefined = 0,
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

// The vocabulary of a GGUF file as plain data, from which the text part builds its tokenizer.
// Nothing but lengths and ids is checked; token texts may hold any bytes.
struct GgufTokenizerData {
  std::string model;                       // "gpt2" (byte-level BPE), "llama" (SentencePiece), ...
  std::string pre;                         // name of the pre-tokenizer: "smollm"; may be empty
  std::vector<std::string> tokens;         // by id; not empty
  std::vector<float> scores;               // as many as tokens, or none
  std::vector<GgufTokenType> token_types;  // as many as tokens, or none
  std::vector<std::string> merges;         // "left right", best first; none for SentencePiece
  std::optional<int32_t> bos_id;
  std::optional<int32_t> eos_id;
  std::optional<int32_t> eot_id;  // end of a turn, where it is another than eos
  std::optional<int32_t> eom_id;  // end of a message (tool calls)
  std::optional<int32_t> unk_id;
  std::optional<int32_t> pad_id;
  // Unset: the file does not say, and the model's custom decides.
  std::optional<bool> add_bos;
  std::optional<bool> add_eos;
  std::optional<bool> add_space_prefix;
  std::optional<bool> remove_extra_whitespaces;
  std::string chat_template;  // empty if there is none
};

// Nothing if the file has no vocabulary. Throws Error(kCorruptFile) naming the key.
std::optional<GgufTokenizerData> read_gguf_tokenizer(const GgufFile& file);

}  // namespace lanner
