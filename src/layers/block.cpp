// SPDX-License-Identifier: Apache-2.0
#include "layers/block.h"

#include "base/error.h"
#include "kernels/elementwise/elementwise.h"

namespace lanner {
namespace {

WeightScope scope_of(const std::string& name, const WeightScope& block) {
  return name.empty() ? block : block.at(name);
}

std::unique_ptr<const AttentionLayer> make_attention(const BlockConfig& config,
                                                     std::shared_ptr<const RotaryEmbedding> rotary,
                                                     const WeightScope& weights,
                                                     LoadContext& context) {
  const WeightScope own = scope_of(config.attention_name, weights);
  if (config.latent_attention) {
    return std::make_unique<LatentAttention>(*config.latent_attention, std::move(rotary), own,
                                             context);
  }
  return std::make_unique<Attention>(config.attention, std::move(rotary), own, context);
}

std::unique_ptr<const FeedForward> make_mlp(const BlockConfig& config, const WeightScope& weights,
                                            LoadContext& context) {
  const WeightScope own = scope_of(config.mlp_name, weights);
  if (config.moe) return std::make_unique<Moe>(*config.moe, own, context);
  return std::make_unique<Mlp>(config.mlp, own, context);
}

}  // namespace

DecoderBlock::DecoderBlock(const BlockConfig& config, int64_t hidden,
                           std::shared_ptr<const RotaryEmbedding> rotary,
                           const WeightScope& weights, LoadContext& context)
    : residual_(config.residual),
      output_scale_(config.output_scale),
      attention_half_(
          make_half(config, config.attention_norm, config.attention_output_norm, hidden, weights)),
      mlp_half_(make_half(config, config.mlp_norm, config.mlp_output_norm, hidden, weights)),
      attention_(make_attention(config, std::move(rotary), weights, context)),
      mlp_(make_mlp(config, weights, context)) {}

DecoderBlock::Half DecoderBlock::make_half(const BlockConfig& config,
                                           const std::optional<NormConfig>& norm,
                                           const std::optional<NormConfig>& output_norm,
                                           int64_t hidden, const WeightScope& weights) {
  Half half;
  if (norm) half.norm.emplace(*norm, hidden, weights);
  if (output_norm) half.output_norm.emplace(*output_norm, hidden, weights);
  if (config.residual == Residual::kNormedInput) {
    LANNER_CHECK(norm.has_value());
    half.scaled_norm.emplace(*norm, hidden, weights, config.input_scale);
  }
  LANNER_CHECK(config.residual != Residual::kPostNorm || norm);
  return half;
}

template <typename Inner>
void DecoderBlock::add(const Half& half, const Tensor& x, const Tensor& hidden,
                       ExecutionContext& context, const Inner& inner) const {
  if (is_plain(half) && x.raw() != hidden.raw()) {
    RankSum sum(hidden, context);
    inner(x, sum);
    return sum.finish();
  }
  const Workspace::Scope scope(context.workspace);
  const Tensor y = context.workspace.tensor(DType::kF32, hidden.shape());
  set_zero(y);
  RankSum sum(y, context);
  inner(x, sum);
  sum.finish();
  if (half.output_norm) half.output_norm->forward(y, y, context);
  scaled_add(output_scale_, y, 1.0f, hidden, context.threads);
}

template <typename Inner>
void DecoderBlock::forward_half(const Half& half, const Tensor& hidden, ExecutionContext& context,
                                const Inner& inner) const {
  if (residual_ == Residual::kPostNorm) {
    add(half, hidden, hidden, context, inner);
    half.norm->forward(hidden, hidden, context);
    return;
  }
  if (!half.norm) return add(half, hidden, hidden, context, inner);
  const Workspace::Scope scope(context.workspace);
  const Tensor normed = context.workspace.tensor(DType::kF32, hidden.shape());
  half.norm->forward(hidden, normed, context);
  if (half.scaled_norm) half.scaled_norm->forward(hidden, hidden, context);
  add(half, normed, hidden, context, inner);
}

void DecoderBlock::forward(const ForwardBatch& batch, const KvCacheView& cache,
                           const Tensor& hidden, ExecutionContext& context) const {
  const auto attend = [&](const Tensor& x, RankSum& sum) {
    attention_->forward(x, batch, cache, sum, context);
  };
  const auto feed_forward = [&](const Tensor& x, RankSum& sum) { mlp_->forward(x, sum, context); };
  if (residual_ != Residual::kParallel) {
    forward_half(attention_half_, hidden, context, attend);
    forward_half(mlp_half_, hidden, context, feed_forward);
    return;
  }
  // Both halves read the stream as it was.
  const Workspace::Scope scope(context.workspace);
  const Tensor normed = context.workspace.tensor(DType::kF32, hidden.shape());
  attention_half_.norm->forward(hidden, normed, context);
  Tensor mlp_input = normed;
  if (mlp_half_.norm) {
    mlp_input = context.workspace.tensor(DType::kF32, hidden.shape());
    mlp_half_.norm->forward(hidden, mlp_input, context);
  }
  if (is_plain(attention_half_) && is_plain(mlp_half_)) {
    // One exchange for both.
    RankSum sum(hidden, context);
    attend(normed, sum);
    feed_forward(mlp_input, sum);
    return sum.finish();
  }
  add(attention_half_, normed, hidden, context, attend);
  add(mlp_half_, mlp_input, hidden, context, feed_forward);
}

}  // namespace lanner
