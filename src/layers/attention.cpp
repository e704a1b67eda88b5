// SPDX-License-Identifier: Apache-2.0
#include "layers/attention.h"

#include <vector>

#include "kernels/attention/attention.h"
#include "kernels/kv_store/kv_store.h"

namespace lanner {

Attention::Attention(const AttentionConfig& config, std::shared_ptr<const RotaryEmbedding> rotary,
                     const WeightScope& weights, LoadContext& context)
    : config_(config),
      rotary_(std::move(rotary)),
      qkv_({{"q_proj", int64_t{config.num_heads} * config.head_dim},
            {"k_proj", int64_t{config.num_kv_heads} * config.head_dim},
            {"v_proj", int64_t{config.num_kv_heads} * config.head_dim}},
           config.hidden, config.qkv_bias, weights, context),
      output_({{"o_proj", config.hidden}}, int64_t{config.num_heads} * config.head_dim,
              config.output_bias, weights, context) {}

void Attention::forward_add(const Tensor& x, const ForwardBatch& batch, const KvCacheView& cache,
                            const Tensor& hidden, ExecutionContext& context) const {
  const Workspace::Scope scope(context.workspace);
  const int64_t tokens = x.num_rows();
  const int64_t q_width = int64_t{config_.num_heads} * config_.head_dim;
  const int64_t kv_width = int64_t{config_.num_kv_heads} * config_.head_dim;

  const Tensor qkv = context.workspace.tensor(DType::kF32, Shape{tokens, qkv_.out_features()});
  qkv_.forward(x, qkv, context);
  const Tensor q = qkv.columns(0, q_width);
  const Tensor k = qkv.columns(q_width, q_width + kv_width);
  const Tensor v = qkv.columns(q_width + kv_width, q_width + 2 * kv_width);
  // Q and K are neighbours: one pass rotates the heads of both.
  rotary_->apply(qkv.columns(0, q_width + kv_width), batch, context);
  kv_store(k, v, batch.slots, cache, context.threads);

  std::vector<AttentionSequence> sequences;
  sequences.reserve(batch.sequences.size());
  for (const ForwardBatch::Sequence& s : batch.sequences) {
    sequences.push_back({.query_begin = s.token_begin,
                         .query_length = s.token_count,
                         .past_length = s.past_length,
                         .block_table = s.block_table});
  }
  const AttentionParams params{.num_heads = config_.num_heads, .scale = config_.scale};
  const Tensor attended = context.workspace.tensor(DType::kF32, Shape{tokens, q_width});
  attention(q, sequences, cache, params, attended, context.workspace, context.threads);
  output_.forward_add(attended, hidden, context);
}

}  // namespace lanner
