// SPDX-License-Identifier: Apache-2.0
#include "layers/norm.h"

#include "kernels/rms_norm/rms_norm.h"

namespace lanner {

void RmsNorm::forward(const Tensor& x, const Tensor& y, ExecutionContext& context) const {
  const Tensor weight(const_cast<float*>(weight_.data()), DType::kF32,
                      Shape{static_cast<int64_t>(weight_.size())});
  rms_norm(x, weight, epsilon_, y, context.threads);
}

}  // namespace lanner
