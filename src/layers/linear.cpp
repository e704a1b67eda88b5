// SPDX-License-Identifier: Apache-2.0
#include "layers/linear.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>

#include "base/buffer.h"
#include "kernels/gemm/gated_gemm.h"
#include "kernels/gemm/packed_weight.h"
#include "layers/load_vector.h"
#include "layers/lora.h"
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

CheckpointTensor stored_weight(const LinearPart& part, int64_t in_features,
                               const WeightScope& weights) {
  const int64_t rows = tensor_rows(part);
  return weights.tensor(part.name + ".weight",
                        part.transposed ? Shape{in_features, rows} : Shape{rows, in_features});
}

// Some rows and columns of a matrix [in_features, rows], as [rows, in_features].
CheckpointTensor transposed(const Tensor& stored, const LinearPart::Rows& rows,
                            const Share& columns, const std::string& name) {
  const Tensor from =
      stored.rows(columns.begin, columns.end).columns(rows.begin, rows.begin + rows.count);
  auto memory =
      std::make_shared<Buffer>(static_cast<size_t>(dtype_bytes(from.dtype(), from.numel())));
  transpose(from, memory->data(), name);
  return {Tensor(memory->data(), from.dtype(), Shape{rows.count, columns.size()}), memory};
}

// Bytes of the elements of a view, without what lies between its rows.
int64_t view_bytes(const Tensor& view) {
  return view.num_rows() * dtype_bytes(view.dtype(), view.size(-1));
}

}  // namespace

Linear::Linear(const std::vector<LinearPart>& parts, int64_t in_features, bool bias,
               const WeightScope& weights, LoadContext& context)
    : Linear(parts, in_features, Share{0, in_features}, bias, weights, context) {}

Linear::Linear(const std::vector<LinearPart>& parts, int64_t in_features, const Share& inputs,
               bool bias, const WeightScope& weights, LoadContext& context)
    : columns_(inputs) {
  std::map<std::string, CheckpointTensor> tensors;
  std::vector<CheckpointTensor> copies;  // of transposed ones
  std::vector<std::pair<const LinearPart*, LinearPart::Rows>> pieces;
  std::vector<LinearLora::Outputs> outputs;
  for (const LinearPart& part : parts) {
    std::vector<LinearPart::Rows> rows = part.rows;
    if (rows.empty()) rows.push_back({0, part.out_features});
    for (const LinearPart::Rows& piece : rows) {
      outputs.push_back({.matrix = weights.full_name(part.name + ".weight"),
                         .matrix_rows = tensor_rows(part),
                         .begin = piece.begin,
                         .count = piece.count});
      if (piece.count == 0) continue;
      pieces.emplace_back(&part, piece);
      out_features_ += piece.count;
    }
    if (!bias) continue;
    const std::vector<float> all = load_vector(weights, part.name + ".bias", tensor_rows(part));
    for (const auto& [begin, count] : rows) {
      bias_.insert(bias_.end(), all.begin() + begin, all.begin() + begin + count);
    }
  }
  if (inputs.empty() || pieces.empty()) {
    LinearLora::make(outputs, in_features, {}, context);  // none of it is this rank's
    return;
  }
  for (const LinearPart& part : parts) {
    if (tensors.contains(part.name)) continue;
    const CheckpointTensor& stored =
        tensors.emplace(part.name, stored_weight(part, in_features, weights)).first->second;
    // Of parts of several types the widest groups count for all.
    const DType dtype = stored.view.dtype();
    const Share whole = whole_groups(inputs, in_features, dtype, context.weight_dtype);
    columns_ = {std::min(columns_.begin, whole.begin), std::max(columns_.end, whole.end)};
  }
  in_features_ = columns_.size();
  std::vector<Tensor> views;
  for (const auto& [part, rows] : pieces) {
    const Tensor& stored = tensors.at(part->name).view;
    if (part->transposed) {
      copies.push_back(
          transposed(stored, rows, columns_, weights.full_name(part->name + ".weight")));
      views.push_back(copies.back().view);
    } else {
      views.push_back(
          stored.rows(rows.begin, rows.begin + rows.count).columns(columns_.begin, columns_.end));
    }
  }
  std::vector<const CheckpointTensor*> sources;
  for (const auto& [name, tensor] : tensors) sources.push_back(&tensor);
  weight_ = pack(views, sources, context);
  for (const Tensor& view : views) context.on_weight(view_bytes(view));
  lora_ = LinearLora::make(outputs, in_features, columns_, context);
}

Linear::Linear(const CheckpointTensor& weight, const Share& rows, LoadContext& context)
    : columns_{0, weight.view.size(-1)} {
  if (rows.empty()) return;
  const Tensor view = weight.view.rows(rows.begin, rows.end);
  weight_ = pack({&view, 1}, {&weight}, context);
  in_features_ = view.size(-1);
  out_features_ = view.size(0);
  context.on_weight(view_bytes(view));
}

void Linear::run(const Tensor& x, const Tensor& y, bool accumulate,
                 ExecutionContext& context) const {
  const GemmOptions options{.bias = bias_.empty() ? nullptr : bias_.data(),
                            .accumulate = accumulate};
  gemm(x, weight_, options, y, context.workspace, context.threads);
  if (lora_ && lora_->changes(context.lora)) lora_->add(x, y, context);
}

void Linear::forward(const Tensor& x, const Tensor& y, ExecutionContext& context) const {
  if (out_features_ == 0) return;
  run(x, y, /*accumulate=*/false, context);
}

void Linear::forward_gated(const Tensor& x, Activation kind, const Tensor& y,
                           ExecutionContext& context) const {
  if (out_features_ == 0) return;
  if (lora_ && lora_->changes(context.lora)) {
    // Of all rows, so that the weight is read once.
    const Workspace::Scope scope(context.workspace);
    const Tensor both = context.workspace.tensor(DType::kF32, Shape{x.num_rows(), out_features_});
    run(x, both, /*accumulate=*/false, context);
    const int64_t n = out_features_ / 2;
    return gated_activation(kind, both.columns(0, n), both.columns(n, 2 * n), y, context.threads);
  }
  gated_gemm(x, weight_, bias_.empty() ? nullptr : bias_.data(), kind, y, context.workspace,
             context.threads);
}

void WeightTally::add(const PackedWeight& weight, double share) {
  const int64_t elements = weight.n() * weight.k();
  if (elements == 0) return;  // another rank's
  bytes += weight.bytes();
  parameters += elements;
  active_bytes += share * static_cast<double>(weight.bytes());
  active_parameters += share * static_cast<double>(elements);
  const std::string name = weight.kernel_name();
  if (std::find(kernels.begin(), kernels.end(), name) == kernels.end()) kernels.push_back(name);
}

RowParallelLinear::RowParallelLinear(const std::vector<LinearPart>& parts, int64_t in_features,
                                     const Share& inputs, bool bias, const WeightScope& weights,
                                     LoadContext& context)
    // The bias enters the sum over the ranks once.
    : Linear(parts, in_features, inputs, bias && context.execution.communicator.rank() == 0,
             weights, context),
      inputs_(inputs) {}

RowParallelLinear::Input RowParallelLinear::allocate_input(int64_t num_tokens,
                                                           Workspace& workspace) const {
  const int64_t width = columns().size();
  const int64_t before = inputs_.begin - columns().begin;
  const Tensor all = workspace.tensor(DType::kF32, Shape{num_tokens, width});
  if (before > 0) set_zero(all.columns(0, before));
  if (before + inputs_.size() < width) set_zero(all.columns(before + inputs_.size(), width));
  return {all, all.columns(before, before + inputs_.size())};
}

void RowParallelLinear::forward(const Input& x, RankSum& sum, ExecutionContext& context) const {
  if (inputs_.empty()) return;
  const PartialSum part = sum.next_part();
  run(x.all, part.values, part.accumulate, context);
}

void RowParallelLinear::forward_part(const Input& x, const Tensor& y,
                                     ExecutionContext& context) const {
  if (inputs_.empty()) return set_zero(y);
  run(x.all, y, /*accumulate=*/false, context);
}

}  // namespace lanner
