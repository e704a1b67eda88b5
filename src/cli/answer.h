// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

#include "lanner/llm.h"

namespace lanner::cli {

class InterruptGuard;

// A finished request and how long it took, seen from the outside; times in seconds.
struct Answer {
  std::string text;
  std::vector<int32_t> token_ids;
  FinishReason finish_reason = FinishReason::kNone;
  std::string error;  // a sentence, when finish_reason is kError
  bool interrupted = false;
  int prompt_tokens = 0;
  int output_tokens = 0;
  int truncated_tokens = 0;
  int cached_tokens = 0;
  std::vector<PositionLogprobs> logprobs;
  std::vector<Completion> further;  // the answers after the first, with n above 1
  double ttft_seconds = 0;          // from submit to the first token
  double tpot_seconds = 0;          // per token after the first; 0 with fewer than two
};

// Runs the request and hands each piece of text of the first answer to on_text, in this thread.
// Ctrl-C aborts the request and lets it finish; what on_text throws does the same and is thrown
// again. Throws what LLM::submit throws.
Answer stream_answer(LLM& llm, const Request& request, InterruptGuard& interrupts,
                     const std::function<void(std::string_view text)>& on_text);

// What --stats and /stats print.
void print_stats(std::ostream& out, const Answer& answer, const LlmStats& stats);

// Control characters replaced by U+FFFD, except newline and tab: text from a model or a file must
// not steer the terminal.
std::string terminal_text(std::string_view text);

}  // namespace lanner::cli
