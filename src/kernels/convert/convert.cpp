// SPDX-License-Identifier: Apache-2.0
#include "kernels/convert/convert.h"

#include "base/error.h"
#include "kernels/convert/kernels.h"

namespace lanner {

std::span<const ConvertKernelTable* const> convert_kernel_tables() {
  static constexpr const ConvertKernelTable* kTables[] = {
      &kConvertAvx512,
      &kConvertAvx2,
      &kConvertScalar,
      &kConvertScalarBlocks,
  };
  return kTables;
}

ConvertRowFn select_convert(DType from, DType to, Isa isa) {
  for (const ConvertKernelTable* table : convert_kernel_tables()) {
    if (!isa.has(table->needs)) continue;
    for (const ConvertKernel& kernel : table->list()) {
      if (kernel.from == from && kernel.to == to) return kernel.row;
    }
  }
  throw_error(ErrorCode::kUnsupported, "[convert] no conversion from {} to {}", from, to);
}

void convert(const Tensor& x, const Tensor& y, ThreadPool& threads) {
  check_argument(x.shape() == y.shape(), "[convert] y is {}, expected {}", y.shape(), x.shape());
  const ConvertRowFn row = select_convert(x.dtype(), y.dtype());
  const int64_t num_rows = x.num_rows();
  if (num_rows == 0) return;
  const int64_t n = x.size(-1);
  // Below some 16 thousand elements waking a thread costs more than its work.
  const int64_t min_grain = 1 + (int64_t{1} << 14) / n;
  threads.parallel_for(
      num_rows,
      [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) row(x.raw_row(i), n, y.raw_row(i));
      },
      min_grain);
}

}  // namespace lanner
