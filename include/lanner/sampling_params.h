// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lanner/structured_output.h"

namespace lanner {

// Added to the logit of a token. bias: range [-100, 100].
struct LogitBias {
  int32_t token_id = 0;
  double bias = 0.0;
};

// When a beam search ends (HF's early_stopping).
enum class EarlyStopping {
  kHeuristic,  // once the best running beam, at its present length, is no better than the worst
               // finished one
  kAlways,     // as soon as beam_width beams have finished
  kNever,      // once no running beam can become better than the worst finished one
};

// How the next token is chosen and when a sequence ends. The defaults are greedy decoding; a
// model's generation_config.json may propose others (LLM::default_sampling_params).
//
// Order of the logits processors: token mask, logit bias, bad words and min_tokens, penalties,
// temperature, top-k, top-p, min-p, typical-p.
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
  // Keep the tokens whose surprise is nearest to the expected one, as many as sum to typical_p
  // (Meister et al. 2022, arXiv 2202.00666). Range (0, 1]; 1 keeps all.
  double typical_p = 1.0;
  // Divides positive and multiplies negative logits of tokens in the prompt or the output (Keskar
  // et al. 2019, arXiv 1909.05858). 1 is off; range (0, 100].
  double repetition_penalty = 1.0;
  // Subtracted from a logit once per occurrence in the output. Range [-2, 2].
  double frequency_penalty = 0.0;
  // Subtracted from a logit if the token is in the output at all. Range [-2, 2].
  double presence_penalty = 0.0;
  // At most 1024, each token once.
  std::vector<LogitBias> logit_bias;
  // Texts that must not be generated, in the tokens that the tokenizer makes of them, at the start
  // of a word and inside one; at most 128. bad_word_ids: the same as token ids, never empty lists;
  // at most 1024.
  std::vector<std::string> bad_words;
  std::vector<std::vector<int32_t>> bad_word_ids;

  // The same seed gives the same text, alone or in any batch. Unset: a seed is drawn. The
  // sequences of one request (n, best_of) draw different numbers.
  std::optional<uint64_t> seed;

  // Answers wanted, each with its RequestOutput::index. Range [1, 128].
  int n = 1;
  // Sequences generated, of which the n with the highest mean log-probability per token are
  // returned, once all have ended, the best as index 0. Unset: n, and outputs stream. Range
  // [n, 128].
  std::optional<int> best_of;
  // Beam search with so many beams; its n best are returned once it has ended, the best as index
  // 0. 0: none. Range [2, 64], at least n. Needs temperature 0 and no best_of.
  int beam_width = 0;
  // A beam's score is its log-probability over (output tokens)^length_penalty: above 0 favours
  // long ones. Range [-10, 10].
  double length_penalty = 1.0;
  EarlyStopping early_stopping = EarlyStopping::kHeuristic;

  // Log-probabilities of each output token and of so many of the most likely ones at its place, of
  // the model's own distribution (before every logits processor). Range [0, 20]; unset: none.
  std::optional<int> logprobs;
  // The same for the tokens of the prompt. The prompt is then computed whole, without the prefix
  // cache.
  std::optional<int> prompt_logprobs;

  // Tokens to generate at most; unset: up to the model's context length.
  std::optional<int> max_tokens;
  // End tokens, stop tokens and stop strings end nothing before so many tokens.
  int min_tokens = 0;
  // Text that ends the generation; it is not part of the output. At most 16.
  std::vector<std::string> stop;
  // Keep the stop string in the text.
  bool include_stop = false;
  // Token ids that end the generation, besides the model's own end tokens.
  std::vector<int32_t> stop_token_ids;
  // Go on after the model's end tokens (benchmarks; fixed lengths).
  bool ignore_eos = false;
  // The form of the output, if it must have one.
  StructuredOutput structured;

  // Throws Error(kInvalidArgument) naming the first field out of its range.
  void validate() const;
};

}  // namespace lanner
