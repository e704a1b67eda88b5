// SPDX-License-Identifier: Apache-2.0
#include "weights/checkpoint.h"

#include "base/error.h"
#include "weights/mapped_file.h"

namespace lanner {

CheckpointTensor Checkpoint::tensor(std::string_view name, const Shape& shape) const {
  CheckpointTensor found = get(name);
  check_argument(found.view.shape() == shape, "{}: tensor {} is {}, expected {}", path(),
                 quote_name(name), found.view.shape(), shape);
  return found;
}

std::string WeightScope::full_name(std::string_view name) const {
  if (prefix_.empty()) return std::string(name);
  return fmt::format("{}.{}", prefix_, name);
}

CheckpointTensor WeightScope::tensor(std::string_view name, const Shape& shape) const {
  return checkpoint_->tensor(full_name(name), shape);
}

std::optional<CheckpointTensor> WeightScope::optional_tensor(std::string_view name,
                                                             const Shape& shape) const {
  if (!contains(name)) return std::nullopt;
  return tensor(name, shape);
}

}  // namespace lanner
