// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/tensor.h"
#include "base/workspace.h"
#include "kernels/gemm/packed_weight.h"

namespace lanner {

// x as one form of activations wants it.
struct PreparedX {
  GemmX form = GemmX::kF32;
  int group = 0;  // kInt8Group: values per offset and sum
  int zero_point = 0;
  int64_t k_padded = 0;
  bool copied = false;  // else `data` is x itself
  std::byte* data = nullptr;
  int64_t row_bytes = 0;
  float* scale = nullptr;
  int64_t scales = 0;  // per row
  int32_t* offset = nullptr;
  float* sum = nullptr;
  int64_t sums = 0;  // per row, of offset and sum
  const GemmActivations* functions = nullptr;

  bool same_as(const PreparedX& other) const {
    return form == other.form && group == other.group && zero_point == other.zero_point &&
           k_padded == other.k_padded && copied == other.copied && functions == other.functions;
  }
};

// What `path` needs x [rows, k] as. kF32 is not copied where x itself serves as well, which it does
// not if its rows are wanted in another order (`gathered`).
PreparedX plan_x(const Tensor& x, const GemmSegment& segment, const GemmPath& path,
                 bool gathered = false);

// Memory for `rows` rows of it, unless it is x itself.
void allocate_x(PreparedX& p, int64_t rows, Workspace& workspace);

// Row `row` of p from k values.
void prepare_row(const float* in, int64_t k, int64_t row, const PreparedX& p);

}  // namespace lanner
