// SPDX-License-Identifier: Apache-2.0
#include "layers/linear.h"

#include <algorithm>

#include "layers/load_vector.h"

namespace lanner {
namespace {

GemmPackOptions pack_options(const LoadContext& context) { return {.dtype = context.weight_dtype}; }

}  // namespace

Linear::Linear(const std::vector<LinearPart>& parts, int64_t in_features, bool bias,
               const WeightScope& weights, LoadContext& context) {
  std::vector<CheckpointTensor> tensors;
  std::vector<Tensor> views;
  for (const LinearPart& part : parts) {
    tensors.push_back(weights.tensor(part.name + ".weight", Shape{part.out_features, in_features}));
    views.push_back(tensors.back().view);
    if (!bias) continue;
    const std::vector<float> part_bias =
        load_vector(weights, part.name + ".bias", part.out_features);
    bias_.insert(bias_.end(), part_bias.begin(), part_bias.end());
  }
  weight_ = PackedWeight::pack(views, pack_options(context), context.execution.threads);
  for (const Tensor& view : views) context.on_weight(view.bytes());
}

Linear::Linear(const CheckpointTensor& weight, LoadContext& context)
    : weight_(
          PackedWeight::pack({&weight.view, 1}, pack_options(context), context.execution.threads)) {
  context.on_weight(weight.view.bytes());
}

void Linear::run(const Tensor& x, const Tensor& y, bool accumulate, bool with_bias,
                 ExecutionContext& context) const {
  const GemmOptions options{.bias = with_bias && !bias_.empty() ? bias_.data() : nullptr,
                            .accumulate = accumulate};
  gemm(x, weight_, options, y, context.workspace, context.threads);
}

void Linear::forward(const Tensor& x, const Tensor& y, ExecutionContext& context) const {
  run(x, y, /*accumulate=*/false, /*with_bias=*/true, context);
}

void WeightTally::add(const Linear& linear) {
  bytes += linear.bytes();
  parameters += linear.in_features() * linear.out_features();
  const std::string name = linear.kernel_name();
  if (std::find(kernels.begin(), kernels.end(), name) == kernels.end()) kernels.push_back(name);
}

void RowParallelLinear::forward_add(const Tensor& x, const Tensor& y,
                                    ExecutionContext& context) const {
  const PartialSum sum = context.communicator.begin_sum(y);
  // The bias enters the sum over the ranks once.
  run(x, sum.values, sum.accumulate, /*with_bias=*/context.communicator.rank() == 0, context);
  context.communicator.finish_sum(y, context.threads);
}

}  // namespace lanner
