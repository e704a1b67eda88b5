// SPDX-License-Identifier: Apache-2.0
#include "base/dtype.h"

#include <array>

#include "base/checked.h"

namespace lanner {
namespace {

// Two int4 values share a byte, hence a "block" of two.
constexpr std::array<DTypeInfo, 21> kDTypes = {{
    {DType::kF32, "fp32", 1, 4},
    {DType::kF16, "fp16", 1, 2},
    {DType::kBf16, "bf16", 1, 2},
    {DType::kI32, "int32", 1, 4},
    {DType::kI8, "int8", 1, 1},
    {DType::kU8, "uint8", 1, 1},
    {DType::kI4, "int4", 2, 1},
    {DType::kI4G64, "int4g64", 64, 34},
    {DType::kI4G128, "int4g128", 128, 66},
    {DType::kI4Asym, "int4_asym", 32, 20},
    {DType::kW8A8, "w8a8", 1, 1},
    {DType::kQ4_0, "q4_0", 32, 18},
    {DType::kQ4_1, "q4_1", 32, 20},
    {DType::kQ5_0, "q5_0", 32, 22},
    {DType::kQ5_1, "q5_1", 32, 24},
    {DType::kQ8_0, "q8_0", 32, 34},
    {DType::kQ2K, "q2_k", 256, 84},
    {DType::kQ3K, "q3_k", 256, 110},
    {DType::kQ4K, "q4_k", 256, 144},
    {DType::kQ5K, "q5_k", 256, 176},
    {DType::kQ6K, "q6_k", 256, 210},
}};

}  // namespace

std::span<const DTypeInfo> dtypes() { return kDTypes; }

const DTypeInfo& dtype_info(DType dtype) {
  const auto index = static_cast<size_t>(dtype);
  LANNER_CHECK(index < kDTypes.size());
  return kDTypes[index];
}

std::optional<DType> parse_dtype(std::string_view name) {
  for (const DTypeInfo& info : kDTypes) {
    if (name == info.name) return info.dtype;
  }
  return std::nullopt;
}

int64_t dtype_bytes(DType dtype, int64_t elements) {
  const DTypeInfo& info = dtype_info(dtype);
  check_argument(elements >= 0 && elements % info.block_elements == 0,
                 "{} elements are no whole number of {} blocks of {}", elements, info.name,
                 info.block_elements);
  return checked_mul<int64_t>(elements / info.block_elements, info.block_bytes, "tensor size");
}

}  // namespace lanner
