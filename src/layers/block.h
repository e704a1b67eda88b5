// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "layers/attention.h"
#include "layers/latent_attention.h"
#include "layers/mlp.h"
#include "layers/moe.h"
#include "layers/norm.h"

namespace lanner {

// How a block adds what it computes to the residual stream h.
enum class Residual {
  kSerial,       // h += attention(norm(h)); h += mlp(norm'(h))
  kParallel,     // h += attention(norm(h)) + mlp(norm'(h)); without norm' both read norm(h)
  kPostNorm,     // h = norm(h + attention(h)); h = norm'(h + mlp(h))
  kNormedInput,  // n = norm(h), h = a n + attention(n); n = norm'(h), h = a n + mlp(n)
};

// One block: what it computes and what its tensors are called, below "layers.<i>".
struct BlockConfig {
  Residual residual = Residual::kSerial;
  std::optional<NormConfig> attention_norm, mlp_norm;
  // Of what attention and MLP give, before it is added.
  std::optional<NormConfig> attention_output_norm, mlp_output_norm;
  float input_scale = 1.0f;   // a of kNormedInput
  float output_scale = 1.0f;  // of what attention and MLP give, before it is added

  // Names below the block's; empty: their tensors are the block's own.
  std::string attention_name = "self_attn";
  AttentionConfig attention;
  std::optional<LatentAttentionConfig> latent_attention = std::nullopt;  // in its place
  std::string mlp_name = "mlp";
  MlpConfig mlp;
  std::optional<MoeConfig> moe = std::nullopt;  // in the MLP's place

  int num_heads() const {
    return latent_attention ? latent_attention->num_heads : attention.num_heads;
  }
  // Of what the cache holds.
  int num_kv_heads() const { return latent_attention ? 1 : attention.num_kv_heads; }
  int k_head_dim() const {
    return latent_attention ? latent_attention->k_dim() : attention.head_dim;
  }
  int v_head_dim() const {
    return latent_attention ? latent_attention->kv_rank : attention.head_dim;
  }
  const std::optional<RopeConfig>& rope() const {
    return latent_attention ? latent_attention->rope : attention.rope;
  }
};

// One block of a decoder, built from its config. Immutable after construction.
class DecoderBlock {
 public:
  // rotary: that of the config's RoPE, shared by the blocks that have the same; or null.
  DecoderBlock(const BlockConfig& config, int64_t hidden,
               std::shared_ptr<const RotaryEmbedding> rotary, const WeightScope& weights,
               LoadContext& context);

  // hidden [num_tokens, hidden], updated in place.
  void forward(const ForwardBatch& batch, const KvCacheView& cache, const Tensor& hidden,
               ExecutionContext& context) const;

  void tally(WeightTally& tally) const {
    attention_->tally(tally);
    mlp_->tally(tally);
  }

 private:
  // One half of a block, attention or MLP, with its norms.
  struct Half {
    std::optional<Norm> norm;
    std::optional<Norm> scaled_norm;  // kNormedInput: the residual
    std::optional<Norm> output_norm;
  };
  static Half make_half(const BlockConfig& config, const std::optional<NormConfig>& norm,
                        const std::optional<NormConfig>& output_norm, int64_t hidden,
                        const WeightScope& weights);
  // inner(x, sum) puts f(x) into the sum over the ranks.
  template <typename Inner>
  void forward_half(const Half& half, const Tensor& hidden, ExecutionContext& context,
                    const Inner& inner) const;
  // The half is added to the stream as it is: its last GEMM can do so.
  bool is_plain(const Half& half) const { return !half.output_norm && output_scale_ == 1.0f; }
  // hidden += output_scale * output_norm(inner(x))
  template <typename Inner>
  void add(const Half& half, const Tensor& x, const Tensor& hidden, ExecutionContext& context,
           const Inner& inner) const;

  Residual residual_;
  float output_scale_;
  Half attention_half_, mlp_half_;
  std::unique_ptr<const AttentionLayer> attention_;
  std::unique_ptr<const FeedForward> mlp_;
};

}  // namespace lanner
