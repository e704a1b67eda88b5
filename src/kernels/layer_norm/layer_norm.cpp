// SPDX-License-Identifier: Apache-2.0
#include "kernels/layer_norm/layer_norm.h"

#include "base/error.h"
#include "kernels/layer_norm/kernels.h"

namespace lanner {
namespace {

// Elements below which a second thread costs more than it saves.
constexpr int64_t kMinElementsPerThread = 8192;

const float* parameter(const Tensor* tensor, const char* name, int size) {
  if (tensor == nullptr) return nullptr;
  check_argument(tensor->dtype() == DType::kF32, "[layer_norm] {} is {}, expected fp32", name,
                 tensor->dtype());
  check_argument(tensor->numel() == size, "[layer_norm] {} has {} elements, expected {}", name,
                 tensor->numel(), size);
  return tensor->data<float>();
}

void check(const Tensor& x, const Tensor& y) {
  check_argument(x.shape().rank() > 0 && x.size(-1) > 0,
                 "[layer_norm] x is {}: rows have no elements", x.shape());
  check_argument(y.shape() == x.shape(), "[layer_norm] y is {}, expected {}", y.shape(), x.shape());
  check_argument(x.dtype() == DType::kF32 && y.dtype() == DType::kF32,
                 "[layer_norm] x and y are {} and {}, expected fp32", x.dtype(), y.dtype());
}

}  // namespace

std::span<const LayerNormKernel* const> layer_norm_kernels() {
  static constexpr const LayerNormKernel* kKernels[] = {
      &kLayerNormAvx512,
      &kLayerNormAvx2,
      &kLayerNormScalar,
  };
  return kKernels;
}

const LayerNormKernel& select_layer_norm(Isa isa) {
  for (const LayerNormKernel* kernel : layer_norm_kernels()) {
    if (isa.has(kernel->needs)) return *kernel;
  }
  return kLayerNormScalar;
}

void layer_norm(const Tensor& x, const Tensor* weight, const Tensor* bias, float epsilon,
                const Tensor& y, ThreadPool& threads) {
  check(x, y);
  const int size = checked_cast<int>(x.size(-1), "[layer_norm] hidden size");
  const float* w = parameter(weight, "weight", size);
  const float* b = parameter(bias, "bias", size);

  const LayerNormFn kernel = select_layer_norm().row;
  threads.parallel_for(
      x.num_rows(),
      [&](int64_t begin, int64_t end) {
        for (int64_t t = begin; t < end; ++t) {
          kernel(x.row<float>(t), w, b, epsilon, size, y.row<float>(t));
        }
      },
      ceil_div(kMinElementsPerThread, size));
}

void layer_norm_per_head(const Tensor& x, int head_dim, const Tensor& weight, const Tensor* bias,
                         float epsilon, const Tensor& y, ThreadPool& threads) {
  check(x, y);
  check_argument(head_dim > 0 && x.size(-1) % head_dim == 0,
                 "[layer_norm] rows of {} elements are no whole number of heads of {}", x.size(-1),
                 head_dim);
  const int64_t width = x.size(-1);
  const bool shared = weight.numel() == head_dim;
  const int size = shared ? head_dim : checked_cast<int>(width, "[layer_norm] width of all heads");
  const float* w = parameter(&weight, "weight", size);
  const float* b = parameter(bias, "bias", size);
  const LayerNormFn kernel = select_layer_norm().row;
  threads.parallel_for(
      x.num_rows(),
      [&](int64_t begin, int64_t end) {
        for (int64_t t = begin; t < end; ++t) {
          for (int64_t i = 0; i < width; i += head_dim) {
            const int64_t at = shared ? 0 : i;
            kernel(x.row<float>(t) + i, w + at, b == nullptr ? nullptr : b + at, epsilon, head_dim,
                   y.row<float>(t) + i);
          }
        }
      },
      ceil_div(kMinElementsPerThread, width));
}

}  // namespace lanner
