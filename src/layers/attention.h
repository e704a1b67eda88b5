// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/kv_layout.h"
#include "kernels/attention/attention.h"
#include "layers/linear.h"
#include "layers/norm.h"
#include "layers/rotary.h"

namespace lanner {

// How a checkpoint stores the weights of Q, K and V.
enum class QkvWeights {
  kSeparate,  // three tensors
  kStacked,   // one: all of Q, all of K, all of V
  kGrouped,   // one: for each KV head its query heads, its K, its V
};

struct AttentionConfig {
  int64_t hidden = 0;
  int num_heads = 0;
  int num_kv_heads = 0;  // grouped-query when less than num_heads
  int head_dim = 0;
  bool qkv_bias = false;
  bool output_bias = false;
  float scale = 0.0f;  // of QK^T

  std::optional<RopeConfig> rope;  // none: the model knows positions otherwise
  // Norms of the heads of Q and K, before their rotation or after it.
  std::optional<NormConfig> q_norm, k_norm;
  HeadNormSpan qk_norm_span = HeadNormSpan::kHead;
  bool qk_norm_after_rope = false;
  float clip_qkv = 0.0f;   // > 0: Q, K and V are kept within [-clip_qkv, clip_qkv] before RoPE
  float soft_cap = 0.0f;   // > 0: scores = cap * tanh(scores / cap)
  int sliding_window = 0;  // > 0: a query sees itself and the window - 1 tokens before it
  bool sinks = false;      // a learned logit per head joins the softmax and is dropped after it
  int log_n_length = 0;    // > 0: the query at position p >= n is multiplied by ln(p + 1) / ln(n)
  // Scores fall linearly with the distance, by slopes of this many times ALiBi's own (Press et al.,
  // arXiv 2108.12409).
  bool alibi = false;
  float alibi_scale = 1.0f;

  // Names in the checkpoint, and how it stores the matrices.
  QkvWeights qkv_weights = QkvWeights::kSeparate;
  std::string q = "q_proj", k = "k_proj", v = "v_proj";
  std::string qkv = "qkv_proj";
  std::string output = "o_proj";
  bool transposed = false;  // stored as [in, out]
};

// Attention of every sequence of the batch over the cache; q and y as in kernels/attention.
void attend(const Tensor& q, const ForwardBatch& batch, const KvCacheView& cache,
            AttentionParams params, const Tensor& y, ExecutionContext& context);

// What mixes the tokens of a sequence, over the KV cache.
class AttentionLayer {
 public:
  virtual ~AttentionLayer() = default;

  // Puts attention(x) into the sum over the ranks; x [num_tokens, hidden] fp32, which y of the sum
  // must not overlap.
  virtual void forward(const Tensor& x, const ForwardBatch& batch, const KvCacheView& cache,
                       RankSum& sum, ExecutionContext& context) const = 0;
  virtual void tally(WeightTally& tally) const = 0;
};

// Multi-head and grouped-query attention: one GEMM for Q, K and V, norm and rotation of the heads,
// the store of the new K and V, attention, the output projection. Each rank has some of the heads
// (share_of_heads), with their K and V in its own cache.
class Attention : public AttentionLayer {
 public:
  // rotary is shared by the layers of a model; null without RoPE.
  Attention(const AttentionConfig& config, std::shared_ptr<const RotaryEmbedding> rotary,
            const WeightScope& weights, LoadContext& context);

  void forward(const Tensor& x, const ForwardBatch& batch, const KvCacheView& cache, RankSum& sum,
               ExecutionContext& context) const override;
  void tally(WeightTally& tally) const override {
    tally.add(qkv_);
    tally.add(output_);
  }

 private:
  void norm_heads(const Tensor& q, const Tensor& k, int64_t num_tokens,
                  ExecutionContext& context) const;
  void scale_by_log_n(const Tensor& q, const ForwardBatch& batch, ExecutionContext& context) const;

  AttentionConfig config_;
  HeadShare heads_;
  std::shared_ptr<const RotaryEmbedding> rotary_;
  ColumnParallelLinear qkv_;
  RowParallelLinear output_;
  std::optional<HeadNorm> q_norm_, k_norm_;
  std::vector<float> sinks_;         // [this rank's heads], or empty
  std::vector<float> alibi_slopes_;  // [this rank's heads], or empty
};

// ALiBi's slope of each head: 2^(-8i/n), i = 1 … n for n a power of two; else those of the next
// lower power p, followed by every second one of 2p.
std::vector<float> alibi_slopes(int num_heads);

}  // namespace lanner
