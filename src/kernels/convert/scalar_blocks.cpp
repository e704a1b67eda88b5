// SPDX-License-Identifier: Apache-2.0
// The reference of the block types: the formulas of blocks.h element by element, each rounding in
// the order of the PyPI package gguf, so that results equal it bit by bit.
#include <iterator>

#include "kernels/convert/blocks.h"
#include "kernels/convert/kernels.h"

namespace lanner {

static float half(const uint8_t* bytes) { return fp16_to_fp32(block_half(bytes)); }

// Nibble of element i of 32.
static int nibble(const uint8_t* qs, int i) { return i < 16 ? qs[i] & 15 : qs[i - 16] >> 4; }

// Bit i of 32.
static int bit(const uint8_t* bits, int i) { return (bits[i / 8] >> (i % 8)) & 1; }

static void dequantize(const BlockQ4_0& block, float* y) {
  const float d = half(block.d);
  for (int i = 0; i < 32; ++i) y[i] = d * static_cast<float>(nibble(block.qs, i) - 8);
}

static void dequantize(const BlockQ4_1& block, float* y) {
  const float d = half(block.d);
  const float m = half(block.m);
  for (int i = 0; i < 32; ++i) y[i] = d * static_cast<float>(nibble(block.qs, i)) + m;
}

static void dequantize(const BlockQ5_0& block, float* y) {
  const float d = half(block.d);
  for (int i = 0; i < 32; ++i) {
    const int q = nibble(block.qs, i) | (bit(block.qh, i) << 4);
    y[i] = d * static_cast<float>(q - 16);
  }
}

static void dequantize(const BlockQ5_1& block, float* y) {
  const float d = half(block.d);
  const float m = half(block.m);
  for (int i = 0; i < 32; ++i) {
    const int q = nibble(block.qs, i) | (bit(block.qh, i) << 4);
    y[i] = d * static_cast<float>(q) + m;
  }
}

static void dequantize(const BlockQ8_0& block, float* y) {
  const float d = half(block.d);
  for (int i = 0; i < 32; ++i) y[i] = d * static_cast<float>(static_cast<int8_t>(block.qs[i]));
}

// The two bits of element i of 256, as q2_k and q3_k store them.
static int two_bits(const uint8_t* qs, int i) {
  return (qs[i / 128 * 32 + i % 32] >> (2 * (i / 32 % 4))) & 3;
}

static void dequantize(const BlockQ2K& block, float* y) {
  const float d = half(block.d);
  const float dmin = half(block.dmin);
  for (int i = 0; i < 256; ++i) {
    const int scale = block.scales[i / 16];
    const float group_d = d * static_cast<float>(scale & 15);
    const float group_min = dmin * static_cast<float>(scale >> 4);
    y[i] = group_d * static_cast<float>(two_bits(block.qs, i)) - group_min;
  }
}

static void dequantize(const BlockQ3K& block, float* y) {
  const float d = half(block.d);
  for (int i = 0; i < 256; ++i) {
    const float group_d = d * static_cast<float>(q3k_scale(block.scales, i / 16));
    const int high = (block.hmask[i % 32] >> (i / 32)) & 1;
    y[i] = group_d * static_cast<float>((two_bits(block.qs, i) | (high << 2)) - 4);
  }
}

// The nibble of element i of 256, as q4_k and q5_k store it.
static int k_nibble(const uint8_t* qs, int i) {
  const int byte = qs[i / 64 * 32 + i % 32];
  return i / 32 % 2 == 0 ? byte & 15 : byte >> 4;
}

static void dequantize(const BlockQ4K& block, float* y) {
  const float d = half(block.d);
  const float dmin = half(block.dmin);
  for (int i = 0; i < 256; ++i) {
    const float group_d = d * static_cast<float>(q4k_scale(block.scales, i / 32));
    const float group_min = dmin * static_cast<float>(q4k_min(block.scales, i / 32));
    y[i] = group_d * static_cast<float>(k_nibble(block.qs, i)) - group_min;
  }
}

static void dequantize(const BlockQ5K& block, float* y) {
  const float d = half(block.d);
  const float dmin = half(block.dmin);
  for (int i = 0; i < 256; ++i) {
    const float group_d = d * static_cast<float>(q4k_scale(block.scales, i / 32));
    const float group_min = dmin * static_cast<float>(q4k_min(block.scales, i / 32));
    const int high = (block.qh[i % 32] >> (i / 32)) & 1;
    y[i] = group_d * static_cast<float>(k_nibble(block.qs, i) | (high << 4)) - group_min;
  }
}

static void dequantize(const BlockQ6K& block, float* y) {
  const float d = half(block.d);
  for (int i = 0; i < 256; ++i) {
    const float group_d = d * static_cast<float>(static_cast<int8_t>(block.scales[i / 16]));
    const int byte = block.ql[i / 128 * 64 + i % 64];
    const int low = i / 64 % 2 == 0 ? byte & 15 : byte >> 4;
    const int high = two_bits(block.qh, i);
    y[i] = group_d * static_cast<float>((low | (high << 4)) - 32);
  }
}

template <typename Block, int kElements>
static void blocks_row(const void* x, int64_t n, void* y) {
  const auto* in = static_cast<const Block*>(x);
  auto* out = static_cast<float*>(y);
  for (int64_t b = 0; b < n / kElements; ++b) dequantize(in[b], out + b * kElements);
}

static const ConvertKernel kKernels[] = {
    {DType::kQ4_0, DType::kF32, blocks_row<BlockQ4_0, 32>},
    {DType::kQ4_1, DType::kF32, blocks_row<BlockQ4_1, 32>},
    {DType::kQ5_0, DType::kF32, blocks_row<BlockQ5_0, 32>},
    {DType::kQ5_1, DType::kF32, blocks_row<BlockQ5_1, 32>},
    {DType::kQ8_0, DType::kF32, blocks_row<BlockQ8_0, 32>},
    {DType::kQ2K, DType::kF32, blocks_row<BlockQ2K, 256>},
    {DType::kQ3K, DType::kF32, blocks_row<BlockQ3K, 256>},
    {DType::kQ4K, DType::kF32, blocks_row<BlockQ4K, 256>},
    {DType::kQ5K, DType::kF32, blocks_row<BlockQ5K, 256>},
    {DType::kQ6K, DType::kF32, blocks_row<BlockQ6K, 256>},
};

const ConvertKernelTable kConvertScalarBlocks = {"scalar", Isa{}, kKernels, std::size(kKernels)};

}  // namespace lanner
