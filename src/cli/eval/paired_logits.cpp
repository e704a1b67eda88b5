// SPDX-License-Identifier: Apache-2.0
#include "cli/eval/paired_logits.h"

#include "cli/failure.h"

namespace lanner::cli {

// The reference's side, on a thread of its own: hands over a piece, waits until it is used up.
void PairedLogits::produce(const std::vector<int32_t>& tokens) {
  std::exception_ptr error;
  try {
    reference_.logits(
        tokens,
        [&](int64_t first, std::span<const float> rows) {
          std::unique_lock lock(mutex_);
          piece_.assign(rows.begin(), rows.end());
          first_ = first;
          full_ = true;
          changed_.notify_all();
          changed_.wait(lock, [&] { return !full_ || cancelled_; });
          if (cancelled_) throw Cancelled();
        },
        lora_);
  } catch (const Cancelled&) {
    // run() is leaving with an error of its own.
  } catch (...) {
    error = std::current_exception();
  }
  const std::lock_guard lock(mutex_);
  error_ = error;
  ended_ = true;
  changed_.notify_all();
}

void PairedLogits::wait_for_piece() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return full_ || ended_; });
  if (error_) std::rethrow_exception(error_);
}

void PairedLogits::release_piece() {
  const std::lock_guard lock(mutex_);
  full_ = false;
  changed_.notify_all();
}

void PairedLogits::run(const std::vector<int32_t>& tokens, const OnRows& on_rows) {
  full_ = ended_ = cancelled_ = false;
  error_ = nullptr;
  std::thread producer([&] { produce(tokens); });
  std::exception_ptr error;
  try {
    wait_for_piece();
    model_.logits(
        tokens,
        [&](int64_t first, std::span<const float> rows) {
          // Both cut alike: the same vocabulary, the same tokens of a step.
          if (!full_ || first != first_ || rows.size() != piece_.size()) {
            throw Failure(kExitFailure, "the two configurations give logits of different shapes");
          }
          on_rows(first, piece_, rows);
          release_piece();
          wait_for_piece();
        },
        lora_);
  } catch (...) {
    error = std::current_exception();
  }
  {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
    changed_.notify_all();
  }
  producer.join();
  if (error) std::rethrow_exception(error);
}

}  // namespace lanner::cli
