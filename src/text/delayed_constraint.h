// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "sampling/token_constraint.h"

namespace lanner {

// Lets anything but an end come up to a token, such as </think>; from there on another constraint
// holds.
class DelayedConstraint final : public TokenConstraint {
 public:
  // num_words: of a mask. eos_ids: each within the mask.
  DelayedConstraint(std::unique_ptr<TokenConstraint> then, int32_t after, size_t num_words,
                    std::span<const int32_t> eos_ids)
      : then_(std::move(then)), after_(after), before_(num_words, ~uint32_t{0}) {
    for (const int32_t id : eos_ids) {
      before_.at(static_cast<size_t>(id) / 32) &= ~(uint32_t{1} << (id % 32));
    }
  }

  void prepare() override { then_->prepare(); }
  std::span<const uint32_t> allowed() override { return begun_ ? then_->allowed() : before_; }
  void accept(int32_t token) override {
    if (begun_) return then_->accept(token);
    begun_ = token == after_;
  }
  std::vector<int32_t> forced() override {
    return begun_ ? then_->forced() : std::vector<int32_t>();
  }
  std::unique_ptr<TokenConstraint> clone() const override {
    auto copy =
        std::make_unique<DelayedConstraint>(then_->clone(), after_, 0, std::span<const int32_t>());
    copy->before_ = before_;
    copy->begun_ = begun_;
    return copy;
  }

 private:
  std::unique_ptr<TokenConstraint> then_;
  int32_t after_;
  std::vector<uint32_t> before_;
  bool begun_ = false;
};

}  // namespace lanner
