// SPDX-License-Identifier: Apache-2.0
// Mixtral (arXiv 2401.04088; HF transformers/models/mixtral): Mistral with a mixture of experts in
// every block. The router's softmax is over all experts, the weights of the chosen add up to one.
#include "models/families.h"
#include "models/read_moe.h"

namespace lanner {

DecoderSpec mixtral(const ConfigReader& c) {
  DecoderSpec spec = read_llama_like(c, /*tied_by_default=*/false, {.theta = 1e6});
  MoeConfig moe = read_experts(c, spec.hidden_size, "num_local_experts", "intermediate_size");
  moe.router.normalize = true;
  moe.gate = "experts.{}.w1";
  moe.up = "experts.{}.w3";
  moe.down = "experts.{}.w2";
  const int window = c.optional_int("sliding_window", 0);
  for (BlockConfig& block : spec.blocks) {
    block.attention.sliding_window = window;
    block.mlp_name = "block_sparse_moe";
    block.moe = moe;
  }
  c.ignore("router_jitter_noise");  // training
  return spec;
}

}  // namespace lanner
