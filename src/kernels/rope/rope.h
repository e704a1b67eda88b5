// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "base/tensor.h"
#include "base/thread_pool.h"

namespace lanner {

// Which elements of a head turn together: i with i + d/2, or 2i with 2i + 1 (d = rotary_dim).
enum class RopeStyle { kHalves, kPairs };

// cos and sin of every position, [num_positions, rotary_dim / 2] fp32 each.
struct RopeTable {
  const float* cos = nullptr;
  const float* sin = nullptr;
  int64_t num_positions = 0;
  int rotary_dim = 0;  // even, at most head_dim; the rest of the head passes unchanged
  int offset = 0;      // element of the head that the rotated ones begin at
  RopeStyle style = RopeStyle::kHalves;
};

// Rotary position embedding (Su et al. 2021, arXiv 2104.09864), in place:
//   (a, b) -> (a cos - b sin, b cos + a sin)
//
//   x          [num_tokens, num_heads * head_dim]  fp32, any row stride
//   positions  [num_tokens]
//
// Throws Error(kInvalidArgument) when shapes do not match or a position is outside the table.
void rope(const Tensor& x, int head_dim, std::span<const int32_t> positions, const RopeTable& table,
          ThreadPool& threads);

}  // namespace lanner
