// SPDX-License-Identifier: Apache-2.0
#include "layers/latent_attention.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/buffer.h"
#include "kernels/convert/convert.h"
#include "kernels/gemm/grouped_gemm.h"
#include "kernels/kv_store/kv_store.h"
#include "layers/transpose.h"

namespace lanner {
namespace {

// K's and V's share of the up projection, one part per head each.
struct UpProjections {
  PackedWeight k;
  PackedWeight v;
};

// As newer GGUF files have them: a matrix per head each, K's transposed already.
UpProjections load_cut_projections(const LatentAttentionConfig& c, const Share& heads,
                                   const WeightScope& weights, LoadContext& context) {
  std::vector<CheckpointTensor> tensors;
  std::vector<Tensor> k_parts, v_parts;
  int64_t bytes = 0;
  for (auto head = static_cast<int>(heads.begin); head < heads.end; ++head) {
    const auto take = [&](const char* name, const Shape& shape, std::vector<Tensor>& parts) {
      tensors.push_back(weights.at(name).at(head).tensor("weight", shape));
      parts.push_back(tensors.back().view);
      bytes += tensors.back().view.bytes();
    };
    take("k_b_proj", Shape{c.kv_rank, c.nope_dim}, k_parts);
    take("v_b_proj", Shape{c.v_dim, c.kv_rank}, v_parts);
  }
  ThreadPool& threads = context.execution.threads;
  UpProjections up{PackedWeight::pack(k_parts, {.dtype = context.weight_dtype}, threads),
                   PackedWeight::pack(v_parts, {.dtype = context.weight_dtype}, threads)};
  context.on_weight(bytes);
  return up;
}

// kv_b_proj holds for each head the rows of K, then those of V. Q wants K's transposed, which
// block types are not: those are unpacked, and packed as bf16 unless another type is asked for.
UpProjections load_up_projections(const LatentAttentionConfig& c, const Share& heads,
                                  const WeightScope& weights, LoadContext& context) {
  if (weights.contains("k_b_proj.0.weight")) {
    return load_cut_projections(c, heads, weights, context);
  }
  const int64_t head_rows = c.nope_dim + c.v_dim;
  const CheckpointTensor all =
      weights.tensor("kv_b_proj.weight", Shape{c.num_heads * head_rows, c.kv_rank});
  const bool is_block = is_block_dtype(all.view.dtype());
  const DType transposed_dtype = is_block ? DType::kF32 : all.view.dtype();
  Buffer memory(
      static_cast<size_t>(dtype_bytes(transposed_dtype, heads.size() * c.nope_dim * c.kv_rank)));
  std::vector<float> unpacked;
  std::vector<Tensor> k_parts, v_parts;
  std::byte* at = memory.data();
  for (int64_t head = heads.begin; head < heads.end; ++head) {
    const int64_t begin = head * head_rows;
    v_parts.push_back(all.view.rows(begin + c.nope_dim, begin + head_rows));
    Tensor k = all.view.rows(begin, begin + c.nope_dim);
    if (is_block) {
      unpacked.resize(static_cast<size_t>(k.numel()));
      select_convert(k.dtype(), DType::kF32)(k.raw(), k.numel(), unpacked.data());
      k = Tensor(unpacked.data(), DType::kF32, k.shape());
    }
    transpose(k, at, weights.full_name("kv_b_proj.weight"));
    k_parts.emplace_back(at, transposed_dtype, Shape{c.kv_rank, c.nope_dim});
    at += k.bytes();
  }
  std::optional<DType> k_dtype = context.weight_dtype;
  if (is_block && !k_dtype) k_dtype = DType::kBf16;
  ThreadPool& threads = context.execution.threads;
  UpProjections up{PackedWeight::pack(k_parts, {.dtype = k_dtype}, threads),
                   PackedWeight::pack(v_parts, {.dtype = context.weight_dtype}, threads)};
  context.on_weight(all.view.rows(0, heads.size() * head_rows).bytes());
  return up;
}

}  // namespace

LatentAttention::LatentAttention(const LatentAttentionConfig& c,
                                 std::shared_ptr<const RotaryEmbedding> rotary,
                                 const WeightScope& weights, LoadContext& context)
    : config_(c),
      heads_(share_of(c.num_heads, 1, context.execution.communicator.rank(),
                      context.execution.communicator.size())),
      rotary_(std::move(rotary)) {
  const int64_t head_dim = c.nope_dim + c.rope_dim;
  const auto q_part = [&](const char* name) {
    return LinearPart{.name = name,
                      .rows = {{heads_.begin * head_dim, heads_.size() * head_dim}},
                      .tensor_rows = c.num_heads * head_dim};
  };
  if (c.q_rank > 0) {
    q_down_.emplace(std::vector<LinearPart>{{.name = "q_a_proj", .out_features = c.q_rank}},
                    c.hidden, c.bias, weights, context);
    q_norm_.emplace(c.latent_norm.named("q_a_layernorm"), c.q_rank, weights);
    q_up_.emplace(std::vector{q_part("q_b_proj")}, c.q_rank, /*bias=*/false, weights, context);
  } else {
    q_up_.emplace(std::vector{q_part("q_proj")}, c.hidden, /*bias=*/false, weights, context);
  }
  // The file has the latent first; RoPE turns the front of a head.
  kv_down_.emplace(std::vector<LinearPart>{{.name = "kv_a_proj_with_mqa",
                                            .out_features = c.k_dim(),
                                            .rows = {{c.kv_rank, c.rope_dim}, {0, c.kv_rank}},
                                            .tensor_rows = c.k_dim()}},
                   c.hidden, c.bias, weights, context);
  kv_norm_.emplace(c.latent_norm.named("kv_a_layernorm"), c.kv_rank, weights);
  if (!heads_.empty()) {
    UpProjections up = load_up_projections(c, heads_, weights, context);
    k_up_ = std::move(up.k);
    v_up_ = std::move(up.v);
  }
  output_.emplace(std::vector<LinearPart>{{.name = "o_proj", .out_features = c.hidden}},
                  int64_t{c.num_heads} * c.v_dim,
                  Share{heads_.begin * c.v_dim, heads_.end * c.v_dim}, c.bias, weights, context);
}

void LatentAttention::project_q(const Tensor& x, const Tensor& q, ExecutionContext& context) const {
  if (!q_down_) return q_up_->forward(x, q, context);
  const Workspace::Scope scope(context.workspace);
  const Tensor latent =
      context.workspace.tensor(DType::kF32, Shape{x.num_rows(), int64_t{config_.q_rank}});
  q_down_->forward(x, latent, context);
  q_norm_->forward(latent, latent, context);
  q_up_->forward(latent, q, context);
}

void LatentAttention::forward(const Tensor& x, const ForwardBatch& batch, const KvCacheView& cache,
                              RankSum& sum, ExecutionContext& context) const {
  if (heads_.empty()) return;  // more ranks than heads
  const Workspace::Scope scope(context.workspace);
  const LatentAttentionConfig& c = config_;
  const auto num_heads = static_cast<int>(heads_.size());
  const int64_t tokens = x.num_rows();
  const int64_t k_dim = c.k_dim();
  const int64_t head_dim = c.nope_dim + c.rope_dim;
  const auto allocate = [&](int64_t columns) {
    return context.workspace.tensor(DType::kF32, Shape{tokens, columns});
  };

  const Tensor k = allocate(k_dim);  // [rotated part | latent]
  kv_down_->forward(x, k, context);
  const Tensor latent = k.columns(c.rope_dim, k_dim);
  kv_norm_->forward(latent, latent, context);
  rotary_->apply(k, batch, context);
  kv_store(k, latent, batch.slots, cache, context.threads);

  // Each head of Q as the cache has K: [rotated part | q_nope W_k].
  const Tensor projected = allocate(num_heads * head_dim);
  project_q(x, projected, context);
  const Tensor q = allocate(num_heads * k_dim);
  std::vector<GemmGroupItem> heads;
  for (int head = 0; head < num_heads; ++head) {
    const int64_t from = head * head_dim, to = head * k_dim;
    heads.push_back({.part_begin = head,
                     .part_end = head + 1,
                     .x = projected.columns(from, from + c.nope_dim),
                     .y = q.columns(to + c.rope_dim, to + k_dim)});
    for (int64_t row = 0; row < tokens; ++row) {
      std::memcpy(q.row<float>(row) + to, projected.row<float>(row) + from + c.nope_dim,
                  static_cast<size_t>(c.rope_dim) * sizeof(float));
    }
  }
  grouped_gemm(heads, k_up_, nullptr, context.workspace, context.threads);
  rotary_->apply(q, batch, context);

  const Tensor latents = allocate(heads_.size() * c.kv_rank);
  attend(q, batch, cache, {.num_heads = num_heads, .scale = c.scale}, latents, context);

  const RowParallelLinear::Input values = output_->allocate_input(tokens, context.workspace);
  for (int head = 0; head < num_heads; ++head) {
    GemmGroupItem& item = heads[static_cast<size_t>(head)];
    item.x = latents.columns(int64_t{head} * c.kv_rank, int64_t{head + 1} * c.kv_rank);
    item.y = values.own.columns(int64_t{head} * c.v_dim, int64_t{head + 1} * c.v_dim);
  }
  grouped_gemm(heads, v_up_, nullptr, context.workspace, context.threads);
  output_->forward(values, sum, context);
}

void LatentAttention::tally(WeightTally& tally) const {
  if (q_down_) tally.add(*q_down_);
  tally.add(*q_up_);
  tally.add(*kv_down_);
  tally.add(k_up_);
  tally.add(v_up_);
  tally.add(*output_);
}

}  // namespace lanner
