// SPDX-License-Identifier: Apache-2.0
// The reference kernels, for every group and CPU: one panel at a time, sixteen rows in the inner
// loop so that even the baseline's compiler makes vectors of them.
#include "base/float16.h"
#include "kernels/gemm/kernels.h"
#include "kernels/gemm/row_ops.h"

namespace lanner {
namespace {

template <typename T>
T load(const std::byte* p, int64_t index) {
  T value;
  memcpy(&value, p + index * static_cast<int64_t>(sizeof(T)), sizeof value);
  return value;
}

void fp32_tile(const GemmTile& t) {
  for (int m = 0; m < t.rows; ++m) {
    float* out = t.acc + m * t.acc_stride;
    const auto* x = reinterpret_cast<const float*>(t.x + m * t.x_stride);
    float acc[kPanelRows] = {};
    if (!t.first) memcpy(acc, out, sizeof acc);
    const auto* w = reinterpret_cast<const float*>(t.w);
    for (int64_t k = 0; k < t.k; ++k, w += kPanelRows) {
      for (int r = 0; r < kPanelRows; ++r) acc[r] += x[k] * w[r];
    }
    memcpy(out, acc, sizeof acc);
  }
}

void int8_tile(const GemmTile& t) {
  for (int m = 0; m < t.rows; ++m) {
    float* out = t.acc + m * t.acc_stride;
    const auto* x = reinterpret_cast<const int8_t*>(t.x + m * t.x_stride);
    int32_t acc[kPanelRows];
    for (int32_t& sum : acc) sum = t.x_offset[m];
    if (!t.first) memcpy(acc, out, sizeof acc);
    for (int64_t k = 0; k < t.k; k += 4) {
      const auto* w = reinterpret_cast<const uint8_t*>(t.w + k * kPanelRows);
      for (int r = 0; r < kPanelRows; ++r) {
        for (int i = 0; i < 4; ++i) acc[r] += w[r * 4 + i] * x[k + i];
      }
    }
    memcpy(out, acc, sizeof acc);
  }
}

// Reads unpacked weights.
template <int kGroupSize, bool kHasMin>
void group_tile(const GemmTile& t) {
  for (int m = 0; m < t.rows; ++m) {
    float* out = t.acc + m * t.acc_stride;
    const auto* x = reinterpret_cast<const int8_t*>(t.x + m * t.x_stride);
    float sum[kPanelRows] = {};
    if (!t.first) memcpy(sum, out, sizeof sum);
    const std::byte* block = t.w;
    for (int64_t k = 0; k < t.k; k += kUnpackedBlock) {
      const auto* scale = reinterpret_cast<const float*>(block);
      const auto* min = reinterpret_cast<const float*>(block + unpacked_min_offset(kGroupSize));
      const auto* q =
          reinterpret_cast<const uint8_t*>(block + unpacked_q_offset(kGroupSize, kHasMin));
      for (int g = 0; g < kUnpackedBlock / kGroupSize; ++g) {
        const int64_t group = k / kGroupSize + g;
        int32_t acc[kPanelRows];
        for (int32_t& value : acc) value = t.x_offset[m * t.x_sum_stride + group];
        for (int i = g * kGroupSize; i < (g + 1) * kGroupSize; ++i) {
          const uint8_t* w = q + i / 4 * 64 + i % 4;
          for (int r = 0; r < kPanelRows; ++r) acc[r] += w[r * 4] * x[k + i];
        }
        const float x_scale = t.x_scale[m * t.x_scale_stride + group * kGroupSize / 32];
        for (int r = 0; r < kPanelRows; ++r) {
          sum[r] += static_cast<float>(acc[r]) * scale[g * kPanelRows + r] * x_scale;
          if (kHasMin) sum[r] += min[g * kPanelRows + r] * t.x_sum[m * t.x_sum_stride + group];
        }
      }
      block += unpacked_block_bytes(kGroupSize, kHasMin);
    }
    memcpy(out, sum, sizeof sum);
  }
}

void unpack_fp16(const std::byte* packed, int64_t blocks, std::byte* unpacked) {
  auto* out = reinterpret_cast<float*>(unpacked);
  for (int64_t i = 0; i < blocks * kPanelRows; ++i) {
    out[i] = fp16_to_fp32(load<uint16_t>(packed, i));
  }
}

void unpack_bf16(const std::byte* packed, int64_t blocks, std::byte* unpacked) {
  auto* out = reinterpret_cast<float*>(unpacked);
  for (int64_t k = 0; k < blocks * 2; ++k) {
    for (int r = 0; r < kPanelRows; ++r) {
      *out++ = bf16_to_fp32(load<uint16_t>(packed, (k / 2 * kPanelRows + r) * 2 + k % 2));
    }
  }
}

template <GemmGroup kGroup>
void unpack_group(const std::byte* packed, int64_t blocks, std::byte* unpacked) {
  constexpr GemmLayout kLayout = gemm_layout(kGroup);
  constexpr int kGroups = kUnpackedBlock / kLayout.group;  // in an unpacked block
  // Entry `index` of the scales (d_offset 0) or minima (d_offset 32) of row r.
  const auto scale_at = [](const std::byte* block, int offset, int d_offset, int index, int r) {
    if (!kLayout.two_level) {
      return fp16_to_fp32(load<uint16_t>(block + offset, index * kPanelRows + r));
    }
    return static_cast<float>(load<int8_t>(block + offset, index * kPanelRows + r)) *
           fp16_to_fp32(load<uint16_t>(block + d_offset, r));
  };
  for (int64_t b = 0; b < blocks; ++b, packed += kLayout.block_bytes) {
    for (int k0 = 0; k0 < kLayout.k_block; k0 += kUnpackedBlock) {
      auto* scale = reinterpret_cast<float*>(unpacked);
      auto* min = reinterpret_cast<float*>(unpacked + unpacked_min_offset(kLayout.group));
      for (int g = 0; g < kGroups; ++g) {
        const int index = (k0 + g * kLayout.group) / kLayout.scale_group;
        for (int r = 0; r < kPanelRows; ++r) {
          scale[g * kPanelRows + r] = scale_at(packed, kLayout.scale_offset, 0, index, r);
          if (kLayout.has_min) {
            min[g * kPanelRows + r] = scale_at(packed, kLayout.min_offset, 32, index, r);
          }
        }
      }
      const auto* in = reinterpret_cast<const uint8_t*>(packed + kLayout.q_offset);
      auto* q =
          reinterpret_cast<uint8_t*>(unpacked + unpacked_q_offset(kLayout.group, kLayout.has_min));
      for (int i = 0; i < kUnpackedBlock; ++i) {
        const int k = k0 + i;
        for (int r = 0; r < kPanelRows; ++r) {
          const int lane = r * 4 + k % 4;
          q[i / 4 * 64 + lane] = kLayout.bits == 8 ? in[k / 4 * 64 + lane]
                                 : k / 4 % 2 == 0  ? in[k / 8 * 64 + lane] & 15
                                                   : in[k / 8 * 64 + lane] >> 4;
        }
      }
      unpacked += unpacked_block_bytes(kLayout.group, kLayout.has_min);
    }
  }
}

template <GemmGroup kGroup>
constexpr GemmKernel group_kernel(const char* name) {
  constexpr GemmLayout kLayout = gemm_layout(kGroup);
  return {
      name,
      kGroup,
      Isa{},
      &kActivations,
      finish,
      {{kAllRows, GemmX::kInt8Group, group_tile<kLayout.group, kLayout.has_min>,
        unpack_group<kGroup>,
        kLayout.k_block / kUnpackedBlock * unpacked_block_bytes(kLayout.group, kLayout.has_min), 1},
       {},
       {}}};
}

constexpr GemmKernel kKernels[] = {
    {"scalar.fp32",
     GemmGroup::kF32,
     Isa{},
     &kActivations,
     finish,
     {{kAllRows, GemmX::kF32, fp32_tile, nullptr, 0, 1}, {}, {}}},
    {"scalar.fp16",
     GemmGroup::kF16,
     Isa{},
     &kActivations,
     finish,
     {{kAllRows, GemmX::kF32, fp32_tile, unpack_fp16, 64, 1}, {}, {}}},
    {"scalar.bf16",
     GemmGroup::kBf16,
     Isa{},
     &kActivations,
     finish,
     {{kAllRows, GemmX::kF32, fp32_tile, unpack_bf16, 128, 1}, {}, {}}},
    {"scalar.int8",
     GemmGroup::kI8,
     Isa{},
     &kActivations,
     finish,
     {{kAllRows, GemmX::kInt8Row, int8_tile, nullptr, 0, 1}, {}, {}}},
    group_kernel<GemmGroup::kI4G32>("scalar.int4g32"),
    group_kernel<GemmGroup::kI4G64>("scalar.int4g64"),
    group_kernel<GemmGroup::kI4G128>("scalar.int4g128"),
    group_kernel<GemmGroup::kI4G32M>("scalar.int4g32m"),
    group_kernel<GemmGroup::kI8G32>("scalar.int8g32"),
    group_kernel<GemmGroup::kI8G32M>("scalar.int8g32m"),
    group_kernel<GemmGroup::kI4G32MK>("scalar.int4g32mk"),
    group_kernel<GemmGroup::kI8G32MK>("scalar.int8g32mk"),
    group_kernel<GemmGroup::kI8G16K>("scalar.int8g16k"),
    group_kernel<GemmGroup::kI4G16MK>("scalar.int4g16mk"),
    group_kernel<GemmGroup::kI4G16K>("scalar.int4g16k"),
};

}  // namespace

const GemmKernelTable kGemmScalar = {kKernels, 15};

}  // namespace lanner
