// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "models/decoder_spec.h"

namespace lanner {

// DeepSeek V2's blocks with dense MLPs: RMSNorm, latent attention, a gated MLP. rope_style says
// which elements of the rotated part turn together.
DecoderSpec read_deepseek_blocks(const ConfigReader& config, RopeStyle rope_style);

}  // namespace lanner
