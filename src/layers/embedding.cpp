// SPDX-License-Identifier: Apache-2.0
#include "layers/embedding.h"

#include <vector>

#include "kernels/elementwise/elementwise.h"
#include "kernels/embedding/embedding.h"

namespace lanner {

void Embedding::forward(std::span<const int32_t> ids, const Tensor& y,
                        ExecutionContext& context) const {
  embedding(table_.view, ids, y, context.threads);
}

InputEmbedding::InputEmbedding(const InputConfig& config, const WeightScope& weights,
                               LoadContext& context)
    : config_(config),
      tokens_(weights.at(config.tokens), config.vocab_size,
              config.width > 0 ? config.width : config.hidden) {
  if (!config.positions.empty()) {
    positions_.emplace(weights.at(config.positions), config.num_positions + config.position_offset,
                       config.hidden);
  }
  if (!config.projection.empty()) {
    projection_.emplace(std::vector<LinearPart>{{config.projection, config.hidden}},
                        tokens_.width(), /*bias=*/false, weights, context);
  }
  if (config.norm) norm_.emplace(*config.norm, config.hidden, weights);
}

void InputEmbedding::forward(std::span<const int32_t> token_ids, std::span<const int32_t> positions,
                             const Tensor& y, ExecutionContext& context) const {
  const Workspace::Scope scope(context.workspace);
  if (projection_) {
    const Tensor narrow =
        context.workspace.tensor(DType::kF32, Shape{y.num_rows(), tokens_.width()});
    tokens_.forward(token_ids, narrow, context);
    projection_->forward(narrow, y, context);
  } else {
    tokens_.forward(token_ids, y, context);
  }
  if (config_.scale != 1.0f) scaled_add(config_.scale, y, 0.0f, y, context.threads);
  if (positions_) {
    std::vector<int32_t> rows(positions.begin(), positions.end());
    for (int32_t& row : rows) row += config_.position_offset;
    const Tensor added = context.workspace.tensor(DType::kF32, y.shape());
    positions_->forward(rows, added, context);
    scaled_add(1.0f, added, 1.0f, y, context.threads);
  }
  if (norm_) norm_->forward(y, y, context);
}

}  // namespace lanner
