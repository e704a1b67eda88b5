// SPDX-License-Identifier: Apache-2.0
#include "kernels/elementwise/elementwise.h"

#include <algorithm>

#include "base/error.h"
#include "kernels/elementwise/kernels.h"

namespace lanner {
namespace {

// A piece of a row that one thread takes; a single token is spread over the threads too.
constexpr int64_t kPiece = 4096;
// Elements below which a second thread costs more than it saves.
constexpr int64_t kMinElementsPerThread = 16384;

// task(x, first column, count, y) over pieces of all rows.
template <typename Task>
void for_each_piece(const Tensor& x, const Tensor& y, ThreadPool& threads, Task task) {
  check_argument(y.shape() == x.shape() && x.shape().rank() > 0,
                 "[elementwise] y is {}, x is {}, expected the same", y.shape(), x.shape());
  check_argument(x.dtype() == DType::kF32 && y.dtype() == DType::kF32,
                 "[elementwise] x and y are {} and {}, expected fp32", x.dtype(), y.dtype());
  const int64_t size = x.size(-1);
  const int64_t pieces = std::max<int64_t>(1, ceil_div(size, kPiece));
  const int64_t elements = std::max<int64_t>(1, std::min(size, kPiece));
  threads.parallel_for(
      x.num_rows() * pieces,
      [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t row = i / pieces, first = i % pieces * kPiece;
          task(x.row<float>(row) + first, first, std::min(kPiece, size - first),
               y.row<float>(row) + first);
        }
      },
      ceil_div(kMinElementsPerThread, elements));
}

}  // namespace

std::span<const ElementwiseKernel* const> elementwise_kernels() {
  static constexpr const ElementwiseKernel* kKernels[] = {
      &kElementwiseAvx512,
      &kElementwiseAvx2,
      &kElementwiseScalar,
  };
  return kKernels;
}

const ElementwiseKernel& select_elementwise(Isa isa) {
  for (const ElementwiseKernel* kernel : elementwise_kernels()) {
    if (isa.has(kernel->needs)) return *kernel;
  }
  return kElementwiseScalar;
}

void scaled_add(float a, const Tensor& x, float b, const Tensor& y, ThreadPool& threads) {
  const ElementwiseKernel& kernel = select_elementwise();
  for_each_piece(x, y, threads, [&](const float* from, int64_t, int64_t count, float* to) {
    kernel.scaled_add(a, from, b, count, to);
  });
}

void multiply_columns(const Tensor& x, const Tensor& factors, const Tensor& y,
                      ThreadPool& threads) {
  check_argument(
      x.shape().rank() > 0 && factors.dtype() == DType::kF32 && factors.numel() == x.size(-1),
      "[elementwise] factors are {} {}, expected fp32, one for each column of {}", factors.dtype(),
      factors.shape(), x.shape());
  const ElementwiseKernel& kernel = select_elementwise();
  const float* values = factors.data<float>();
  for_each_piece(x, y, threads, [&](const float* from, int64_t first, int64_t count, float* to) {
    kernel.multiply(from, values + first, count, to);
  });
}

void soft_cap(float cap, const Tensor& x, const Tensor& y, ThreadPool& threads) {
  check_argument(cap > 0.0f, "[elementwise] cap is {}, expected more than 0", cap);
  const ElementwiseKernel& kernel = select_elementwise();
  for_each_piece(x, y, threads, [&](const float* from, int64_t, int64_t count, float* to) {
    kernel.soft_cap(cap, from, count, to);
  });
}

void clamp(float limit, const Tensor& x, const Tensor& y, ThreadPool& threads) {
  check_argument(limit > 0.0f, "[elementwise] limit is {}, expected more than 0", limit);
  const ElementwiseKernel& kernel = select_elementwise();
  for_each_piece(x, y, threads, [&](const float* from, int64_t, int64_t count, float* to) {
    kernel.clamp(limit, from, count, to);
  });
}

}  // namespace lanner
