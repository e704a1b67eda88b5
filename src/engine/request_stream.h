// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "lanner/request.h"
#include "text/stop_string_matcher.h"
#include "text/tokenizer.h"

namespace lanner {

// The text of one request: tokens in, whole characters up to a stop string out, sequence by
// sequence; of best_of sequences the n best at the end. Lives in the callback that the engine
// holds, so it is used by the engine's thread alone.
class RequestStream {
 public:
  // tokenizer: null where the model has none; there is no text then. shown_tokens: special tokens
  // that are text even so.
  RequestStream(RequestId id, const Tokenizer* tokenizer, const SamplingParams& sampling,
                int prompt_tokens, int truncated_tokens, const std::vector<int32_t>& shown_tokens,
                OutputCallback on_output);

  // False: a stop string has ended the sequence.
  bool push(const TokenOutput& news);

 private:
  struct Answer {
    std::optional<StreamDecoder> decoder;
    StopStringMatcher stop;
    bool finished = false;
    RequestOutput all;       // best_of: everything so far
    double logprob_sum = 0;  // likewise
  };

  RequestOutput to_output(const TokenOutput& news) const;
  // Adds the text; true if a stop string ended it, and cuts the output there.
  bool add_text(Answer& answer, const TokenOutput& news, RequestOutput& output) const;
  std::vector<PositionLogprobs> to_logprobs(const std::vector<PositionScores>& scores) const;
  TokenLogprob to_logprob(const TokenScore& score) const;
  void emit(RequestOutput& output);
  void collect(Answer& answer, const TokenOutput& news, RequestOutput output);

  RequestId id_;
  const Tokenizer* tokenizer_;
  int n_;
  int min_tokens_;
  bool include_stop_;
  bool wants_logprobs_;
  bool ranks_;  // best_of > n
  int prompt_tokens_;
  int truncated_tokens_;
  int num_left_;  // answers to be told
  std::vector<Answer> answers_;
  OutputCallback on_output_;
};

}  // namespace lanner
