// SPDX-License-Identifier: Apache-2.0
#include "kernels/rms_norm/rms_norm.h"

#include "base/error.h"
#include "kernels/rms_norm/kernels.h"

namespace lanner {
namespace {

// Elements below which a second thread costs more than it saves.
constexpr int64_t kMinElementsPerThread = 8192;

// Rows of x in groups of `size` elements, each normalised on its own.
void normalise(const Tensor& x, const Tensor& weight, int size, float epsilon, const Tensor& y,
               ThreadPool& threads) {
  const int64_t row_size = x.size(-1);
  const RmsNormFn kernel = select_rms_norm().row;
  const float* w = weight.data<float>();
  threads.parallel_for(
      x.num_rows(),
      [&](int64_t begin, int64_t end) {
        for (int64_t t = begin; t < end; ++t) {
          const float* from = x.row<float>(t);
          float* to = y.row<float>(t);
          for (int64_t i = 0; i < row_size; i += size) kernel(from + i, w, epsilon, size, to + i);
        }
      },
      ceil_div(kMinElementsPerThread, row_size));
}

void check(const Tensor& x, const Tensor& weight, const Tensor& y) {
  check_argument(x.shape().rank() > 0 && x.size(-1) > 0,
                 "[rms_norm] x is {}: rows have no elements", x.shape());
  check_argument(y.shape() == x.shape(), "[rms_norm] y is {}, expected {}", y.shape(), x.shape());
  check_argument(
      x.dtype() == DType::kF32 && y.dtype() == DType::kF32 && weight.dtype() == DType::kF32,
      "[rms_norm] x, weight and y are {}, {} and {}, expected fp32", x.dtype(), weight.dtype(),
      y.dtype());
}

}  // namespace

std::span<const RmsNormKernel* const> rms_norm_kernels() {
  static constexpr const RmsNormKernel* kKernels[] = {
      &kRmsNormAvx512,
      &kRmsNormAvx2,
      &kRmsNormScalar,
  };
  return kKernels;
}

const RmsNormKernel& select_rms_norm(Isa isa) {
  for (const RmsNormKernel* kernel : rms_norm_kernels()) {
    if (isa.has(kernel->needs)) return *kernel;
  }
  return kRmsNormScalar;
}

void rms_norm(const Tensor& x, const Tensor& weight, float epsilon, const Tensor& y,
              ThreadPool& threads) {
  check(x, weight, y);
  const int size = checked_cast<int>(x.size(-1), "[rms_norm] hidden size");
  check_argument(weight.numel() == size, "[rms_norm] weight has {} elements, expected {}",
                 weight.numel(), size);
  normalise(x, weight, size, epsilon, y, threads);
}

void rms_norm_per_head(const Tensor& x, const Tensor& weight, float epsilon, const Tensor& y,
                       ThreadPool& threads) {
  check(x, weight, y);
  const int head_dim = checked_cast<int>(weight.numel(), "[rms_norm] head size");
  check_argument(head_dim > 0 && x.size(-1) % head_dim == 0,
                 "[rms_norm] rows of {} elements are no whole number of heads of {}", x.size(-1),
                 head_dim);
  normalise(x, weight, head_dim, epsilon, y, threads);
}

}  // namespace lanner
