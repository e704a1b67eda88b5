// SPDX-License-Identifier: Apache-2.0
#include "kernels/moe/moe.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/error.h"
#include "kernels/activation/activation.h"

namespace lanner {
namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();
// Of a sum of weights that may be zero (HF transformers/models/deepseek_v3).
constexpr float kTinySum = 1e-20f;
constexpr int64_t kMinTokens = 16;  // that a second thread is worth
constexpr int64_t kMinValues = 8192;

void check(const Tensor& logits, const RouterParams& p, size_t experts, size_t weights) {
  check_argument(p.num_experts >= 1 && p.top_k >= 1 && p.top_k <= p.num_experts,
                 "[route] cannot choose {} of {} experts", p.top_k, p.num_experts);
  check_argument(p.num_groups >= 1 && p.num_experts % p.num_groups == 0 && p.top_groups >= 1 &&
                     p.top_groups <= p.num_groups &&
                     p.top_groups * (p.num_experts / p.num_groups) >= p.top_k,
                 "[route] cannot choose {} of {} experts in {} of {} groups", p.top_k,
                 p.num_experts, p.top_groups, p.num_groups);
  check_argument(logits.dtype() == DType::kF32 && logits.shape().rank() == 2 &&
                     logits.size(1) == p.num_experts,
                 "[route] logits are {} {}, expected fp32 [num_tokens, {}]", logits.dtype(),
                 logits.shape(), p.num_experts);
  const auto pairs = static_cast<size_t>(logits.size(0) * p.top_k);
  check_argument(experts == pairs && weights == pairs,
                 "[route] {} experts, {} weights, expected {}", experts, weights, pairs);
}

void softmax_in_place(std::span<float> x) {
  const float largest = *std::ranges::max_element(x);
  float sum = 0.0f;
  for (float& value : x) sum += value = std::exp(value - largest);
  for (float& value : x) value /= sum;
}

// Indices of the k largest values, the largest first. NaN is never larger; k values are found all
// the same.
void top_k(std::span<const float> values, std::span<int32_t> chosen) {
  size_t found = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    if (found == chosen.size() && !(values[i] > values[static_cast<size_t>(chosen[found - 1])])) {
      continue;
    }
    size_t at = found < chosen.size() ? found++ : found - 1;
    while (at > 0 && values[i] > values[static_cast<size_t>(chosen[at - 1])]) {
      chosen[at] = chosen[at - 1];
      --at;
    }
    chosen[at] = static_cast<int32_t>(i);
  }
}

// Takes the experts outside of the best groups out of the choice.
void keep_best_groups(const RouterParams& p, std::span<float> choice) {
  const size_t size = choice.size() / static_cast<size_t>(p.num_groups);
  std::vector<float> worth(static_cast<size_t>(p.num_groups));
  for (size_t g = 0; g < worth.size(); ++g) {
    float best = kLowest, second = kLowest;
    for (const float value : choice.subspan(g * size, size)) {
      if (value > best) {
        second = best;
        best = value;
      } else if (value > second) {
        second = value;
      }
    }
    worth[g] = p.group_score == GroupScore::kBest || size < 2 ? best : best + second;
  }
  std::vector<int32_t> kept(static_cast<size_t>(p.top_groups));
  top_k(worth, kept);
  for (size_t g = 0; g < worth.size(); ++g) {
    if (std::ranges::find(kept, static_cast<int32_t>(g)) != kept.end()) continue;
    std::ranges::fill(choice.subspan(g * size, size), kLowest);
  }
}

// `scores` and `choice` are scratch, [num_experts].
void route_token(const float* logits, const RouterParams& p, std::span<float> scores,
                 std::span<float> choice, std::span<int32_t> experts, std::span<float> weights) {
  std::copy_n(logits, scores.size(), scores.begin());
  if (p.score == RouterScore::kSoftmax) softmax_in_place(scores);
  if (p.score == RouterScore::kSigmoid) {
    for (float& score : scores) score = 1.0f / (1.0f + std::exp(-score));
  }
  std::ranges::copy(scores, choice.begin());
  if (p.correction_bias != nullptr) {
    for (size_t i = 0; i < choice.size(); ++i) choice[i] += p.correction_bias[i];
  }
  if (p.top_groups < p.num_groups) keep_best_groups(p, choice);
  top_k(choice, experts);
  for (size_t j = 0; j < experts.size(); ++j) weights[j] = scores[static_cast<size_t>(experts[j])];
  if (p.score == RouterScore::kSoftmaxOfChosen) softmax_in_place(weights);
  float factor = p.scale;
  if (p.normalize) factor /= std::reduce(weights.begin(), weights.end()) + kTinySum;
  for (float& weight : weights) weight *= factor;
}

}  // namespace

void route(const Tensor& logits, const RouterParams& params, std::span<int32_t> experts,
           std::span<float> weights, ThreadPool& threads) {
  check(logits, params, experts.size(), weights.size());
  const auto k = static_cast<size_t>(params.top_k);
  threads.parallel_for(
      logits.size(0),
      [&](int64_t begin, int64_t end) {
        std::vector<float> scores(static_cast<size_t>(params.num_experts));
        std::vector<float> choice(scores.size());
        for (int64_t token = begin; token < end; ++token) {
          const size_t at = static_cast<size_t>(token) * k;
          route_token(logits.row<const float>(token), params, scores, choice,
                      experts.subspan(at, k), weights.subspan(at, k));
        }
      },
      kMinTokens);
}

ExpertOrder sort_by_expert(std::span<const int32_t> experts, int top_k, int num_experts) {
  ExpertOrder order;
  order.row_begin.assign(static_cast<size_t>(num_experts) + 1, 0);
  for (const int32_t expert : experts) {
    LANNER_CHECK(expert >= 0 && expert < num_experts);
    ++order.row_begin[static_cast<size_t>(expert) + 1];
  }
  std::partial_sum(order.row_begin.begin(), order.row_begin.end(), order.row_begin.begin());
  std::vector<int32_t> next(order.row_begin.begin(), order.row_begin.end() - 1);
  order.tokens.resize(experts.size());
  order.sorted_rows.resize(experts.size());
  for (size_t pair = 0; pair < experts.size(); ++pair) {
    const int32_t row = next[static_cast<size_t>(experts[pair])]++;
    order.sorted_rows[pair] = row;
    order.tokens[static_cast<size_t>(row)] = static_cast<int32_t>(pair) / top_k;
  }
  return order;
}

std::vector<GemmGroupItem> ExpertOrder::items(const Tensor& x, bool of_tokens, int parts_per_expert,
                                              const Tensor& y) const {
  std::vector<GemmGroupItem> items;
  for (size_t expert = 0; expert + 1 < row_begin.size(); ++expert) {
    const int64_t begin = row_begin[expert];
    const int64_t end = row_begin[expert + 1];
    if (begin == end) continue;
    GemmGroupItem item{.part_begin = static_cast<int>(expert) * parts_per_expert,
                       .part_end = static_cast<int>(expert + 1) * parts_per_expert,
                       .x = of_tokens ? x : x.rows(begin, end),
                       .x_rows = {},
                       .y = y.rows(begin, end)};
    if (of_tokens) {
      item.x_rows =
          std::span(tokens).subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
    }
    items.push_back(item);
  }
  return items;
}

void combine_experts(const Tensor& y, const ExpertOrder& order, std::span<const float> weights,
                     float scale, const Tensor& hidden, ThreadPool& threads) {
  const int64_t tokens = hidden.num_rows();
  const int64_t size = hidden.size(-1);
  if (tokens == 0) return;
  const size_t top_k = weights.size() / static_cast<size_t>(tokens);
  check_argument(y.size(-1) == size && y.num_rows() == static_cast<int64_t>(weights.size()) &&
                     order.sorted_rows.size() == weights.size() &&
                     weights.size() == top_k * static_cast<size_t>(tokens),
                 "[moe] {} rows of experts, {} weights and {} tokens do not fit", y.num_rows(),
                 weights.size(), tokens);
  constexpr int64_t kPiece = 512;  // columns: one token is spread over the threads too
  const int64_t pieces = ceil_div(size, kPiece);
  threads.parallel_for(
      tokens * pieces,
      [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t token = i / pieces;
          const int64_t first = i % pieces * kPiece;
          const int64_t count = std::min(kPiece, size - first);
          float sum[kPiece] = {};
          for (size_t j = 0; j < top_k; ++j) {
            const size_t pair = static_cast<size_t>(token) * top_k + j;
            const float* row = y.row<float>(order.sorted_rows[pair]) + first;
            const float weight = weights[pair];
            for (int64_t c = 0; c < count; ++c) sum[c] += weight * row[c];
          }
          float* out = hidden.row<float>(token) + first;
          for (int64_t c = 0; c < count; ++c) out[c] += scale * sum[c];
        }
      },
      ceil_div(kMinValues, kPiece * static_cast<int64_t>(top_k)));
}

void clamped_gated_activation(const Tensor& gate, const Tensor& up, float limit, const Tensor& y,
                              ThreadPool& threads) {
  check_argument(
      gate.shape() == up.shape() && gate.dtype() == DType::kF32 && up.dtype() == DType::kF32,
      "[moe] gate is {} {} and up {} {}, expected the same in fp32", gate.dtype(), gate.shape(),
      up.dtype(), up.shape());
  constexpr float kAlpha = 1.702f;
  threads.parallel_for(
      gate.num_rows(),
      [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
          float* g = gate.row<float>(row);
          float* u = up.row<float>(row);
          // gate * sigmoid(a * gate) is silu(a * gate) / a.
          for (int64_t i = 0; i < gate.size(-1); ++i) {
            g[i] = (g[i] > limit ? limit : g[i]) * kAlpha;
            const float from_above = u[i] > limit ? limit : u[i];
            u[i] = ((from_above < -limit ? -limit : from_above) + 1.0f) * (1.0f / kAlpha);
          }
        }
      },
      ceil_div(kMinValues, std::max<int64_t>(gate.size(-1), 1)));
  gated_activation(Activation::kSilu, gate, up, y, threads);
}

}  // namespace lanner
