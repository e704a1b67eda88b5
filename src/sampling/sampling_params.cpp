// SPDX-License-Identifier: Apache-2.0
#include "lanner/sampling_params.h"

#include <algorithm>
#include <string>

#include "base/error.h"

namespace lanner {
namespace {

constexpr size_t kMaxStopStrings = 16;
constexpr size_t kMaxLogitBias = 1024;
constexpr size_t kMaxBadWords = 128;
constexpr size_t kMaxBadWordIds = 1024;
constexpr int kMaxSequences = 128;
constexpr int kMaxBeams = 64;
constexpr int kMaxLogprobs = 20;

// `holds` is written so that NaN fails it.
void check_field(bool holds, const char* field, double value, const char* range) {
  check_argument(holds, "[sampling] {} is {}, expected {}", field, value, range);
}

void check_ids(const std::vector<int32_t>& ids, const std::string& field) {
  for (size_t i = 0; i < ids.size(); ++i) {
    check_argument(ids[i] >= 0, "[sampling] {}[{}] is {}, expected at least 0", field, i, ids[i]);
  }
}

void check_logit_bias(const std::vector<LogitBias>& list) {
  check_argument(list.size() <= kMaxLogitBias,
                 "[sampling] logit_bias has {} tokens, expected at most {}", list.size(),
                 kMaxLogitBias);
  std::vector<int32_t> ids;
  for (const LogitBias& entry : list) {
    check_argument(entry.token_id >= 0, "[sampling] logit_bias names token {}", entry.token_id);
    check_argument(entry.bias >= -100 && entry.bias <= 100,
                   "[sampling] logit_bias of token {} is {}, expected a number in [-100, 100]",
                   entry.token_id, entry.bias);
    ids.push_back(entry.token_id);
  }
  std::ranges::sort(ids);
  const auto twice = std::ranges::adjacent_find(ids);
  check_argument(twice == ids.end(), "[sampling] logit_bias names token {} twice",
                 twice == ids.end() ? 0 : *twice);
}

void check_bad_words(const SamplingParams& params) {
  check_argument(params.bad_words.size() <= kMaxBadWords,
                 "[sampling] there are {} bad_words, expected at most {}", params.bad_words.size(),
                 kMaxBadWords);
  check_argument(params.bad_word_ids.size() <= kMaxBadWordIds,
                 "[sampling] there are {} bad_word_ids, expected at most {}",
                 params.bad_word_ids.size(), kMaxBadWordIds);
  for (size_t i = 0; i < params.bad_words.size(); ++i) {
    check_argument(!params.bad_words[i].empty(), "[sampling] bad_words[{}] is empty", i);
  }
  for (size_t i = 0; i < params.bad_word_ids.size(); ++i) {
    check_argument(!params.bad_word_ids[i].empty(), "[sampling] bad_word_ids[{}] is empty", i);
    check_ids(params.bad_word_ids[i], fmt::format("bad_word_ids[{}]", i));
  }
}

void check_beams(const SamplingParams& params) {
  check_field(params.length_penalty >= -10 && params.length_penalty <= 10, "length_penalty",
              params.length_penalty, "a number in [-10, 10]");
  if (params.beam_width == 0) return;
  check_field(params.beam_width >= std::max(2, params.n) && params.beam_width <= kMaxBeams,
              "beam_width", params.beam_width, "0, or at least 2, at least n and at most 64");
  check_field(params.temperature == 0, "temperature", params.temperature, "0 with beam_width");
  check_argument(!params.best_of, "[sampling] best_of is set, which means nothing with beam_width");
}

}  // namespace

void SamplingParams::validate() const {
  check_field(temperature >= 0 && temperature <= 100, "temperature", temperature,
              "a number in [0, 100]");
  check_field(top_k >= 0, "top_k", top_k, "at least 0");
  check_field(top_p > 0 && top_p <= 1, "top_p", top_p, "a number in (0, 1]");
  check_field(min_p >= 0 && min_p <= 1, "min_p", min_p, "a number in [0, 1]");
  check_field(typical_p > 0 && typical_p <= 1, "typical_p", typical_p, "a number in (0, 1]");
  check_field(repetition_penalty > 0 && repetition_penalty <= 100, "repetition_penalty",
              repetition_penalty, "a number in (0, 100]");
  check_field(frequency_penalty >= -2 && frequency_penalty <= 2, "frequency_penalty",
              frequency_penalty, "a number in [-2, 2]");
  check_field(presence_penalty >= -2 && presence_penalty <= 2, "presence_penalty", presence_penalty,
              "a number in [-2, 2]");
  check_field(!max_tokens || *max_tokens >= 1, "max_tokens", max_tokens.value_or(1), "at least 1");
  check_argument(stop.size() <= kMaxStopStrings,
                 "[sampling] stop has {} strings, expected at most {}", stop.size(),
                 kMaxStopStrings);
  for (size_t i = 0; i < stop.size(); ++i) {
    check_argument(!stop[i].empty(), "[sampling] stop[{}] is empty", i);
  }
  check_ids(stop_token_ids, "stop_token_ids");
  check_logit_bias(logit_bias);
  check_bad_words(*this);
  check_field(min_tokens >= 0 && min_tokens <= max_tokens.value_or(min_tokens), "min_tokens",
              min_tokens, "at least 0 and at most max_tokens");
  check_field(n >= 1 && n <= kMaxSequences, "n", n, "a number in [1, 128]");
  check_field(!best_of || (*best_of >= n && *best_of <= kMaxSequences), "best_of",
              best_of.value_or(n), "a number in [n, 128]");
  check_field(!logprobs || (*logprobs >= 0 && *logprobs <= kMaxLogprobs), "logprobs",
              logprobs.value_or(0), "a number in [0, 20]");
  check_field(!prompt_logprobs || (*prompt_logprobs >= 0 && *prompt_logprobs <= kMaxLogprobs),
              "prompt_logprobs", prompt_logprobs.value_or(0), "a number in [0, 20]");
  check_beams(*this);
}

}  // namespace lanner
