// SPDX-License-Identifier: Apache-2.0
#include "kernels/rope/rope.h"

#include "base/error.h"
#include "kernels/rope/kernels.h"

namespace lanner {
namespace {

// Elements below which a second thread costs more than it saves.
constexpr int64_t kMinElementsPerThread = 8192;

}  // namespace

std::span<const RopeKernel* const> rope_kernels() {
  static constexpr const RopeKernel* kKernels[] = {
      &kRopeAvx512,
      &kRopeAvx2,
      &kRopeScalar,
  };
  return kKernels;
}

const RopeKernel& select_rope(Isa isa) {
  for (const RopeKernel* kernel : rope_kernels()) {
    if (isa.has(kernel->needs)) return *kernel;
  }
  return kRopeScalar;
}

void rope(const Tensor& x, int head_dim, std::span<const int32_t> positions, const RopeTable& table,
          ThreadPool& threads) {
  check_argument(x.shape().rank() > 0 && head_dim > 0 && x.size(-1) % head_dim == 0,
                 "[rope] x is {}, which is no whole number of heads of {}", x.shape(), head_dim);
  check_argument(x.dtype() == DType::kF32, "[rope] x is {}, expected fp32", x.dtype());
  check_argument(static_cast<int64_t>(positions.size()) == x.num_rows(),
                 "[rope] {} positions for {} tokens", positions.size(), x.num_rows());
  check_argument(table.rotary_dim > 0 && table.rotary_dim % 2 == 0 && table.offset >= 0 &&
                     table.offset + int64_t{table.rotary_dim} <= head_dim,
                 "[rope] rotary dimension {} is odd or, from element {} on, outside a head of {}",
                 table.rotary_dim, table.offset, head_dim);
  for (int32_t position : positions) {
    check_argument(position >= 0 && position < table.num_positions,
                   "[rope] position {} is outside the table of {}", position, table.num_positions);
  }

  const RopeFn kernel = select_rope().head[static_cast<size_t>(table.style)];
  const int pairs = table.rotary_dim / 2;
  const int64_t num_heads = x.size(-1) / head_dim;
  threads.parallel_for(
      x.num_rows() * num_heads,
      [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t token = i / num_heads;
          const int64_t entry = int64_t{positions[static_cast<size_t>(token)]} * pairs;
          kernel(x.row<float>(token) + i % num_heads * head_dim + table.offset, table.cos + entry,
                 table.sin + entry, pairs);
        }
      },
      ceil_div(kMinElementsPerThread, head_dim));
}

}  // namespace lanner
