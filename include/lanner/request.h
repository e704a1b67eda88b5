// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <variant>
#include <vector>

#include "lanner/sampling_params.h"

namespace lanner {

using RequestId = uint64_t;

// What the user asked: a prompt as text or as token ids, and how to go on from it.
struct Request {
  // Text is tokenised with the special tokens that the tokenizer adds by default; token ids are
  // taken as they are, each in [0, vocab_size).
  std::variant<std::string, std::vector<int32_t>> prompt;
  SamplingParams sampling;
  // Text already holds the model's special tokens (a rendered chat template): add none.
  bool prompt_has_special_tokens = false;
};

enum class FinishReason {
  kNone,     // not finished
  kStop,     // an end token or a stop string
  kLength,   // max_tokens, or the model's context is full
  kAborted,  // LLM::abort
  kError,    // RequestOutput::error says why
};

// "stop", "length", "aborted", "error"; "" for kNone.
const char* finish_reason_name(FinishReason reason);

// One step's news of a request. Outputs of one request arrive in order; the last one has a
// finish_reason.
struct RequestOutput {
  RequestId id = 0;
  std::string text;                // new text: whole UTF-8 characters, never past a stop string
  std::vector<int32_t> token_ids;  // new tokens, end tokens included
  FinishReason finish_reason = FinishReason::kNone;
  std::string error;      // a sentence, when finish_reason is kError
  int prompt_tokens = 0;  // tokens of the whole prompt
  int output_tokens = 0;  // tokens generated so far
  bool finished() const { return finish_reason != FinishReason::kNone; }
};

// Called from the engine's own thread, one call at a time; must return soon and not throw.
using OutputCallback = std::function<void(const RequestOutput&)>;

}  // namespace lanner
