// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace lanner {

// How the next token is chosen and when a sequence ends. The defaults are greedy decoding; a
// model's generation_config.json may propose others (LLM::default_sampling_params).
//
// Order of the logits processors: penalties, temperature, top-k, top-p, min-p.
struct SamplingParams {
  // 0 is greedy: the highest logit, the lowest token id among equals. Range [0, 100].
  double temperature = 0.0;
  // Keep the k most likely tokens; 0 keeps all.
  int top_k = 0;
  // Keep the smallest set whose probabilities sum to at least top_p (Holtzman et al. 2019,
  // arXiv 1904.09751). Range (0, 1].
  double top_p = 1.0;
  // Keep tokens with at least min_p times the probability of the best one (Nguyen et al. 2024,
  // arXiv 2407.01082). Range [0, 1].
  double min_p = 0.0;
  // Divides positive and multiplies negative logits of tokens in the prompt or the output (Keskar
  // et al. 2019, arXiv 1909.05858). 1 is off; range (0, 100].
  double repetition_penalty = 1.0;
  // Subtracted from a logit once per occurrence in the output. Range [-2, 2].
  double frequency_penalty = 0.0;
  // Subtracted from a logit if the token is in the output at all. Range [-2, 2].
  double presence_penalty = 0.0;

  // The same seed gives the same text, alone or in any batch. Unset: a seed is drawn.
  std::optional<uint64_t> seed;

  // Tokens to generate at most; unset: up to the model's context length.
  std::optional<int> max_tokens;
  // Text that ends the generation; it is not part of the output. At most 16.
  std::vector<std::string> stop;
  // Token ids that end the generation, besides the model's own end tokens.
  std::vector<int32_t> stop_token_ids;
  // Go on after the model's end tokens (benchmarks; fixed lengths).
  bool ignore_eos = false;

  // Throws Error(kInvalidArgument) naming the first field out of its range.
  void validate() const;
};

}  // namespace lanner
