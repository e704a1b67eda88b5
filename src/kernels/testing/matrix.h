// SPDX-License-Identifier: Apache-2.0
// For tests only.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/tensor.h"
#include "base/testing/random.h"

namespace lanner {

// An fp32 matrix whose rows are `gap` elements further apart than they are long, so that an op
// which takes a view for a packed matrix, or writes past a row, fails its test.
class TestMatrix {
 public:
  static constexpr float kGap = -12345.0f;

  TestMatrix(int64_t num_rows, int64_t size, int64_t gap = 3)
      : num_rows_(num_rows),
        size_(size),
        stride_(size + gap),
        memory_(static_cast<size_t>(num_rows * stride_), kGap) {}

  static TestMatrix random(int64_t num_rows, int64_t size, uint32_t seed, int64_t gap = 3) {
    TestMatrix matrix(num_rows, size, gap);
    matrix.set(random_normal(num_rows * size, seed));
    return matrix;
  }

  Tensor tensor() { return Tensor(memory_.data(), DType::kF32, Shape{num_rows_, size_}, stride_); }
  std::span<float> row(int64_t i) {
    return std::span(memory_).subspan(static_cast<size_t>(i * stride_), static_cast<size_t>(size_));
  }

  void set(const std::vector<float>& values) {
    for (int64_t i = 0; i < num_rows_; ++i) {
      const auto to = row(i);
      for (size_t j = 0; j < to.size(); ++j) to[j] = values[static_cast<size_t>(i) * to.size() + j];
    }
  }
  // All rows, one after the other.
  std::vector<float> values() {
    std::vector<float> all;
    for (int64_t i = 0; i < num_rows_; ++i) all.insert(all.end(), row(i).begin(), row(i).end());
    return all;
  }
  // Nothing was written between the rows.
  bool gaps_are_untouched() const {
    for (int64_t i = 0; i < num_rows_; ++i) {
      for (int64_t j = size_; j < stride_; ++j) {
        if (memory_[static_cast<size_t>(i * stride_ + j)] != kGap) return false;
      }
    }
    return true;
  }

 private:
  int64_t num_rows_;
  int64_t size_;
  int64_t stride_;
  std::vector<float> memory_;
};

}  // namespace lanner
