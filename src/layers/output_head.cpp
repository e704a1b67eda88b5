// SPDX-License-Identifier: Apache-2.0
#include "layers/output_head.h"

#include <algorithm>
#include <cmath>

#include "kernels/convert/convert.h"
#include "kernels/elementwise/elementwise.h"

namespace lanner {
namespace {

// 1 / Euclidean length of each row.
std::vector<float> inverse_lengths(const Tensor& matrix) {
  const ConvertRowFn to_fp32 = select_convert(matrix.dtype(), DType::kF32);
  std::vector<float> row(static_cast<size_t>(matrix.size(-1))), lengths;
  for (int64_t i = 0; i < matrix.num_rows(); ++i) {
    to_fp32(matrix.raw_row(i), matrix.size(-1), row.data());
    double squares = 0;
    for (float value : row) squares += double{value} * value;
    // As the reference: never a division by zero.
    lengths.push_back(static_cast<float>(1.0 / std::max(std::sqrt(squares), 1e-12)));
  }
  return lengths;
}

}  // namespace

OutputHead::OutputHead(const OutputConfig& config, const InputEmbedding& input,
                       const WeightScope& weights, LoadContext& context)
    : config_(config),
      vocab_(share_of_vocab(config.vocab_size, context.execution.communicator.rank(),
                            context.execution.communicator.size())) {
  const int64_t width = config.width > 0 ? config.width : config.hidden;
  if (!config.projection.empty()) {
    projection_.emplace(std::vector<LinearPart>{{config.projection, width}}, config.hidden,
                        /*bias=*/false, weights, context);
  }
  if (config.tied) {
    output_.emplace(input.tokens().table(), vocab_, context);
  } else {
    const LinearPart part{.name = config.name,
                          .rows = {{vocab_.begin, vocab_.size()}},
                          .tensor_rows = config.vocab_size};
    output_.emplace(std::vector{part}, width, config.bias, weights, context);
  }
  if (!config.unit_rows) return;
  const CheckpointTensor matrix =
      config.tied ? input.tokens().table()
                  : weights.tensor(config.name + ".weight", Shape{config.vocab_size, width});
  factors_ = inverse_lengths(matrix.view.rows(vocab_.begin, vocab_.end));
}

int64_t OutputHead::parameters() const {
  const auto count = [](const Linear& linear) {
    return linear.in_features() * linear.out_features();
  };
  return count(*output_) + (projection_ ? count(*projection_) : 0);
}

void OutputHead::forward(const Tensor& x, const Tensor& logits, ExecutionContext& context) const {
  if (vocab_.empty()) return;  // more ranks than parts
  const Workspace::Scope scope(context.workspace);
  Tensor in = x;
  if (projection_) {
    in = context.workspace.tensor(DType::kF32, Shape{x.num_rows(), projection_->out_features()});
    projection_->forward(x, in, context);
  }
  // Before the product: there are fewer numbers.
  if (config_.scale != 1.0f) scaled_add(config_.scale, in, 0.0f, in, context.threads);
  output_->forward(in, logits, context);
  if (!factors_.empty()) {
    const Tensor factors(const_cast<float*>(factors_.data()), DType::kF32,
                         Shape{static_cast<int64_t>(factors_.size())});
    multiply_columns(logits, factors, logits, context.threads);
  }
  if (config_.soft_cap > 0.0f) soft_cap(config_.soft_cap, logits, logits, context.threads);
}

}  // namespace lanner
