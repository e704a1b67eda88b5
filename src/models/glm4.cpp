// SPDX-License-Identifier: Apache-2.0
// GLM-4-0414 (HF transformers/models/glm4): GLM with norms after both halves of a block too.
#include "models/families.h"

namespace lanner {

DecoderSpec glm4(const ConfigReader& c) {
  DecoderSpec spec = glm(c);
  const NormConfig norm = read_rms_norm(c);
  for (BlockConfig& block : spec.blocks) {
    block.attention_output_norm = norm.named("post_self_attn_layernorm");
    block.mlp_output_norm = norm.named("post_mlp_layernorm");
  }
  return spec;
}

}  // namespace lanner
