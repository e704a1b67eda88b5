// SPDX-License-Identifier: Apache-2.0
// EXAONE 4 (arXiv 2507.11407; HF transformers/models/exaone4): norms after attention and MLP
// instead of before, and on the heads of Q and K. The larger size alternates windowed layers with
// global ones, which do not rotate.
#include "base/error.h"
#include "base/json.h"
#include "models/families.h"
#include "models/layer_types.h"

namespace lanner {
namespace {

// "LLLG": the layers repeat this, L being windowed. A number: that many, the last one global.
struct Pattern {
  std::string letters;
  bool is_windowed(int layer) const {
    return !letters.empty() && letters[static_cast<size_t>(layer) % letters.size()] == 'L';
  }
};

Pattern read_pattern(const ConfigReader& c) {
  const Json& json = c.json();
  const auto found = json.find("sliding_window_pattern");
  if (found != json.end() && found->is_string()) {
    const std::string letters = c.required_string("sliding_window_pattern");
    check_argument(!letters.empty() && letters.find_first_not_of("LG") == std::string::npos,
                   "{}: is '{}', expected a sequence of L (sliding window) and G (global)",
                   c.key_path("sliding_window_pattern"), letters);
    return {letters};
  }
  const int period = c.optional_int("sliding_window_pattern", 4);
  return {std::string(static_cast<size_t>(period) - 1, 'L') + 'G'};
}

}  // namespace

DecoderSpec exaone4(const ConfigReader& c) {
  DecoderSpec spec = read_llama_like(c);
  const NormConfig norm = read_rms_norm(c);
  const int window = c.optional_int("sliding_window", 0);
  const Pattern pattern = window > 0 ? read_pattern(c) : Pattern{};
  if (window == 0) c.ignore("sliding_window_pattern");
  const std::vector<bool> windowed =
      read_windowed_layers(c, spec.blocks.size(), [&](int i) { return pattern.is_windowed(i); });
  const int reach = spec.blocks.front().attention.rope->max_length();
  for (size_t i = 0; i < spec.blocks.size(); ++i) {
    BlockConfig& block = spec.blocks[i];
    block.attention_norm = block.mlp_norm = std::nullopt;
    block.attention_output_norm = norm.named("post_attention_layernorm");
    block.mlp_output_norm = norm.named("post_feedforward_layernorm");
    block.attention.q_norm = norm.named("q_norm");
    block.attention.k_norm = norm.named("k_norm");
    if (window == 0) continue;
    if (windowed[i]) {
      block.attention.sliding_window = window;
    } else {
      block.attention.rope = std::nullopt;
    }
  }
  spec.max_position = reach;
  return spec;
}

}  // namespace lanner
