// SPDX-License-Identifier: Apache-2.0
// Static, so that every object keeps its own copy (an ISA file must export nothing but its table).
#pragma once

#include "base/kv_layout.h"

namespace lanner {

// AttentionPackFn of the kernels that multiply fp32: [head_dim][rows].
template <void (*Rotate)(float*, int)>
static inline void pack_queries(const float* const* q, int rows, int head_dim, float scale,
                                bool rotated, float* queries) {
  if (!rotated) {
    for (int d = 0; d < head_dim; ++d, queries += rows) {
      for (int r = 0; r < rows; ++r) queries[r] = q[r][d] * scale;
    }
    return;
  }
  alignas(64) float x[KvLayout::kMaxInt8HeadDim];
  for (int r = 0; r < rows; ++r) {
    for (int d = 0; d < head_dim; ++d) x[d] = q[r][d] * scale;
    Rotate(x, head_dim);
    for (int d = 0; d < head_dim; ++d) queries[static_cast<int64_t>(d) * rows + r] = x[d];
  }
}

}  // namespace lanner
