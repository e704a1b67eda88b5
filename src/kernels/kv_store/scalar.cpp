// SPDX-License-Identifier: Apache-2.0
#include "base/float16.h"
#include "base/kv_layout.h"
#include "kernels/kv_store/kernels.h"

namespace lanner {
namespace {

constexpr int kPanelTokens = KvLayout::kPanelTokens;

uint16_t to_fp16(float x) { return fp32_to_fp16(x); }
uint16_t to_bf16(float x) { return fp32_to_bf16(x); }
float to_fp32(float x) { return x; }

// Pack: neighbouring elements of a token that stay side by side in a panel.
template <typename T, T (*Convert)(float), int Pack>
void store_key(const float* k, int head_dim, std::byte* lane) {
  T* to = reinterpret_cast<T*>(lane);
  for (int d = 0; d < head_dim; d += Pack) {
    for (int i = 0; i < Pack; ++i) to[i] = Convert(k[d + i]);
    to += kPanelTokens * Pack;
  }
}

template <typename T, T (*Convert)(float)>
void store_value(const float* v, int head_dim, std::byte* row) {
  T* to = reinterpret_cast<T*>(row);
  for (int d = 0; d < head_dim; ++d) to[d] = Convert(v[d]);
}

}  // namespace

const KvStoreKernel kKvStoreScalar[3] = {
    {"scalar", DType::kF32, Isa{}, store_key<float, to_fp32, 1>, store_value<float, to_fp32>},
    {"scalar", DType::kF16, Isa{}, store_key<uint16_t, to_fp16, 1>, store_value<uint16_t, to_fp16>},
    {"scalar", DType::kBf16, Isa{}, store_key<uint16_t, to_bf16, 2>,
     store_value<uint16_t, to_bf16>},
};

}  // namespace lanner
