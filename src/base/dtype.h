// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include <fmt/format.h>

namespace lanner {

// Element type of a tensor at run time. The block types are GGUF's (ggml's) quantisation blocks: a
// run of elements of one row stored together with their scales.
//
// As what weights are packed as, int8 and int4 mean groups of 32 with a scale each; the types from
// int4 to w8a8 are made for that (is_packing()).
enum class DType : uint8_t {
  kF32,
  kF16,
  kBf16,
  kI32,
  kI8,
  kU8,
  kI4,
  kI4G64,
  kI4G128,
  kI4Asym,
  kW8A8,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ2K,
  kQ3K,
  kQ4K,
  kQ5K,
  kQ6K,
};

struct DTypeInfo {
  DType dtype;
  const char* name;    // "fp32", "q4_0": as users write it
  int block_elements;  // 1 for plain types
  int block_bytes;     // bytes of block_elements elements
};

// Every type, in the order of the enum.
std::span<const DTypeInfo> dtypes();
const DTypeInfo& dtype_info(DType dtype);
inline const char* dtype_name(DType dtype) { return dtype_info(dtype).name; }
// By name, e.g. "bf16"; nothing if unknown.
std::optional<DType> parse_dtype(std::string_view name);

// Types that weights are packed as: int4 in groups of 32, 64 or 128 that share a scale, or of 32
// that share a scale and a minimum; int8 with one scale per output and activations of one scale per
// token. Tensors have only int4g64, int4g128 and w8a8, in quantised folders (stored_weight.h).
inline bool is_packing(DType dtype) { return dtype >= DType::kI4 && dtype <= DType::kW8A8; }
inline bool is_block_dtype(DType dtype) { return dtype_info(dtype).block_elements > 1; }

// Bytes of `elements` consecutive elements of a row. Throws Error(kInvalidArgument) if they are no
// whole number of blocks, or on overflow.
int64_t dtype_bytes(DType dtype, int64_t elements);

}  // namespace lanner

template <>
struct fmt::formatter<lanner::DType> : fmt::formatter<std::string_view> {
  template <typename Context>
  auto format(lanner::DType dtype, Context& context) const {
    return fmt::formatter<std::string_view>::format(lanner::dtype_name(dtype), context);
  }
};
