// SPDX-License-Identifier: Apache-2.0
#include "layers/lora.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <utility>

#include "base/error.h"
#include "kernels/elementwise/elementwise.h"

namespace lanner {
namespace {

void copy_row(const Tensor& from, int64_t from_row, const Tensor& to, int64_t to_row) {
  std::memcpy(to.row<float>(to_row), from.row<float>(from_row),
              static_cast<size_t>(from.size(-1)) * sizeof(float));
}

Tensor gather(const Tensor& x, const std::vector<int32_t>& rows, Workspace& workspace) {
  const Tensor y = workspace.tensor(DType::kF32, Shape{std::ssize(rows), x.size(-1)});
  for (size_t i = 0; i < rows.size(); ++i) copy_row(x, rows[i], y, static_cast<int64_t>(i));
  return y;
}

}  // namespace

LoraRows LoraRows::of(const ForwardBatch& batch) {
  std::map<int, std::vector<int32_t>> by_adapter;
  for (const ForwardBatch::Sequence& sequence : batch.sequences) {
    if (sequence.adapter < 0) continue;
    std::vector<int32_t>& rows = by_adapter[sequence.adapter];
    for (int i = 0; i < sequence.token_count; ++i) rows.push_back(sequence.token_begin + i);
  }
  LoraRows result;
  for (auto& [adapter, rows] : by_adapter) {
    std::ranges::sort(rows);
    result.groups.push_back({adapter, std::move(rows)});
  }
  return result;
}

LoraRows LoraRows::select(std::span<const int32_t> indices) const {
  LoraRows result;
  for (const Group& group : groups) {
    std::vector<int32_t> rows;
    for (size_t i = 0; i < indices.size(); ++i) {
      if (std::ranges::binary_search(group.rows, indices[i])) {
        rows.push_back(static_cast<int32_t>(i));
      }
    }
    if (!rows.empty()) result.groups.push_back({group.adapter, std::move(rows)});
  }
  return result;
}

const LoraModule* LoraClaims::take(size_t adapter, const std::string& matrix, int64_t out_features,
                                   int64_t in_features) {
  const LoraAdapter& from = adapters_[adapter];
  const auto found = from.modules.find(matrix);
  if (found == from.modules.end()) return nullptr;
  const LoraModule& module = found->second;
  check_argument(module.b.view.size(0) == out_features && module.a.view.size(1) == in_features,
                 "{}: changes '{}' of [{}, {}], but the model's is [{}, {}]", from.path, matrix,
                 module.b.view.size(0), module.a.view.size(1), out_features, in_features);
  taken_.emplace(adapter, matrix);
  return &module;
}

void LoraClaims::check_all_taken() const {
  for (size_t i = 0; i < adapters_.size(); ++i) {
    for (const auto& [matrix, module] : adapters_[i].modules) {
      if (taken_.contains({i, matrix})) continue;
      throw_error(
          ErrorCode::kUnsupported,
          "{}: changes '{}', which takes no adapter beside its weight in this model (experts, "
          "latent attention, tied output weights): merge the adapter (lora_merge)",
          adapters_[i].path, matrix);
    }
  }
}

std::shared_ptr<const LinearLora> LinearLora::make(const std::vector<Outputs>& outputs,
                                                   int64_t in_features, const Share& inputs,
                                                   LoadContext& context) {
  if (context.lora == nullptr) return nullptr;
  const auto result = std::make_shared<LinearLora>();
  bool changes_any = false;
  for (size_t adapter = 0; adapter < context.lora->num_adapters(); ++adapter) {
    std::map<std::string, const LoraModule*> modules;
    for (const Outputs& part : outputs) {
      const LoraModule* module =
          context.lora->take(adapter, part.matrix, part.matrix_rows, in_features);
      if (module != nullptr) modules[part.matrix] = module;
    }
    result->changes_.push_back(
        inputs.empty() ? nullptr
                       : make_change(outputs, modules, inputs, context.execution.threads));
    changes_any = changes_any || result->changes_.back() != nullptr;
  }
  return changes_any ? result : nullptr;
}

std::unique_ptr<LinearLora::Change> LinearLora::make_change(
    const std::vector<Outputs>& outputs, const std::map<std::string, const LoraModule*>& modules,
    const Share& inputs, ThreadPool& threads) {
  auto change = std::make_unique<Change>();
  std::map<std::string, Share> ranks;
  std::vector<Tensor> a_parts;
  int64_t column = 0;
  for (size_t i = 0; i < outputs.size();) {
    const std::string& matrix = outputs[i].matrix;
    const auto module = modules.find(matrix);
    // Neighbours of one matrix are one product.
    std::vector<Tensor> b_parts;
    const int64_t begin = column;
    for (; i < outputs.size() && outputs[i].matrix == matrix; ++i) {
      const Outputs& part = outputs[i];
      column += part.count;
      if (part.count == 0 || module == modules.end()) continue;
      b_parts.push_back(module->second->b.view.rows(part.begin, part.begin + part.count));
    }
    if (b_parts.empty()) continue;
    if (!ranks.contains(matrix)) {
      const Tensor& a = module->second->a.view;
      const auto first = std::ssize(change->scales);
      ranks[matrix] = {first, first + a.size(0)};
      a_parts.push_back(a.columns(inputs.begin, inputs.end));
      change->scales.resize(static_cast<size_t>(first + a.size(0)), module->second->scale);
    }
    change->parts.push_back({.b = PackedWeight::pack(b_parts, {}, threads),
                             .columns = {begin, column},
                             .ranks = ranks[matrix]});
  }
  if (change->parts.empty()) return nullptr;
  change->a = PackedWeight::pack(a_parts, {}, threads);
  return change;
}

const LinearLora::Change* LinearLora::find(int adapter) const {
  return std::cmp_less(adapter, changes_.size()) ? changes_[static_cast<size_t>(adapter)].get()
                                                 : nullptr;
}

bool LinearLora::changes(const LoraRows* rows) const {
  return rows != nullptr && std::ranges::any_of(rows->groups, [&](const LoraRows::Group& group) {
           return find(group.adapter) != nullptr;
         });
}

void LinearLora::add(const Tensor& x, const Tensor& y, ExecutionContext& context) const {
  for (const auto& [adapter, rows] : context.lora->groups) {
    const Change* change = find(adapter);
    if (change == nullptr) continue;
    if (rows.back() - rows.front() + 1 == std::ssize(rows)) {
      const int64_t begin = rows.front(), end = rows.back() + 1;
      add(*change, x.rows(begin, end), y.rows(begin, end), context);
      continue;
    }
    // Rows with others between them are one product all the same, next to each other.
    const Workspace::Scope scope(context.workspace);
    const Tensor own_x = gather(x, rows, context.workspace);
    const Tensor own_y = gather(y, rows, context.workspace);
    add(*change, own_x, own_y, context);
    for (size_t i = 0; i < rows.size(); ++i) copy_row(own_y, static_cast<int64_t>(i), y, rows[i]);
  }
}

void LinearLora::add(const Change& change, const Tensor& x, const Tensor& y,
                     ExecutionContext& context) {
  const Workspace::Scope scope(context.workspace);
  const Tensor inner = context.workspace.tensor(DType::kF32, Shape{x.num_rows(), change.a.n()});
  gemm(x, change.a, {}, inner, context.workspace, context.threads);
  const Tensor scales(const_cast<float*>(change.scales.data()), DType::kF32,
                      Shape{std::ssize(change.scales)});
  multiply_columns(inner, scales, inner, context.threads);
  for (const Part& part : change.parts) {
    gemm(inner.columns(part.ranks.begin, part.ranks.end), part.b, {.accumulate = true},
         y.columns(part.columns.begin, part.columns.end), context.workspace, context.threads);
  }
}

}  // namespace lanner
