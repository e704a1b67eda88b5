// SPDX-License-Identifier: Apache-2.0
#include "kernels/softmax/softmax.h"

#include "base/error.h"
#include "kernels/softmax/kernels.h"

namespace lanner {
namespace {

// Elements below which a second thread costs more than it saves.
constexpr int64_t kMinElementsPerThread = 4096;

}  // namespace

std::span<const SoftmaxKernel* const> softmax_kernels() {
  static constexpr const SoftmaxKernel* kKernels[] = {
      &kSoftmaxAvx512,
      &kSoftmaxAvx2,
      &kSoftmaxScalar,
  };
  return kKernels;
}

const SoftmaxKernel& select_softmax(Isa isa) {
  for (const SoftmaxKernel* kernel : softmax_kernels()) {
    if (isa.has(kernel->needs)) return *kernel;
  }
  return kSoftmaxScalar;
}

void softmax(const Tensor& x, const Tensor& y, ThreadPool& threads) {
  check_argument(x.shape().rank() > 0 && x.size(-1) > 0, "[softmax] x is {}: rows have no elements",
                 x.shape());
  check_argument(y.shape() == x.shape(), "[softmax] y is {}, expected {}", y.shape(), x.shape());
  check_argument(x.dtype() == DType::kF32 && y.dtype() == DType::kF32,
                 "[softmax] x and y are {} and {}, expected fp32", x.dtype(), y.dtype());
  const int size = checked_cast<int>(x.size(-1), "[softmax] row size");

  const SoftmaxFn kernel = select_softmax().row;
  threads.parallel_for(
      x.num_rows(),
      [&](int64_t begin, int64_t end) {
        for (int64_t t = begin; t < end; ++t) kernel(x.row<float>(t), size, y.row<float>(t));
      },
      ceil_div(kMinElementsPerThread, size));
}

}  // namespace lanner
