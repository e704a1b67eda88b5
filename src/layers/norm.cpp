// SPDX-License-Identifier: Apache-2.0
#include "layers/norm.h"

#include "kernels/convert/convert.h"
#include "kernels/rms_norm/rms_norm.h"

namespace lanner {

std::vector<float> load_vector(const WeightScope& weights, const std::string& name, int64_t size) {
  const CheckpointTensor loaded = weights.tensor(name, Shape{size});
  std::vector<float> values(static_cast<size_t>(size));
  select_convert(loaded.view.dtype(), DType::kF32)(loaded.view.raw(), size, values.data());
  return values;
}

void RmsNorm::forward(const Tensor& x, const Tensor& y, ExecutionContext& context) const {
  const Tensor weight(const_cast<float*>(weight_.data()), DType::kF32,
                      Shape{static_cast<int64_t>(weight_.size())});
  rms_norm(x, weight, epsilon_, y, context.threads);
}

}  // namespace lanner
