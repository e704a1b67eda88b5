// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "weights/config_reader.h"
#include "weights/int4_checkpoint.h"

namespace lanner {

// AWQ checkpoints of four bits (Lin et al. 2023, arXiv 2306.00978), as AutoAWQ's version "gemm"
// publishes them; eight n share an int32, in the order 0 2 4 6 1 3 5 7:
//
//   x.qweight  [k, n / 8]       int32
//   x.qzeros   [groups, n / 8]  int32
//   x.scales   [groups, n]      fp16
//
// Nothing for a config.json of another quant_method; else its quantization_config counts as read.
// Throws Error(kUnsupported) naming the key that asks for something else.
std::optional<Int4Format> read_awq_format(const ConfigReader& config);

}  // namespace lanner
