// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <variant>
#include <vector>

#include "lanner/request.h"

namespace lanner {

// How one vector is made of the hidden states of a text's tokens, those after the model's last
// norm.
enum class Pooling {
  kMean,   // of all tokens
  kLast,   // of the last token, which has seen all others
  kFirst,  // of the first token (cls)
};

inline constexpr Pooling kPoolings[] = {Pooling::kMean, Pooling::kLast, Pooling::kFirst};

// "mean", "last", "first". Inline: fronts know the names without the library behind the headers.
constexpr const char* pooling_name(Pooling pooling) {
  switch (pooling) {
    case Pooling::kMean:
      return "mean";
    case Pooling::kLast:
      return "last";
    case Pooling::kFirst:
      return "first";
  }
  return "";
}

// A text that is to become a vector.
struct EmbeddingRequest {
  // Text is tokenised with the special tokens that the tokenizer adds by default; token ids are
  // taken as they are, each in [0, vocab_size).
  std::variant<std::string, std::vector<int32_t>> input;
  Pooling pooling = Pooling::kMean;
  bool normalized = true;  // to a Euclidean length of 1
  // Instead of refusing a text that is longer than the context, leave out its last tokens;
  // TextEmbedding::truncated_tokens says how many.
  bool truncate = false;
  int priority = 0;             // as Request::priority
  std::string cache_salt = {};  // as Request::cache_salt
  std::string lora = {};        // as Request::lora
};

struct TextEmbedding {
  std::vector<float> values;  // [LLM::embedding_size]
  int prompt_tokens = 0;      // of the text, without truncated ones
  int truncated_tokens = 0;   // left out (EmbeddingRequest::truncate)
  int cached_tokens = 0;      // taken from the prefix cache, which kLast alone can use
};

// What comes of a request: one output, its last.
struct EmbeddingOutput {
  RequestId id = 0;
  TextEmbedding embedding = {};                      // its values are empty unless kStop
  FinishReason finish_reason = FinishReason::kNone;  // kStop, kAborted or kError
  std::string error = {};                            // a sentence, with kError
};

// Called from the engine's own thread, once; must return soon and not throw.
using EmbeddingCallback = std::function<void(const EmbeddingOutput&)>;

}  // namespace lanner
