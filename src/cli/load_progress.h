// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <iosfwd>
#include <memory>

#include "cli/context.h"

namespace lanner::cli {

// A progress bar on one line of a terminal, drawn at most ten times a second and wiped at the end.
class LoadProgress {
 public:
  // verb: what is done to the stages ("loading" weights).
  LoadProgress(std::ostream& terminal, const char* verb);
  ~LoadProgress();
  LoadProgress(const LoadProgress&) = delete;
  LoadProgress& operator=(const LoadProgress&) = delete;
  void update(const char* stage, int64_t done, int64_t total);

 private:
  std::ostream& terminal_;
  const char* verb_;
  std::chrono::steady_clock::time_point next_draw_;
  bool drawn_ = false;
};

// Loads through the backend with a progress bar where `err` is a terminal.
std::unique_ptr<LLM> load_model(Context& context, const std::string& path, const LlmConfig& config);

}  // namespace lanner::cli
