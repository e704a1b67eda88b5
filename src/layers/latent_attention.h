// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>

#include "layers/attention.h"

namespace lanner {

struct LatentAttentionConfig {
  int64_t hidden = 0;
  int num_heads = 0;
  int q_rank = 0;      // width of the latent that Q is made from; 0: made from x
  int kv_rank = 0;     // width of the latent that the cache holds
  int nope_dim = 0;    // of a head of Q and K, the part that is not rotated
  int rope_dim = 0;    // the part that is; that of K is shared by all heads
  int v_dim = 0;       // of a head of V
  bool bias = false;   // on the projections that read x, and on the output
  float scale = 0.0f;  // of QK^T
  std::optional<RopeConfig> rope;
  NormConfig latent_norm;  // of both latents; named by the layer

  // What the cache holds: one head whose K is [rotated part | latent] and whose V is the latent.
  int k_dim() const { return rope_dim + kv_rank; }
};

// Multi-head latent attention (DeepSeek V2, arXiv 2405.04434). K and V of all heads are projections
// of one latent per token, which is all that the cache holds of it. The projections are absorbed
// into Q and into the output: q_nope W_k meets the latent itself, and W_v is applied to the
// latents' weighted sum, so that attention is multi-query with one wide head. Each rank has some of
// the heads, and the latents of all tokens.
class LatentAttention : public AttentionLayer {
 public:
  // rotary turns the first rope_dim elements of heads of k_dim().
  LatentAttention(const LatentAttentionConfig& config,
                  std::shared_ptr<const RotaryEmbedding> rotary, const WeightScope& weights,
                  LoadContext& context);

  void forward(const Tensor& x, const ForwardBatch& batch, const KvCacheView& cache, RankSum& sum,
               ExecutionContext& context) const override;
  void tally(WeightTally& tally) const override;

 private:
  // q [num_tokens, this rank's heads * (nope_dim + rope_dim)].
  void project_q(const Tensor& x, const Tensor& q, ExecutionContext& context) const;

  LatentAttentionConfig config_;
  Share heads_;
  std::shared_ptr<const RotaryEmbedding> rotary_;
  std::optional<Linear> q_down_;
  std::optional<Norm> q_norm_;
  std::optional<ColumnParallelLinear> q_up_;  // from the latent, or from x
  std::optional<Linear> kv_down_;             // to [rotated part | latent]
  std::optional<Norm> kv_norm_;
  PackedWeight k_up_;  // a part per own head, [kv_rank, nope_dim]: transposed, for Q
  PackedWeight v_up_;  // a part per own head, [v_dim, kv_rank]
  std::optional<RowParallelLinear> output_;
};

}  // namespace lanner
