// SPDX-License-Identifier: Apache-2.0
#include "layers/attention.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "kernels/elementwise/elementwise.h"
#include "kernels/kv_store/kv_store.h"

namespace lanner {
namespace {

HeadShare own_heads(const AttentionConfig& c, const LoadContext& context) {
  const Communicator& ranks = context.execution.communicator;
  return share_of_heads(c.num_heads, c.num_kv_heads, ranks.rank(), ranks.size());
}

// This rank's rows of Q, K and V side by side, wherever the checkpoint has them.
std::vector<LinearPart> qkv_parts(const AttentionConfig& c, const HeadShare& own) {
  const int64_t head = c.head_dim;
  const int64_t q_rows = c.num_heads * head, kv_rows = c.num_kv_heads * head;
  const int64_t own_q = own.num_heads * head, own_kv = own.num_kv_heads * head;
  const int64_t q_begin = own.head_begin * head, kv_begin = own.kv_begin * head;
  const auto part = [&](const std::string& name, int64_t tensor_rows) {
    return LinearPart{.name = name, .tensor_rows = tensor_rows, .transposed = c.transposed};
  };
  std::vector<LinearPart> parts;
  if (c.qkv_weights == QkvWeights::kSeparate) {
    parts = {part(c.q, q_rows), part(c.k, kv_rows), part(c.v, kv_rows)};
  } else {
    parts.assign(3, part(c.qkv, q_rows + 2 * kv_rows));
  }
  if (c.qkv_weights != QkvWeights::kGrouped) {
    const int64_t k_begin = c.qkv_weights == QkvWeights::kStacked ? q_rows : 0;
    const int64_t v_begin = c.qkv_weights == QkvWeights::kStacked ? q_rows + kv_rows : 0;
    parts[0].rows = {{q_begin, own_q}};
    parts[1].rows = {{k_begin + kv_begin, own_kv}};
    parts[2].rows = {{v_begin + kv_begin, own_kv}};
    return parts;
  }
  const int64_t group = q_rows / c.num_kv_heads;  // rows of the query heads of a KV head
  for (int64_t g = own.kv_begin; g < own.kv_begin + own.num_kv_heads; ++g) {
    const int64_t begin = g * (group + 2 * head);
    const int64_t first = std::max(q_begin - g * group, int64_t{0});
    const int64_t last = std::min(q_begin + own_q - g * group, group);
    parts[0].rows.push_back({begin + first, last - first});
    parts[1].rows.push_back({begin + group, head});
    parts[2].rows.push_back({begin + group + head, head});
  }
  // Without any: an empty list would mean all rows.
  for (LinearPart& p : parts) {
    if (p.rows.empty()) p.rows.push_back({0, 0});
  }
  return parts;
}

Share output_inputs(const AttentionConfig& c, const HeadShare& own) {
  const int64_t begin = int64_t{own.head_begin} * c.head_dim;
  return {begin, begin + int64_t{own.num_heads} * c.head_dim};
}

// Those of this rank's heads.
std::vector<float> of_heads(const std::vector<float>& all, const HeadShare& own) {
  const auto begin = all.begin() + own.head_begin;
  return {begin, begin + own.num_heads};
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
      heads_(own_heads(config, context)),
      rotary_(std::move(rotary)),
      qkv_(qkv_parts(config, heads_), config.hidden, config.qkv_bias, weights, context),
      output_(
          {{.name = config.output, .out_features = config.hidden, .transposed = config.transposed}},
          int64_t{config.num_heads} * config.head_dim, output_inputs(config, heads_),
          config.output_bias, weights, context) {
  if (config.q_norm) {
    q_norm_.emplace(*config.q_norm, config.qk_norm_span, config.num_heads,
                    Share{heads_.head_begin, heads_.head_begin + heads_.num_heads}, config.head_dim,
                    weights);
  }
  if (config.k_norm) {
    k_norm_.emplace(*config.k_norm, config.qk_norm_span, config.num_kv_heads,
                    Share{heads_.kv_begin, heads_.kv_begin + heads_.num_kv_heads}, config.head_dim,
                    weights);
  }
  if (config.sinks) sinks_ = of_heads(load_vector(weights, "sinks", config.num_heads), heads_);
  if (config.alibi) {
    alibi_slopes_ = of_heads(alibi_slopes(config.num_heads), heads_);
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

// Heads that are normalised as one vector lie on several ranks, which add up their squares first.
void Attention::norm_heads(const Tensor& q, const Tensor& k, int64_t num_tokens,
                           ExecutionContext& context) const {
  const bool is_whole = config_.qk_norm_span == HeadNormSpan::kAllHeads;
  if (!is_whole || context.communicator.size() == 1) {
    if (q_norm_) q_norm_->forward(q, context);
    if (k_norm_) k_norm_->forward(k, context);
    return;
  }
  if (!q_norm_ && !k_norm_) return;
  const Workspace::Scope scope(context.workspace);
  const Tensor squares = context.workspace.tensor(DType::kF32, Shape{num_tokens, 2});
  set_zero(squares);
  RankSum sum(squares, context);
  const Tensor part = sum.to_add_to();
  if (q_norm_) q_norm_->add_squares(q, part.columns(0, 1));
  if (k_norm_ && heads_.counts_kv) k_norm_->add_squares(k, part.columns(1, 2));
  sum.finish();
  if (q_norm_) q_norm_->forward_with_squares(q, squares.columns(0, 1), context);
  if (k_norm_) k_norm_->forward_with_squares(k, squares.columns(1, 2), context);
}

void Attention::forward(const Tensor& x, const ForwardBatch& batch, const KvCacheView& cache,
                        RankSum& sum, ExecutionContext& context) const {
  const Workspace::Scope scope(context.workspace);
  const int64_t tokens = x.num_rows();
  const int64_t q_width = int64_t{heads_.num_heads} * config_.head_dim;
  const int64_t kv_width = int64_t{heads_.num_kv_heads} * config_.head_dim;

  const Tensor qkv = context.workspace.tensor(DType::kF32, Shape{tokens, qkv_.out_features()});
  qkv_.forward(x, qkv, context);
  const Tensor q = qkv.columns(0, q_width);
  const Tensor k = qkv.columns(q_width, q_width + kv_width);
  const Tensor v = qkv.columns(q_width + kv_width, q_width + 2 * kv_width);
  // More ranks than heads: nothing to compute, but the others wait for this rank's squares.
  if (heads_.num_heads == 0) return norm_heads(q, k, tokens, context);
  if (!config_.qk_norm_after_rope) norm_heads(q, k, tokens, context);
  if (config_.clip_qkv > 0.0f) clamp(config_.clip_qkv, qkv, qkv, context.threads);
  // Q and K are neighbours: one pass rotates the heads of both.
  if (rotary_) rotary_->apply(qkv.columns(0, q_width + kv_width), batch, context);
  if (config_.qk_norm_after_rope) norm_heads(q, k, tokens, context);
  if (config_.log_n_length > 0) scale_by_log_n(q, batch, context);
  kv_store(k, v, batch.slots, cache, context.threads);

  const AttentionParams params{
      .num_heads = heads_.num_heads,
      .scale = config_.scale,
      .soft_cap = config_.soft_cap,
      .sliding_window = config_.sliding_window,
      .alibi_slopes = alibi_slopes_.empty() ? nullptr : alibi_slopes_.data(),
      .sinks = sinks_.empty() ? nullptr : sinks_.data()};
  const RowParallelLinear::Input attended = output_.allocate_input(tokens, context.workspace);
  attend(q, batch, cache, params, attended.own, context);
  output_.forward(attended, sum, context);
}

}  // namespace lanner
