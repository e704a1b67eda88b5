// SPDX-License-Identifier: Apache-2.0
#include "layers/norm.h"

#include <cmath>

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

HeadNorm::HeadNorm(const NormConfig& config, HeadNormSpan span, int num_heads, const Share& own,
                   int head_dim, const WeightScope& weights)
    : config_(config), span_(span), num_heads_(num_heads), head_dim_(head_dim) {
  const auto own_part = [&](const std::vector<float>& all) {
    if (all.empty()) return all;
    return std::vector<float>(all.begin() + own.begin * head_dim, all.begin() + own.end * head_dim);
  };
  if (span == HeadNormSpan::kHeadOwnWeight) {
    LANNER_CHECK(!config.has_bias && config.kind == NormKind::kLayer);
    if (config.name.find("{}") == std::string::npos) {
      weight_ = own_part(load_matrix(weights, config.name + ".weight", Shape{num_heads, head_dim}));
      return;
    }
    for (int64_t head = own.begin; head < own.end; ++head) {
      const std::string name = replaced(config.name, std::to_string(head));
      const std::vector<float> one = load_weight(config, name, head_dim, weights);
      weight_.insert(weight_.end(), one.begin(), one.end());
    }
    return;
  }
  const bool whole = span == HeadNormSpan::kAllHeads;
  const int64_t size = whole ? int64_t{num_heads} * head_dim : head_dim;
  weight_ = load_weight(config, config.name, size, weights);
  bias_ = load_bias(config, config.name, size, weights);
  if (!whole) return;
  // The mean square is all that ranks tell each other.
  LANNER_CHECK(own.size() == num_heads || config.kind == NormKind::kRms);
  weight_ = own_part(weight_);
  bias_ = own_part(bias_);
}

void HeadNorm::add_squares(const Tensor& x, const Tensor& squares) const {
  for (int64_t row = 0; row < x.num_rows(); ++row) {
    const float* values = x.row<float>(row);
    double sum = 0;
    for (int64_t i = 0; i < x.size(-1); ++i) sum += double{values[i]} * values[i];
    *squares.row<float>(row) += static_cast<float>(sum);
  }
}

void HeadNorm::forward_with_squares(const Tensor& x, const Tensor& squares,
                                    ExecutionContext& context) const {
  const auto width = static_cast<float>(num_heads_ * head_dim_);
  context.threads.parallel_for(
      x.num_rows(),
      [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
          float* values = x.row<float>(row);
          const float mean = *squares.row<float>(row) / width;
          const float factor = 1.0f / std::sqrt(mean + config_.epsilon);
          for (size_t i = 0; i < weight_.size(); ++i) values[i] *= factor * weight_[i];
        }
      },
      /*min_grain=*/8);
}

void HeadNorm::forward(const Tensor& x, ExecutionContext& context) const {
  if (x.size(-1) == 0) return;
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
