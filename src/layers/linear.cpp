// SPDX-License-Identifier: Apache-2.0
#include "layers/linear.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>

#include "base/buffer.h"
#include "kernels/gemm/gated_gemm.h"
#include "kernels/gemm/packed_weight.h"
#include "layers/load_vector.h"
#include "layers/transpose.h"
#include "weights/drop_resident.h"

namespace lanner {
namespace {

// Packs the parts, which lie in the tensors. What has been read of a mapped file leaves the memory.
PackedWeight pack(std::span<const Tensor> parts,
                  const std::vector<const CheckpointTensor*>& tensors, LoadContext& context) {
  const auto drop = [&](const std::byte* begin, const std::byte* end) {
    for (const CheckpointTensor* tensor : tensors) drop_resident(*tensor, begin, end);
  };
  return pack_weight(parts, {.dtype = context.weight_dtype}, drop, context.execution.threads);
}

int64_t tensor_rows(const LinearPart& part) {
  return part.rows.empty() ? part.out_features : part.tensor_rows;
}

CheckpointTensor transposed(const CheckpointTensor& stored, const std::string& name) {
  const Tensor& from = stored.view;
  auto memory = std::make_shared<Buffer>(static_cast<size_t>(from.bytes()));
  transpose(from, memory->data(), name);
  return {Tensor(memory->data(), from.dtype(), Shape{from.size(1), from.size(0)}), memory};
}

CheckpointTensor load_weight(const LinearPart& part, int64_t in_features,
                             const WeightScope& weights) {
  const std::string name = part.name + ".weight";
  const int64_t rows = tensor_rows(part);
  if (!part.transposed) return weights.tensor(name, Shape{rows, in_features});
  return transposed(weights.tensor(name, Shape{in_features, rows}), weights.full_name(name));
}

}  // namespace

Linear::Linear(const std::vector<LinearPart>& parts, int64_t in_features, bool bias,
               const WeightScope& weights, LoadContext& context) {
  std::map<std::string, CheckpointTensor> tensors;
  std::vector<Tensor> views;
  for (const LinearPart& part : parts) {
    auto found = tensors.find(part.name);
    if (found == tensors.end()) {
      found = tensors.emplace(part.name, load_weight(part, in_features, weights)).first;
    }
    const Tensor& whole = found->second.view;
    std::vector<LinearPart::Rows> rows = part.rows;
    if (rows.empty()) rows.push_back({0, part.out_features});
    for (const auto& [begin, count] : rows) views.push_back(whole.rows(begin, begin + count));
    if (!bias) continue;
    const std::vector<float> all = load_vector(weights, part.name + ".bias", tensor_rows(part));
    for (const auto& [begin, count] : rows) {
      bias_.insert(bias_.end(), all.begin() + begin, all.begin() + begin + count);
    }
  }
  std::vector<const CheckpointTensor*> sources;
  for (const auto& [name, tensor] : tensors) sources.push_back(&tensor);
  weight_ = pack(views, sources, context);
  for (const Tensor& view : views) context.on_weight(view.bytes());
}

Linear::Linear(const CheckpointTensor& weight, LoadContext& context)
    : weight_(pack({&weight.view, 1}, {&weight}, context)) {
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

void Linear::forward_gated(const Tensor& x, Activation kind, const Tensor& y,
                           ExecutionContext& context) const {
  gated_gemm(x, weight_, bias_.empty() ? nullptr : bias_.data(), kind, y, context.workspace,
             context.threads);
}

void WeightTally::add(const PackedWeight& weight, double share) {
  const int64_t elements = weight.n() * weight.k();
  bytes += weight.bytes();
  parameters += elements;
  active_bytes += share * static_cast<double>(weight.bytes());
  active_parameters += share * static_cast<double>(elements);
  const std::string name = weight.kernel_name();
  if (std::find(kernels.begin(), kernels.end(), name) == kernels.end()) kernels.push_back(name);
}

void RowParallelLinear::forward(const Tensor& x, const Tensor& y, ExecutionContext& context) const {
  const int64_t bytes = y.size(-1) * static_cast<int64_t>(sizeof(float));
  for (int64_t i = 0; i < y.num_rows(); ++i) std::memset(y.raw_row(i), 0, bytes);
  forward_add(x, y, context);
}

void RowParallelLinear::forward_add(const Tensor& x, const Tensor& y,
                                    ExecutionContext& context) const {
  const PartialSum sum = context.communicator.begin_sum(y);
  // The bias enters the sum over the ranks once.
  run(x, sum.values, sum.accumulate, /*with_bias=*/context.communicator.rank() == 0, context);
  context.communicator.finish_sum(y, context.threads);
}

}  // namespace lanner
