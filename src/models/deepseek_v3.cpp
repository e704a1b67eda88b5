// SPDX-License-Identifier: Apache-2.0
// DeepSeek V3 and R1 (arXiv 2412.19437; HF transformers/models/deepseek_v3): V2's blocks, with
// experts that are scored by a sigmoid each and chosen with a correction bias from the best groups.
#include "models/deepseek.h"
#include "models/families.h"
#include "models/read_moe.h"

namespace lanner {

DecoderSpec deepseek_v3(const ConfigReader& c) {
  const bool pairs = c.optional_bool("rope_interleave", true);
  DecoderSpec spec = read_deepseek_blocks(c, pairs ? RopeStyle::kPairs : RopeStyle::kHalves);
  c.refuse_unless("scoring_func", "sigmoid");
  c.refuse_unless("topk_method", "noaux_tc");
  read_deepseek_experts(c,
                        {.score = RouterScore::kSigmoid,
                         .group_score = GroupScore::kSumOfTwo,
                         .groups = true,
                         .normalize = c.optional_bool("norm_topk_prob", true),
                         .correction_bias = true},
                        spec);
  return spec;
}

}  // namespace lanner
