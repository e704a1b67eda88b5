// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "lanner/llm.h"

namespace lanner::cli {

// The logits of the same tokens from two models, side by side, while memory holds no more than one
// piece of each. The models take turns: they would be in each other's way on the same cores.
class PairedLogits {
 public:
  // Rows of position `first` and on of both models; of equal length.
  using OnRows = std::function<void(int64_t first, std::span<const float> reference,
                                    std::span<const float> logits)>;

  // lora: the adapter of both (Request::lora).
  PairedLogits(LLM& reference, LLM& model, std::string lora = {})
      : reference_(reference), model_(model), lora_(std::move(lora)) {}

  // Throws what either model or on_rows throws.
  void run(const std::vector<int32_t>& tokens, const OnRows& on_rows);

 private:
  struct Cancelled {};

  void produce(const std::vector<int32_t>& tokens);
  void wait_for_piece();
  void release_piece();

  LLM& reference_;
  LLM& model_;
  const std::string lora_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool full_ = false;       // piece_ holds rows that nobody has seen
  bool ended_ = false;      // the reference gives no more
  bool cancelled_ = false;  // nobody wants more
  int64_t first_ = 0;
  std::vector<float> piece_;
  std::exception_ptr error_;
};

}  // namespace lanner::cli
