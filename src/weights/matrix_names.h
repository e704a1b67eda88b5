// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace lanner {

// Whether a tensor of a checkpoint is a matrix [out, in] that a layer only ever packs, in the type
// that the model's weights have: what a file may hold quantised without a change of the result.
// Known by its name; matrices with other uses (tables of token vectors, routers of experts, GPT-2's
// transposed ones) are not.
bool is_packed_matrix(std::string_view name, std::string_view model_type);

}  // namespace lanner
