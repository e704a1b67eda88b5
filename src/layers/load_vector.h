// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "weights/checkpoint.h"

namespace lanner {

// A small tensor of the checkpoint (a bias, the weight of a norm) as fp32, row after row. Throws
// Error naming the tensor unless it has that shape.
std::vector<float> load_matrix(const WeightScope& weights, const std::string& name,
                               const Shape& shape);
std::vector<float> load_vector(const WeightScope& weights, const std::string& name, int64_t size);

}  // namespace lanner
