// SPDX-License-Identifier: Apache-2.0
#include "layers/load_vector.h"

#include "kernels/convert/convert.h"

namespace lanner {

std::vector<float> load_vector(const WeightScope& weights, const std::string& name, int64_t size) {
  const CheckpointTensor loaded = weights.tensor(name, Shape{size});
  std::vector<float> values(static_cast<size_t>(size));
  select_convert(loaded.view.dtype(), DType::kF32)(loaded.view.raw(), size, values.data());
  return values;
}

}  // namespace lanner
