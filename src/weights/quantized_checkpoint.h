// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/dtype.h"
#include "weights/checkpoint.h"
#include "weights/config_reader.h"

namespace lanner {

// How a folder written by quantize_model holds its weights: the object `quantization_config` of its
// config.json (docs/quantization.md).
//
//   {"quant_method": "lanner", "version": 1, "dtype": "int4", "tensors": {"a.weight": "q8_0"}}
//
// A tensor x.weight of type U8 and two dimensions holds rows of `dtype` as stored_weight.h has
// them, or of the type that `tensors` names for it.
struct QuantizedFormat {
  DType dtype = DType::kF32;
  std::map<std::string, DType, std::less<>> tensors = {};

  static constexpr const char* kMethod = "lanner";
  static constexpr int kVersion = 1;

  Json to_json() const;
  // The format of a config.json whose quant_method is kMethod; the key counts as read. Nothing for
  // any other. Throws Error(kUnsupported) for another version, Error(kCorruptFile) naming the key.
  static std::optional<QuantizedFormat> read(const ConfigReader& config);
};

// The tensors of `files` in the types that they really have.
std::unique_ptr<Checkpoint> make_quantized_checkpoint(std::unique_ptr<Checkpoint> files,
                                                      QuantizedFormat format);

}  // namespace lanner
