// SPDX-License-Identifier: Apache-2.0
#include "layers/norm.h"

#include "base/error.h"
#include "kernels/layer_norm/layer_norm.h"
#include "kernels/rms_norm/rms_norm.h"

namespace lanner {
namespace {

Tensor vector_view(const std::vector<float>& values) {
  return Tensor(const_cast<float*>(values.data()), DType::kF32,
                Shape{static_cast<int64_t>(values.size())});
}

// The weight [size] that the file holds, or ones.
std::vector<float> load_weight(const NormConfig& config, const std::string& name, int64_t size,
                               const WeightScope& weights) {
  if (!config.has_weight) return std::vector<float>(static_cast<size_t>(size), 1.0f);
  std::vector<float> weight = load_vector(weights, name + ".weight", size);
  for (float& w : weight) w += config.weight_offset;
  return weight;
}

std::vector<float> load_bias(const NormConfig& config, const std::string& name, int64_t size,
                             const WeightScope& weights) {
  return config.has_bias ? load_vector(weights, name + ".bias", size) : std::vector<float>();
}

std::string replaced(const std::string& name, const std::string& index) {
  std::string result = name;
  return result.replace(result.find("{}"), 2, index);
}

}  // namespace

Norm::Norm(const NormConfig& config, int64_t size, const WeightScope& weights, float scale)
    : config_(config),
      weight_(load_weight(config, config.name, size, weights)),
      bias_(load_bias(config, config.name, size, weights)) {
  LANNER_CHECK(config.kind == NormKind::kLayer || !config.has_bias);
  for (float& w : weight_) w *= scale;
  for (float& b : bias_) b *= scale;
}

void Norm::forward(const Tensor& x, const Tensor& y, ExecutionContext& context) const {
  const Tensor weight = vector_view(weight_), bias = vector_view(bias_);
  if (config_.kind == NormKind::kRms) {
    rms_norm(x, weight, config_.epsilon, y, context.threads);
    return;
  }
  layer_norm(x, &weight, bias_.empty() ? nullptr : &bias, config_.epsilon, y, context.threads);
}

HeadNorm::HeadNorm(const NormConfig& config, HeadNormSpan span, int num_heads, int head_dim,
                   const WeightScope& weights)
    : config_(config), span_(span), head_dim_(head_dim) {
  const int64_t width = int64_t{num_heads} * head_dim;
  if (span == HeadNormSpan::kHeadOwnWeight) {
    LANNER_CHECK(!config.has_bias && config.kind == NormKind::kLayer);
    if (config.name.find("{}") == std::string::npos) {
      weight_ = load_matrix(weights, config.name + ".weight", Shape{num_heads, head_dim});
      return;
    }
    for (int head = 0; head < num_heads; ++head) {
      const std::string name = replaced(config.name, std::to_string(head));
      const std::vector<float> one = load_weight(config, name, head_dim, weights);
      weight_.insert(weight_.end(), one.begin(), one.end());
    }
    return;
  }
  const int64_t size = span == HeadNormSpan::kAllHeads ? width : head_dim;
  weight_ = load_weight(config, config.name, size, weights);
  bias_ = load_bias(config, config.name, size, weights);
}

void HeadNorm::forward(const Tensor& x, ExecutionContext& context) const {
  const Tensor weight = vector_view(weight_), bias = vector_view(bias_);
  const Tensor* bias_or_none = bias_.empty() ? nullptr : &bias;
  const bool whole = span_ == HeadNormSpan::kAllHeads;
  if (config_.kind == NormKind::kRms) {
    (whole ? rms_norm : rms_norm_per_head)(x, weight, config_.epsilon, x, context.threads);
  } else if (whole) {
    layer_norm(x, &weight, bias_or_none, config_.epsilon, x, context.threads);
  } else {
    layer_norm_per_head(x, head_dim_, weight, bias_or_none, config_.epsilon, x, context.threads);
  }
}

}  // namespace lanner
