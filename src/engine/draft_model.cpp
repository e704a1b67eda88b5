// SPDX-License-Identifier: Apache-2.0
#include "engine/draft_model.h"

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "models/registry.h"

namespace lanner {

static_assert(kBlockSize <= std::numeric_limits<uint8_t>::max());

DraftModel::DraftModel(const ModelFiles& files, const DraftPlan& plan, int32_t num_blocks,
                       ModelRunner& runner, const ProgressCallback& progress)
    : runner_(runner),
      max_context_(plan.max_context),
      cache_(plan.kv_layouts, num_blocks),
      num_valid_(static_cast<size_t>(num_blocks)) {
  ExecutionContext execution = runner.execution();
  int64_t done = 0;
  LoadContext load{.execution = execution,
                   .weight_dtype = plan.weight_dtype,
                   .max_context = plan.max_context,
                   .on_weight = [&](int64_t bytes) {
                     done += bytes;
                     if (progress) progress("draft weights", done, 0);
                   }};
  model_ = load_model(files.config, *files.checkpoint, load);
  attention_rule_ = runner.rule_for(plan.kv_layouts.front(), plan.info.num_heads, plan.max_context);
}

void DraftModel::follow(const SchedulerOutput& output) {
  for (const BlockCopy& copy : output.copies) {
    cache_.copy_block(copy.from, copy.to);
    num_valid_[static_cast<size_t>(copy.to)] = num_valid_[static_cast<size_t>(copy.from)];
  }
  for (const int64_t slot : output.slots) {
    uint8_t& valid = num_valid_[static_cast<size_t>(slot / kBlockSize)];
    valid = std::min(valid, static_cast<uint8_t>(slot % kBlockSize));
  }
}

int DraftModel::num_computed(std::span<const int32_t> blocks, int num_tokens) const {
  int count = 0;
  for (const int32_t block : blocks) {
    const int valid = num_valid_[static_cast<size_t>(block)];
    count += valid;
    if (valid < kBlockSize || count >= num_tokens) break;
  }
  return std::min(count, num_tokens);
}

bool DraftModel::knows(std::span<const int32_t> tokens) const {
  return std::ranges::all_of(tokens,
                             [&](int32_t token) { return token < model_->info().vocab_size; });
}

Tensor DraftModel::forward(std::span<const Part> parts, bool wants_logits) {
  ForwardBatch batch;
  for (const Part& part : parts) {
    const int count = static_cast<int>(part.tokens.size());
    const int end = part.start + count;
    LANNER_CHECK(count > 0 && end <= max_context_ && end <= std::ssize(part.blocks) * kBlockSize);
    const auto used = part.blocks.first(static_cast<size_t>(ceil_div(end, kBlockSize)));
    batch.sequences.push_back({.token_begin = batch.num_tokens(),
                               .token_count = count,
                               .past_length = part.start,
                               .rope_length = end,
                               .prompt_length = end,
                               .block_table = {used.begin(), used.end()}});
    for (int i = 0; i < count; ++i) {
      const int position = part.start + i;
      const int32_t block = part.blocks[static_cast<size_t>(position / kBlockSize)];
      const int offset = position % kBlockSize;
      batch.token_ids.push_back(part.tokens[static_cast<size_t>(i)]);
      batch.positions.push_back(position);
      batch.slots.push_back(int64_t{block} * kBlockSize + offset);
      num_valid_[static_cast<size_t>(block)] = static_cast<uint8_t>(offset + 1);
    }
    if (wants_logits) batch.logits_rows.push_back(batch.num_tokens() - 1);
  }
  const int64_t vocab_size = model_->info().vocab_size;
  const Shape shape{std::ssize(batch.logits_rows), vocab_size};
  const auto bytes = static_cast<size_t>(shape.numel()) * sizeof(float);
  if (logits_.size() < bytes) logits_ = Buffer(bytes);
  const Tensor logits(logits_.data(), DType::kF32, shape);
  ExecutionContext execution = runner_.execution();
  execution.attention_rule = attention_rule_;
  model_->forward(batch, cache_, {.logits = logits, .hidden = {}}, execution);
  // What pads its vocabulary beyond the large model's is no token.
  return logits.columns(0, std::min(vocab_size, runner_.info().vocab_size));
}

}  // namespace lanner
