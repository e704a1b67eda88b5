// SPDX-License-Identifier: Apache-2.0
#include "models/decoder.h"

#include <cstring>
#include <utility>

#include "layers/lora.h"

namespace lanner {
namespace {

// The names as this checkpoint has them.
DecoderSpec with_names_of(DecoderSpec spec, const Checkpoint& checkpoint) {
  const std::string& prefix = spec.optional_prefix;
  if (prefix.empty() || checkpoint.contains(spec.input.tokens + ".weight")) return spec;
  const auto shorten = [&](std::string& name) {
    if (name.starts_with(prefix)) name.erase(0, prefix.size());
  };
  for (std::string* name : {&spec.input.tokens, &spec.input.positions, &spec.input.projection,
                            &spec.layers, &spec.output.name, &spec.output.projection}) {
    shorten(*name);
  }
  if (spec.input.norm) shorten(spec.input.norm->name);
  if (spec.final_norm) shorten(spec.final_norm->name);
  return spec;
}

// Copies the rows `indices` of x [num_tokens, hidden] to y [indices, hidden].
void gather_rows(const Tensor& x, const std::vector<int32_t>& indices, const Tensor& y) {
  const size_t bytes = static_cast<size_t>(x.size(-1)) * sizeof(float);
  for (size_t i = 0; i < indices.size(); ++i) {
    std::memcpy(y.row<float>(static_cast<int64_t>(i)), x.row<float>(indices[i]), bytes);
  }
}

}  // namespace

DecoderModel::DecoderModel(const DecoderSpec& given, ModelInfo info, const Checkpoint& checkpoint,
                           LoadContext& context)
    : info_(std::move(info)),
      input_(with_names_of(given, checkpoint).input, WeightScope(checkpoint), context) {
  const DecoderSpec spec = with_names_of(given, checkpoint);
  const WeightScope weights(checkpoint);
  input_.tally(tally_);

  // Blocks with the same RoPE share its tables.
  std::vector<std::pair<RopeConfig, std::shared_ptr<const RotaryEmbedding>>> rotaries;
  const auto rotary_of = [&](const BlockConfig& block) {
    if (!block.rope()) return std::shared_ptr<const RotaryEmbedding>();
    for (const auto& [config, rotary] : rotaries) {
      if (config == *block.rope()) return rotary;
    }
    rotaries.emplace_back(*block.rope(), std::make_shared<const RotaryEmbedding>(
                                             *block.rope(), block.k_head_dim(), context));
    return rotaries.back().second;
  };
  blocks_.reserve(spec.blocks.size());
  for (const BlockConfig& block : spec.blocks) {
    blocks_.emplace_back(block, spec.hidden_size, rotary_of(block),
                         weights.at(spec.layers).at(static_cast<int>(blocks_.size())), context);
    blocks_.back().tally(tally_);
  }
  for (const auto& [config, rotary] : rotaries) rotaries_.push_back(rotary);
  if (spec.final_norm) norm_.emplace(*spec.final_norm, spec.hidden_size, weights);
  output_.emplace(spec.output, input_, weights, context);
  output_->tally(tally_);
  if (context.lora != nullptr) context.lora->check_all_taken();
}

void DecoderModel::forward(const ForwardBatch& batch, KvCache& cache, const ForwardOutput& output,
                           ExecutionContext& context) const {
  std::vector<StepRope> step_ropes;
  for (const auto& rotary : rotaries_) {
    if (rotary->needs_step(batch)) step_ropes.push_back(rotary->make_step(batch, context.threads));
  }
  const LoraRows lora = LoraRows::of(batch);
  ExecutionContext with_lora = context;
  if (!lora.empty()) with_lora.lora = &lora;
  if (step_ropes.empty()) return run(batch, cache, output, with_lora);
  ForwardBatch with_ropes = batch;
  with_ropes.step_ropes = std::move(step_ropes);
  run(with_ropes, cache, output, with_lora);
}

void DecoderModel::run(const ForwardBatch& batch, KvCache& cache, const ForwardOutput& output,
                       ExecutionContext& context) const {
  const Workspace::Scope scope(context.workspace);
  const Tensor hidden =
      context.workspace.tensor(DType::kF32, Shape{batch.num_tokens(), info_.hidden_size});
  input_.forward(batch.token_ids, batch.positions, hidden, context);
  for (size_t i = 0; i < blocks_.size(); ++i) {
    blocks_[i].forward(batch, cache.layer(static_cast<int>(i)), hidden, context);
  }
  if (!batch.hidden_rows.empty()) {
    gather_rows(hidden, batch.hidden_rows, output.hidden);
    if (norm_) norm_->forward(output.hidden, output.hidden, context);
  }
  const Tensor last = context.workspace.tensor(
      DType::kF32, Shape{static_cast<int64_t>(batch.logits_rows.size()), info_.hidden_size});
  gather_rows(hidden, batch.logits_rows, last);
  if (norm_) norm_->forward(last, last, context);
  LoraRows lora;
  ExecutionContext of_last = context;
  if (context.lora != nullptr) {
    lora = context.lora->select(batch.logits_rows);
    of_last.lora = &lora;
  }
  output_->forward(last, output.logits, of_last);
}

}  // namespace lanner
