// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "base/tensor.h"
#include "base/thread_pool.h"

namespace lanner {

enum class Activation {
  kSilu,      // x / (1 + exp(-x))
  kGelu,      // x / 2 * (1 + erf(x / sqrt(2)))
  kGeluTanh,  // x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))
  kRelu,      // max(x, 0)
  kRelu2,     // max(x, 0)^2
};

// A name of HF's ACT2FN (transformers/activations.py), as config.json has it in `hidden_act`,
// `hidden_activation` or `activation_function`.
struct ActivationName {
  std::string_view name;
  Activation activation;
};

// Every known name, for error messages that list them.
std::span<const ActivationName> activation_names();

// By HF's name, e.g. "silu", "gelu_pytorch_tanh"; nothing if unknown.
std::optional<Activation> parse_activation(std::string_view hf_name);

// y = act(x)
//
//   x  [num_tokens, size]  fp32, any row stride
//   y  [num_tokens, size]  fp32, any row stride, may be x itself
//
// Throws Error(kInvalidArgument) when shapes or types do not match.
void activation(Activation kind, const Tensor& x, const Tensor& y, ThreadPool& threads);

// y = act(gate) * up, the inside of a gated MLP (Shazeer 2020, arXiv 2002.05202)
//
//   gate, up  [num_tokens, size]  fp32, any row stride: may be column views of one buffer
//   y         [num_tokens, size]  fp32, any row stride, may be gate or up itself
//
// Throws Error(kInvalidArgument) when shapes or types do not match.
void gated_activation(Activation kind, const Tensor& gate, const Tensor& up, const Tensor& y,
                      ThreadPool& threads);

}  // namespace lanner
