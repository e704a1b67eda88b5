// SPDX-License-Identifier: Apache-2.0
#include "lanner/sampling_params.h"

#include "base/error.h"

namespace lanner {
namespace {

constexpr size_t kMaxStopStrings = 16;

// `holds` is written so that NaN fails it.
void check_field(bool holds, const char* field, double value, const char* range) {
  check_argument(holds, "[sampling] {} is {}, expected {}", field, value, range);
}

}  // namespace

void SamplingParams::validate() const {
  check_field(temperature >= 0 && temperature <= 100, "temperature", temperature,
              "a number in [0, 100]");
  check_field(top_k >= 0, "top_k", top_k, "at least 0");
  check_field(top_p > 0 && top_p <= 1, "top_p", top_p, "a number in (0, 1]");
  check_field(min_p >= 0 && min_p <= 1, "min_p", min_p, "a number in [0, 1]");
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
  for (size_t i = 0; i < stop_token_ids.size(); ++i) {
    check_argument(stop_token_ids[i] >= 0,
                   "[sampling] stop_token_ids[{}] is {}, expected at least 0", i,
                   stop_token_ids[i]);
  }
}

}  // namespace lanner
