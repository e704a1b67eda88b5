// SPDX-License-Identifier: Apache-2.0
#include "layers/load_vector.h"

#include "kernels/convert/convert.h"

namespace lanner {

std::vector<float> load_matrix(const WeightScope& weights, const std::string& name,
                               const Shape& shape) {
  const CheckpointTensor loaded = weights.tensor(name, shape);
  std::vector<float> values(static_cast<size_t>(shape.numel()));
  select_convert(loaded.view.dtype(), DType::kF32)(loaded.view.raw(), shape.numel(), values.data());
  return values;
}

std::vector<float> load_vector(const WeightScope& weights, const std::string& name, int64_t size) {
  return load_matrix(weights, name, Shape{size});
}

}  // namespace lanner
