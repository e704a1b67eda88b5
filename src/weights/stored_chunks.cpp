// SPDX-License-Identifier: Apache-2.0
#include "weights/stored_chunks.h"

#include <algorithm>

#include "base/buffer.h"
#include "base/error.h"
#include "kernels/gemm/stored_weight.h"
#include "weights/drop_resident.h"

namespace lanner {
namespace {

// Of the source, read before anything is written.
constexpr int64_t kChunkBytes = int64_t{32} << 20;
constexpr int64_t kRowMultiple = 16;  // of a packed panel

}  // namespace

void quantize_in_chunks(const CheckpointTensor& matrix, DType packing, ThreadPool& threads,
                        FunctionRef<void(const Tensor& rows)> on_rows) {
  const Tensor& x = matrix.view;
  const int64_t n = x.num_rows();
  const std::optional<int64_t> row_bytes = stored_row_bytes(packing, x.size(-1));
  LANNER_CHECK(row_bytes.has_value());
  const int64_t fitting = kChunkBytes / std::max<int64_t>(x.row_bytes(), 1);
  const int64_t step = std::max(fitting / kRowMultiple * kRowMultiple, kRowMultiple);
  Buffer memory(static_cast<size_t>(std::min(step, n) * *row_bytes));
  for (int64_t begin = 0; begin < n; begin += step) {
    const int64_t end = std::min(begin + step, n);
    quantize_rows(x.rows(begin, end), packing, memory.data(), threads);
    drop_resident(matrix, x.raw_row(begin), x.raw_row(end - 1) + x.row_bytes());
    on_rows(Tensor(memory.data(), DType::kU8, Shape{end - begin, *row_bytes}));
  }
}

}  // namespace lanner
