// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "base/kv_layout.h"
#include "layers/linear.h"
#include "layers/rotary.h"

namespace lanner {

struct AttentionConfig {
  int64_t hidden = 0;
  int num_heads = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
  bool qkv_bias = false;
  bool output_bias = false;
  float scale = 0.0f;  // of QK^T
};

// Self-attention over the KV cache: one GEMM for Q, K and V, rotation, the store of the new K and
// V, attention, the output projection. Grouped-query when num_kv_heads < num_heads.
class Attention {
 public:
  // rotary is shared by the layers of a model.
  Attention(const AttentionConfig& config, std::shared_ptr<const RotaryEmbedding> rotary,
            const WeightScope& weights, LoadContext& context);

  // hidden += attention(x); x, hidden [num_tokens, hidden] fp32.
  void forward_add(const Tensor& x, const ForwardBatch& batch, const KvCacheView& cache,
                   const Tensor& hidden, ExecutionContext& context) const;

  void tally(WeightTally& tally) const {
    tally.add(qkv_);
    tally.add(output_);
  }

 private:
  AttentionConfig config_;
  std::shared_ptr<const RotaryEmbedding> rotary_;
  ColumnParallelLinear qkv_;
  RowParallelLinear output_;
};

}  // namespace lanner
