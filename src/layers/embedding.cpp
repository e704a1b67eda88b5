// SPDX-License-Identifier: Apache-2.0
#include "layers/embedding.h"

#include "kernels/embedding/embedding.h"

namespace lanner {

void Embedding::forward(std::span<const int32_t> token_ids, const Tensor& y,
                        ExecutionContext& context) const {
  embedding(table_.view, token_ids, y, context.threads);
}

}  // namespace lanner
