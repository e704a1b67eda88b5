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
  // Instead of refusing a prompt that is too long for the context, leave out its first tokens: the
  // answer gets room for max_tokens (unset: a quarter of the context), at most half of the context.
  // RequestOutput::truncated_tokens says how many were left out.
  bool truncate_prompt = false;
  // Lower goes first, but a level is worth 256 arrivals: no request is overtaken by more later ones
  // than that per level, so that none starves. Equals go in order of arrival.
  int priority = 0;
  // Cached blocks are shared only among requests with the same salt (tenants that must not learn
  // from response times what others have asked).
  std::string cache_salt = {};
  // The adapter of LlmConfig::lora that computes this request, by its name; "": the model alone.
  std::string lora = {};
};

enum class FinishReason {
  kNone,       // not finished
  kStop,       // an end token or a stop string
  kLength,     // max_tokens, or the model's context is full
  kToolCalls,  // of a chat: the answer has called a function
  kAborted,    // LLM::abort
  kError,      // RequestOutput::error says why
};

// "stop", "length", "tool_calls", "aborted", "error"; "" for kNone.
const char* finish_reason_name(FinishReason reason);

// A token and how likely the model found it: natural logarithm of its probability.
struct TokenLogprob {
  int32_t id = 0;
  double logprob = 0.0;
  std::string bytes;  // its text; a part of a character where a token is one
};

// What SamplingParams::logprobs asks for at one place.
struct PositionLogprobs {
  TokenLogprob token;             // the one that is there
  std::vector<TokenLogprob> top;  // the most likely ones, the best first
};

// One step's news of one sequence of a request. Outputs of a sequence arrive in order; its last
// one has a finish_reason.
struct RequestOutput {
  RequestId id = 0;
  int index = 0;                   // which of the n answers
  std::string text;                // new text: whole UTF-8 characters, never past a stop string
  std::vector<int32_t> token_ids;  // new tokens, end tokens included
  // One per token of token_ids, if SamplingParams::logprobs asks for them.
  std::vector<PositionLogprobs> logprobs;
  // With the first output of index 0, one per token of the prompt, if asked for. The first has
  // logprob 0 and no top: nothing comes before it.
  std::vector<PositionLogprobs> prompt_logprobs;
  FinishReason finish_reason = FinishReason::kNone;
  bool is_last = false;      // of the request: all n answers have finished
  std::string error;         // a sentence, when finish_reason is kError
  int prompt_tokens = 0;     // tokens of the whole prompt, without truncated ones
  int truncated_tokens = 0;  // left out of the prompt (Request::truncate_prompt)
  int cached_tokens = 0;     // of the prompt, taken from the prefix cache
  int output_tokens = 0;     // tokens generated so far
  bool finished() const { return finish_reason != FinishReason::kNone; }
};

// A finished answer.
struct Completion {
  std::string text;
  std::vector<int32_t> token_ids;
  FinishReason finish_reason = FinishReason::kNone;
  int prompt_tokens = 0;
  int truncated_tokens = 0;
  int cached_tokens = 0;
  std::vector<PositionLogprobs> logprobs;         // as in RequestOutput
  std::vector<PositionLogprobs> prompt_logprobs;  // of index 0
};

// Called from the engine's own thread, one call at a time; must return soon and not throw.
using OutputCallback = std::function<void(const RequestOutput&)>;

}  // namespace lanner
