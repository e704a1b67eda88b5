// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "base/float16.h"
#include "base/kv_layout.h"
#include "kernels/hadamard.h"
#include "kernels/int8_scale.h"
#include "kernels/kv_store/kernels.h"

namespace lanner {
namespace {

constexpr int kPanelTokens = KvLayout::kPanelTokens;

uint16_t to_fp16(float x) { return fp32_to_fp16(x); }
uint16_t to_bf16(float x) { return fp32_to_bf16(x); }
float to_fp32(float x) { return x; }

// Pack: neighbouring elements of a token that stay side by side in a panel.
template <typename T, T (*Convert)(float), int Pack>
void store_key(const float* k, int head_dim, bool, std::byte* lane, float*) {
  T* to = reinterpret_cast<T*>(lane);
  for (int d = 0; d < head_dim; d += Pack) {
    for (int i = 0; i < Pack; ++i) to[i] = Convert(k[d + i]);
    to += kPanelTokens * Pack;
  }
}

template <typename T, T (*Convert)(float)>
void store_value(const float* v, int head_dim, std::byte* row, float*) {
  T* to = reinterpret_cast<T*>(row);
  for (int d = 0; d < head_dim; ++d) to[d] = Convert(v[d]);
}

Int8Scale scale_of(const float* x, int n) {
  int32_t largest = 0;
  for (int i = 0; i < n; ++i) {
    int32_t bits;
    std::memcpy(&bits, x + i, sizeof bits);
    largest = std::max(largest, bits & 0x7fffffff);
  }
  return int8_scale(largest);
}

int quantised(float x, const Int8Scale& scale) {
  return scale.inverse == 0.0f ? 0 : static_cast<int>(std::lrint(x * scale.inverse));
}

void store_key_int8(const float* k, int head_dim, bool rotated, std::byte* lane, float* scale) {
  float x[KvLayout::kMaxInt8HeadDim];
  std::copy_n(k, head_dim, x);
  if (rotated) hadamard(x, head_dim);
  const Int8Scale by = scale_of(x, head_dim);
  *scale = by.scale;
  for (int d = 0; d < round_up(head_dim, 4); ++d) {
    const int q = d < head_dim ? quantised(x[d], by) : 0;
    lane[d / 4 * kPanelTokens * 4 + d % 4] = static_cast<std::byte>(q + 128);
  }
}

void store_value_int8(const float* v, int head_dim, std::byte* row, float* scale) {
  const Int8Scale by = scale_of(v, head_dim);
  *scale = by.scale;
  for (int d = 0; d < head_dim; ++d) row[d * 4] = static_cast<std::byte>(quantised(v[d], by));
}

}  // namespace

const KvStoreKernel kKvStoreScalar[4] = {
    {"scalar", DType::kF32, Isa{}, store_key<float, to_fp32, 1>, store_value<float, to_fp32>},
    {"scalar", DType::kF16, Isa{}, store_key<uint16_t, to_fp16, 1>, store_value<uint16_t, to_fp16>},
    {"scalar", DType::kBf16, Isa{}, store_key<uint16_t, to_bf16, 2>,
     store_value<uint16_t, to_bf16>},
    {"scalar", DType::kI8, Isa{}, store_key_int8, store_value_int8},
};

}  // namespace lanner
