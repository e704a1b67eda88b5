// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "weights/config_reader.h"
#include "weights/int4_checkpoint.h"

namespace lanner {

// GPTQ checkpoints of four bits (Frantar et al. 2022, arXiv 2210.17323), as AutoGPTQ and GPTQModel
// publish them:
//
//   x.qweight  [k / 8, n]       int32: eight k of one column
//   x.qzeros   [groups, n / 8]  int32: eight n of one group; less by one (but in gptq_v2)
//   x.scales   [groups, n]      fp16
//   x.g_idx    [k]              int32: the group of each k; not in runs where desc_act is set
//
// Nothing for a config.json of another quant_method; else its quantization_config counts as read.
// Throws Error(kUnsupported) naming the key that asks for something else.
std::optional<Int4Format> read_gptq_format(const ConfigReader& config);

}  // namespace lanner
