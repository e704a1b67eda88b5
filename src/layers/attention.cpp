// SPDX-License-Identifier: Apache-2.0
#include "layers/attention.h"

#include <bit>
#include <cmath>

#include "kernels/elementwise/elementwise.h"
#include "kernels/kv_store/kv_store.h"

namespace lanner {
namespace {

// Q, K and V side by side, wherever the checkpoint has their rows.
std::vector<LinearPart> qkv_parts(const AttentionConfig& c) {
  const int64_t q_rows = int64_t{c.num_heads} * c.head_dim;
  const int64_t kv_rows = int64_t{c.num_kv_heads} * c.head_dim;
  if (c.qkv_weights == QkvWeights::kSeparate) {
    return {{.name = c.q, .out_features = q_rows, .transposed = c.transposed},
            {.name = c.k, .out_features = kv_rows, .transposed = c.transposed},
            {.name = c.v, .out_features = kv_rows, .transposed = c.transposed}};
  }
  const LinearPart part{.name = c.qkv,
                        .out_features = 0,
                        .tensor_rows = q_rows + 2 * kv_rows,
                        .transposed = c.transposed};
  std::vector<LinearPart> parts(3, part);
  if (c.qkv_weights == QkvWeights::kStacked) {
    parts[0].rows = {{0, q_rows}};
    parts[1].rows = {{q_rows, kv_rows}};
    parts[2].rows = {{q_rows + kv_rows, kv_rows}};
  } else {
    const int64_t head = c.head_dim, group = q_rows / c.num_kv_heads;
    for (int64_t g = 0; g < c.num_kv_heads; ++g) {
      const int64_t begin = g * (group + 2 * head);
      parts[0].rows.push_back({begin, group});
      parts[1].rows.push_back({begin + group, head});
      parts[2].rows.push_back({begin + group + head, head});
    }
  }
  parts[0].out_features = q_rows;
  parts[1].out_features = parts[2].out_features = kv_rows;
  return parts;
}

}  // namespace

std::vector<float> alibi_slopes(int num_heads) {
  const int power = static_cast<int>(std::bit_floor(static_cast<unsigned>(num_heads)));
  std::vector<float> slopes;
  for (int i = 1; i <= power; ++i) {
    slopes.push_back(static_cast<float>(std::exp2(-8.0 * i / power)));
  }
  for (int i = 1; static_cast<int>(slopes.size()) < num_heads; i += 2) {
    slopes.push_back(static_cast<float>(std::exp2(-4.0 * i / power)));
  }
  return slopes;
}

void attend(const Tensor& q, const ForwardBatch& batch, const KvCacheView& cache,
            AttentionParams params, const Tensor& y, ExecutionContext& context) {
  params.rule = context.attention_rule;
  std::vector<AttentionSequence> sequences;
  sequences.reserve(batch.sequences.size());
  for (const ForwardBatch::Sequence& s : batch.sequences) {
    sequences.push_back({.query_begin = s.token_begin,
                         .query_length = s.token_count,
                         .past_length = s.past_length,
                         .prefix_length = s.prefix_length,
                         .block_table = s.block_table});
  }
  attention(q, sequences, cache, params, y, context.workspace, context.threads);
}

Attention::Attention(const AttentionConfig& config, std::shared_ptr<const RotaryEmbedding> rotary,
                     const WeightScope& weights, LoadContext& context)
    : config_(config),
      rotary_(std::move(rotary)),
      qkv_(qkv_parts(config), config.hidden, config.qkv_bias, weights, context),
      output_(
          {{.name = config.output, .out_features = config.hidden, .transposed = config.transposed}},
          int64_t{config.num_heads} * config.head_dim, config.output_bias, weights, context) {
  if (config.q_norm) {
    q_norm_.emplace(*config.q_norm, config.qk_norm_span, config.num_heads, config.head_dim,
                    weights);
  }
  if (config.k_norm) {
    k_norm_.emplace(*config.k_norm, config.qk_norm_span, config.num_kv_heads, config.head_dim,
                    weights);
  }
  if (config.sinks) sinks_ = load_vector(weights, "sinks", config.num_heads);
  if (config.alibi) {
    alibi_slopes_ = alibi_slopes(config.num_heads);
    for (float& slope : alibi_slopes_) slope *= config.alibi_scale;
  }
}

void Attention::scale_by_log_n(const Tensor& q, const ForwardBatch& batch,
                               ExecutionContext& context) const {
  const double trained = std::log(static_cast<double>(config_.log_n_length));
  for (int64_t t = 0; t < q.num_rows(); ++t) {
    const int32_t position = batch.positions[static_cast<size_t>(t)];
    if (position < config_.log_n_length) continue;
    const Tensor row = q.rows(t, t + 1);
    const auto factor = static_cast<float>(std::log(position + 1.0) / trained);
    scaled_add(factor, row, 0.0f, row, context.threads);
  }
}

void Attention::forward(const Tensor& x, const ForwardBatch& batch, const KvCacheView& cache,
                        const Tensor& y, bool accumulate, ExecutionContext& context) const {
  const Workspace::Scope scope(context.workspace);
  const int64_t tokens = x.num_rows();
  const int64_t q_width = int64_t{config_.num_heads} * config_.head_dim;
  const int64_t kv_width = int64_t{config_.num_kv_heads} * config_.head_dim;

  const Tensor qkv = context.workspace.tensor(DType::kF32, Shape{tokens, qkv_.out_features()});
  qkv_.forward(x, qkv, context);
  const Tensor q = qkv.columns(0, q_width);
  const Tensor k = qkv.columns(q_width, q_width + kv_width);
  const Tensor v = qkv.columns(q_width + kv_width, q_width + 2 * kv_width);
  const auto norm_heads = [&] {
    if (q_norm_) q_norm_->forward(q, context);
    if (k_norm_) k_norm_->forward(k, context);
  };
  if (!config_.qk_norm_after_rope) norm_heads();
  if (config_.clip_qkv > 0.0f) clamp(config_.clip_qkv, qkv, qkv, context.threads);
  // Q and K are neighbours: one pass rotates the heads of both.
  if (rotary_) rotary_->apply(qkv.columns(0, q_width + kv_width), batch, context);
  if (config_.qk_norm_after_rope) norm_heads();
  if (config_.log_n_length > 0) scale_by_log_n(q, batch, context);
  kv_store(k, v, batch.slots, cache, context.threads);

  const AttentionParams params{
      .num_heads = config_.num_heads,
      .scale = config_.scale,
      .soft_cap = config_.soft_cap,
      .sliding_window = config_.sliding_window,
      .alibi_slopes = alibi_slopes_.empty() ? nullptr : alibi_slopes_.data(),
      .sinks = sinks_.empty() ? nullptr : sinks_.data()};
  const Tensor attended = context.workspace.tensor(DType::kF32, Shape{tokens, q_width});
  attend(q, batch, cache, params, attended, context);
  if (accumulate) {
    output_.forward_add(attended, y, context);
  } else {
    output_.forward(attended, y, context);
  }
}

}  // namespace lanner
