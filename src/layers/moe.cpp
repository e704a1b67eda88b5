// SPDX-License-Identifier: Apache-2.0
#include "layers/moe.h"

#include <cmath>

#include "kernels/elementwise/elementwise.h"
#include "layers/expert_weights.h"
#include "layers/load_vector.h"

namespace lanner {
namespace {

// Routing is a comparison: rounding the router's few weights would send tokens elsewhere.
Linear make_router(const std::string& name, int64_t outputs, bool bias, const MoeConfig& config,
                   const WeightScope& weights, LoadContext& context) {
  LoadContext exact = context;
  exact.weight_dtype = DType::kF32;
  return Linear({{.name = name, .out_features = outputs}}, config.hidden, bias, weights, exact);
}

}  // namespace

Moe::Moe(const MoeConfig& config, const WeightScope& weights, LoadContext& context)
    : config_(config),
      router_(make_router(config.router_name, config.router.num_experts, config.router_bias, config,
                          weights, context)) {
  if (!config.correction_bias.empty()) {
    correction_bias_ = load_vector(weights, config.correction_bias, config.router.num_experts);
  }
  const Communicator& ranks = context.execution.communicator;
  columns_ = share_of_mlp(config.intermediate, ranks.rank(), ranks.size());
  ExpertWeights experts = load_expert_weights(config, columns_, weights, context);
  down_columns_ = experts.down_columns;
  gate_up_ = std::move(experts.gate_up);
  down_ = std::move(experts.down);
  gate_up_bias_ = std::move(experts.gate_up_bias);
  down_bias_ = std::move(experts.down_bias);
  if (!config.shared) return;
  shared_.emplace(*config.shared, weights.at(config.shared_name), context);
  if (config.shared_gate.empty()) return;
  shared_gate_ = make_router(config.shared_gate, 1, /*bias=*/false, config, weights, context);
}

void Moe::forward(const Tensor& x, RankSum& sum, ExecutionContext& context) const {
  const Workspace::Scope scope(context.workspace);
  const auto allocate = [&](int64_t rows, int64_t columns) {
    return context.workspace.tensor(DType::kF32, Shape{rows, columns});
  };
  const int64_t tokens = x.num_rows();
  add_shared(x, sum, context);
  if (columns_.empty()) return;

  RouterParams router = config_.router;
  if (!correction_bias_.empty()) router.correction_bias = correction_bias_.data();
  const int64_t pairs = tokens * router.top_k;
  std::vector<int32_t> experts(static_cast<size_t>(pairs));
  std::vector<float> expert_weights(experts.size());
  const Tensor logits = allocate(tokens, router.num_experts);
  router_->forward(x, logits, context);
  route(logits, router, experts, expert_weights, context.threads);
  const ExpertOrder order = sort_by_expert(experts, router.top_k, router.num_experts);

  const int64_t width = columns_.size();
  const Tensor gate_up = allocate(pairs, 2 * width);
  grouped_gemm(order.items(x, /*of_tokens=*/true, 2, gate_up), gate_up_,
               gate_up_bias_.empty() ? nullptr : gate_up_bias_.data(), context.workspace,
               context.threads);
  const Tensor gate = gate_up.columns(0, width);
  const Tensor up = gate_up.columns(width, 2 * width);
  if (config_.gate_limit > 0.0f) {
    clamped_gated_activation(gate, up, config_.gate_limit, gate, context.threads);
  } else {
    gated_activation(config_.activation, gate, up, gate, context.threads);
  }
  // The rest of a group that begins or ends with another rank's columns is zero.
  Tensor inner = gate;
  if (down_columns_ != columns_) {
    inner = allocate(pairs, down_columns_.size());
    set_zero(inner);
    const int64_t before = columns_.begin - down_columns_.begin;
    scaled_add(1.0f, gate, 0.0f, inner.columns(before, before + width), context.threads);
  }
  const Tensor down = allocate(pairs, config_.hidden);
  grouped_gemm(order.items(inner, /*of_tokens=*/false, 1, down), down_,
               down_bias_.empty() ? nullptr : down_bias_.data(), context.workspace,
               context.threads);
  combine_experts(down, order, expert_weights, 1.0f, sum.to_add_to(), context.threads);
}

void Moe::add_shared(const Tensor& x, RankSum& sum, ExecutionContext& context) const {
  if (!shared_) return;
  if (!shared_gate_) return shared_->forward(x, sum, context);
  const Workspace::Scope scope(context.workspace);
  const Tensor part = context.workspace.tensor(DType::kF32, x.shape());
  const Tensor gate = context.workspace.tensor(DType::kF32, Shape{x.num_rows(), 1});
  shared_->forward_part(x, part, context);
  shared_gate_->forward(x, gate, context);
  const Tensor y = sum.to_add_to();
  context.threads.parallel_for(
      x.num_rows(),
      [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
          const float factor = 1.0f / (1.0f + std::exp(-*gate.row<float>(row)));
          const float* in = part.row<float>(row);
          float* out = y.row<float>(row);
          for (int64_t i = 0; i < y.size(-1); ++i) out[i] += factor * in[i];
        }
      },
      /*min_grain=*/8);
}

void Moe::tally(WeightTally& tally) const {
  tally.add(*router_);
  const double share =
      static_cast<double>(config_.router.top_k) / static_cast<double>(config_.router.num_experts);
  tally.add(gate_up_, share);
  tally.add(down_, share);
  if (shared_) shared_->tally(tally);
  if (shared_gate_) tally.add(*shared_gate_);
}

}  // namespace lanner
