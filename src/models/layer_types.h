// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "base/function_ref.h"
#include "weights/config_reader.h"

namespace lanner {

// For each layer, whether it attends within the sliding window only: by "layer_types" where the
// config has it ("sliding_attention", "full_attention"), else by `otherwise`. Throws Error naming
// another value, or a list of another length.
std::vector<bool> read_windowed_layers(const ConfigReader& config, size_t num_layers,
                                       FunctionRef<bool(int layer)> otherwise);

}  // namespace lanner
