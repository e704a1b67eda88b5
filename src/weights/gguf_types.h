// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/dtype.h"

namespace lanner {

// A tensor type of ggml (ggml/include/ggml.h, enum ggml_type).
struct GgufTensorType {
  uint32_t id;
  const char* name;
  int block_elements;
  int block_bytes;
  std::optional<DType> dtype;  // nothing: Lanner has no such type
};

// Has no DType of its own: GgufCheckpoint gives its tensors as q8_0 (weights/mxfp4.h).
inline constexpr uint32_t kGgufMxfp4 = 39;

// Nothing for an id that ggml does not have, or no longer.
const GgufTensorType* find_gguf_tensor_type(uint32_t id);

// The type of GGUF files for one of Lanner's; nothing if they have none.
const GgufTensorType* find_gguf_tensor_type(DType dtype);

// The types that Lanner reads, for messages: "F32, F16, Q4_0, ...".
std::string supported_gguf_types();

}  // namespace lanner
