// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include "base/float16.h"
#include "kernels/convert/kernels.h"

namespace lanner {

static void fp32_to_fp32_row(const void* x, int64_t n, void* y) {
  std::memcpy(y, x, static_cast<size_t>(n) * sizeof(float));
}

static void fp16_to_fp32_row(const void* x, int64_t n, void* y) {
  const auto* in = static_cast<const uint16_t*>(x);
  auto* out = static_cast<float*>(y);
  for (int64_t i = 0; i < n; ++i) out[i] = fp16_to_fp32(in[i]);
}

static void bf16_to_fp32_row(const void* x, int64_t n, void* y) {
  const auto* in = static_cast<const uint16_t*>(x);
  auto* out = static_cast<float*>(y);
  for (int64_t i = 0; i < n; ++i) out[i] = bf16_to_fp32(in[i]);
}

static void int8_to_fp32_row(const void* x, int64_t n, void* y) {
  const auto* in = static_cast<const int8_t*>(x);
  auto* out = static_cast<float*>(y);
  for (int64_t i = 0; i < n; ++i) out[i] = static_cast<float>(in[i]);
}

static void uint8_to_fp32_row(const void* x, int64_t n, void* y) {
  const auto* in = static_cast<const uint8_t*>(x);
  auto* out = static_cast<float*>(y);
  for (int64_t i = 0; i < n; ++i) out[i] = static_cast<float>(in[i]);
}

static void fp32_to_fp16_row(const void* x, int64_t n, void* y) {
  const auto* in = static_cast<const float*>(x);
  auto* out = static_cast<uint16_t*>(y);
  for (int64_t i = 0; i < n; ++i) out[i] = fp32_to_fp16(in[i]);
}

static void fp32_to_bf16_row(const void* x, int64_t n, void* y) {
  const auto* in = static_cast<const float*>(x);
  auto* out = static_cast<uint16_t*>(y);
  for (int64_t i = 0; i < n; ++i) out[i] = fp32_to_bf16(in[i]);
}

static const ConvertKernel kKernels[] = {
    {DType::kF32, DType::kF32, fp32_to_fp32_row},  {DType::kF16, DType::kF32, fp16_to_fp32_row},
    {DType::kBf16, DType::kF32, bf16_to_fp32_row}, {DType::kI8, DType::kF32, int8_to_fp32_row},
    {DType::kU8, DType::kF32, uint8_to_fp32_row},  {DType::kF32, DType::kF16, fp32_to_fp16_row},
    {DType::kF32, DType::kBf16, fp32_to_bf16_row},
};

const ConvertKernelTable kConvertScalar = {"scalar", Isa{}, kKernels, std::size(kKernels)};

}  // namespace lanner
