// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "weights/checkpoint.h"
#include "weights/gguf.h"

namespace lanner {

// The tensors of a GGUF file as the HF checkpoint of the model has them: names, order of
// dimensions, and order of the rows of Q and K (get() copies those two). Throws Error(kUnsupported)
// for an unknown architecture, or a tensor without a place in it: to leave it out would change the
// result.
std::unique_ptr<Checkpoint> make_gguf_checkpoint(std::shared_ptr<const GgufFile> file);

}  // namespace lanner
