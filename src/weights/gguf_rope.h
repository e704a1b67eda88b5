// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/json.h"
#include "weights/gguf_keys.h"
#include "weights/gguf_names.h"

namespace lanner {

// Adds "rope_scaling", as config.json has it, to `config`, which has rope_theta, head_dim and
// max_position_embeddings already. It is made of rope.scaling.* and of the tensors that hold
// factors of the frequencies. Throws Error naming the key or the tensor.
void add_gguf_rope_scaling(GgufKeys& keys, const GgufArchitecture& architecture, Json& config);

}  // namespace lanner
