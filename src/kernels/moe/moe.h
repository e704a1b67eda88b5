// SPDX-License-Identifier: Apache-2.0
// A mixture of experts around its matrices: which experts a token goes to, its tokens in the order
// of the experts, and the sum of what they give. The matrices themselves are a grouped GEMM.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/tensor.h"
#include "base/thread_pool.h"
#include "kernels/gemm/grouped_gemm.h"

namespace lanner {

// From router logits to the weights of the experts.
enum class RouterScore {
  kSoftmax,          // over all experts (Switch, Mixtral, Qwen, DeepSeek V2)
  kSigmoid,          // of each expert alone (DeepSeek V3)
  kSoftmaxOfChosen,  // over those that were chosen by their logits (GPT-OSS, Granite)
};

// How good a group of experts is, where experts are chosen from the best groups only.
enum class GroupScore {
  kBest,      // as its best expert (DeepSeek V2, arXiv 2405.04434)
  kSumOfTwo,  // as its two best together (DeepSeek V3, arXiv 2412.19437)
};

struct RouterParams {
  int num_experts = 0;
  int top_k = 0;
  RouterScore score = RouterScore::kSoftmax;
  // Added to the scores for the choice, not for the weights: [num_experts], or null.
  const float* correction_bias = nullptr;
  int num_groups = 1;  // of num_experts / num_groups experts, one after the other
  int top_groups = 1;
  GroupScore group_score = GroupScore::kBest;
  bool normalize = false;  // weights divided by their sum
  float scale = 1.0f;      // of the weights, after that
};

// Chooses top_k experts for every token, the best first; of equals the first.
//
//   logits   [num_tokens, num_experts]  fp32, any row stride
//   experts  [num_tokens * top_k]
//   weights  [num_tokens * top_k]
//
// A row of NaN chooses some experts and has NaN weights. Throws Error(kInvalidArgument) for
// parameters that do not fit together.
void route(const Tensor& logits, const RouterParams& params, std::span<int32_t> experts,
           std::span<float> weights, ThreadPool& threads);

// (token, expert) pairs in the order of the experts.
struct ExpertOrder {
  std::vector<int32_t> tokens;       // [pairs] token of each sorted row
  std::vector<int32_t> sorted_rows;  // [num_tokens * top_k] sorted row of each pair
  std::vector<int32_t> row_begin;    // [num_experts + 1] first sorted row of each expert

  // For the grouped GEMM: the experts that have tokens, whose weights were packed as
  // `parts_per_expert` parts each. x is that of the tokens or that of the sorted rows.
  std::vector<GemmGroupItem> items(const Tensor& x, bool of_tokens, int parts_per_expert,
                                   const Tensor& y) const;
};

// experts [num_tokens * top_k] in [0, num_experts).
ExpertOrder sort_by_expert(std::span<const int32_t> experts, int top_k, int num_experts);

// hidden[t] += scale * sum over j of weights[t, j] * y[sorted_rows[t, j]], in the order of j.
//
//   y       [pairs, size] fp32
//   hidden  [num_tokens, size] fp32
void combine_experts(const Tensor& y, const ExpertOrder& order, std::span<const float> weights,
                     float scale, const Tensor& hidden, ThreadPool& threads);

// The gated activation of GPT-OSS (HF transformers/models/gpt_oss): gate clamped from above and up
// from both sides, y = (up + 1) * gate * sigmoid(1.702 * gate). gate and up are overwritten;
// y may be one of them.
//
//   gate, up, y  [num_rows, size] fp32, any row stride
void clamped_gated_activation(const Tensor& gate, const Tensor& up, float limit, const Tensor& y,
                              ThreadPool& threads);

}  // namespace lanner
