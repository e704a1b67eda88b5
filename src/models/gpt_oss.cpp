// SPDX-License-Identifier: Apache-2.0
// GPT-OSS (arXiv 2508.10925; HF transformers/models/gpt_oss): alternating windowed and full
// attention with a learned sink in every head's softmax; a mixture of experts with a clamped gate
// in every block. The published files hold the experts in MXFP4.
#include <cmath>

#include "models/families.h"
#include "models/layer_types.h"
#include "models/read_moe.h"
#include "weights/quantized_checkpoint.h"

namespace lanner {
namespace {

// The experts' blocks have names and types of their own; the key says nothing else.
void read_quantization(const ConfigReader& c) {
  if (QuantizedFormat::read(c)) return;  // of Lanner's own
  const auto quantization = c.optional_object("quantization_config");
  if (!quantization) return;
  quantization->refuse_unless("quant_method", "mxfp4");
  quantization->optional_strings("modules_to_not_convert");
}

// What the reference takes where the config says nothing.
void add_default_yarn(DecoderSpec& spec) {
  for (BlockConfig& block : spec.blocks) {
    RopeConfig& rope = *block.attention.rope;
    rope.scaling = RopeScaling::kYarn;
    rope.factor = 32.0;
    rope.original_max_position = 4096;
    rope.truncate = false;
    rope.attention_scaling = 0.1 * std::log(rope.factor) + 1.0;
  }
}

}  // namespace

DecoderSpec gpt_oss(const ConfigReader& c) {
  DecoderSpec spec = read_llama_like(c, /*tied_by_default=*/false, {.theta = 150000.0});
  if (!c.contains("rope_scaling") && !c.contains("rope_parameters")) add_default_yarn(spec);
  MoeConfig moe = read_experts(c, spec.hidden_size, "num_local_experts", "intermediate_size");
  moe.router.score = RouterScore::kSoftmaxOfChosen;
  moe.router_name = "router";
  moe.router_bias = true;
  moe.expert_bias = true;
  moe.gate_limit = c.optional_float("swiglu_limit", 7.0f);
  c.refuse_unless("swiglu_alpha", 1.702);
  moe.all_gate_up = "experts.gate_up_proj";
  moe.all_down = "experts.down_proj";
  moe.gate_up_alternate = true;
  moe.transposed = true;
  c.refuse_unless("experts_per_token", moe.router.top_k);
  c.refuse_unless("hidden_act", "silu");
  c.optional_int("initial_context_length");  // that of rope_scaling again
  read_quantization(c);

  const bool bias = c.optional_bool("attention_bias", true);
  const int window = c.optional_int("sliding_window", 0);
  const std::vector<bool> windowed =
      read_windowed_layers(c, spec.blocks.size(), [](int i) { return i % 2 == 0; });
  for (size_t i = 0; i < spec.blocks.size(); ++i) {
    BlockConfig& block = spec.blocks[i];
    block.attention.qkv_bias = block.attention.output_bias = bias;
    block.attention.sinks = true;
    if (windowed[i]) block.attention.sliding_window = window;
    block.moe = moe;
  }
  return spec;
}

}  // namespace lanner
