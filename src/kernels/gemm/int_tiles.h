// SPDX-License-Identifier: Apache-2.0
// Tiles of int8 activations times quantised weights. Included by ISA files after their vec_*.h.
// Integer sums are exact, and the floats of a y are one chain over the groups in the order of k, so
// that every path of every ISA here gives the same bits.
#pragma once

#include "kernels/gemm/kernels.h"

namespace lanner {
namespace {

// int8 with one scale per row of w and one per row of x: integers all the way.
template <int kRows, int kPanels>
static inline void int8_block(const GemmTile& t, int row, int panel) {
  VecI acc[kRows][kPanels];
  float* out = t.acc + row * t.acc_stride + panel * kPanelRows;
  for (int m = 0; m < kRows; ++m) {
    for (int p = 0; p < kPanels; ++p) {
      acc[m][p] = t.first ? broadcast_i(t.x_offset + row + m)
                          : load_i(out + m * t.acc_stride + p * kPanelRows);
    }
  }
  const std::byte* w[kPanels];
  for (int p = 0; p < kPanels; ++p) w[p] = t.w + (panel + p) * t.panel_stride;
  const int8_t* x[kRows];
  for (int m = 0; m < kRows; ++m) {
    x[m] = reinterpret_cast<const int8_t*>(t.x + (row + m) * t.x_stride);
  }
  for (int64_t k = 0; k < t.k; k += 4) {
    if constexpr (kPanels > kRows) {
      VecX xv[kRows];
      for (int m = 0; m < kRows; ++m) xv[m] = broadcast_x(x[m] + k);
      for (int p = 0; p < kPanels; ++p) {
        const VecW wv = load_w8(w[p] + k * kPanelRows);
        for (int m = 0; m < kRows; ++m) acc[m][p] = dot<false>(acc[m][p], wv, xv[m]);
      }
    } else {
      VecW wv[kPanels];
      for (int p = 0; p < kPanels; ++p) wv[p] = load_w8(w[p] + k * kPanelRows);
      for (int m = 0; m < kRows; ++m) {
        const VecX xv = broadcast_x(x[m] + k);
        for (int p = 0; p < kPanels; ++p) acc[m][p] = dot<false>(acc[m][p], wv[p], xv);
      }
    }
  }
  for (int m = 0; m < kRows; ++m) {
    for (int p = 0; p < kPanels; ++p) {
      store_i(out + m * t.acc_stride + p * kPanelRows, acc[m][p]);
    }
  }
}

// A group's packed weights.
template <GemmGroup kGroup>
struct PackedGroup {
  static constexpr GemmLayout kLayout = gemm_layout(kGroup);
  static constexpr int kSize = kLayout.group;
  static constexpr bool kHasMin = kLayout.has_min;
  static constexpr bool kSevenBits = kGroup != GemmGroup::kI8G32;
  static constexpr int kBlock = kLayout.k_block;
  static constexpr int kBlockBytes = kLayout.block_bytes;

  static inline VecF two_level(const std::byte* block, int d_offset, int offset, int g) {
    return mul(load_int8_as_f(block + offset + g * kPanelRows), load_fp16(block + d_offset));
  }
  static inline VecF scale(const std::byte* block, int g) {
    if constexpr (kLayout.two_level) return two_level(block, 0, kLayout.scale_offset, g);
    return load_fp16(block + kLayout.scale_offset + g * kPanelRows * 2);
  }
  static inline VecF min(const std::byte* block, int g) {
    if constexpr (kLayout.two_level) return two_level(block, 32, kLayout.min_offset, g);
    return load_fp16(block + kLayout.min_offset + g * kPanelRows * 2);
  }
  // The values 8 * i .. 8 * i + 7.
  static inline void load(const std::byte* block, int i, VecW& w0, VecW& w1) {
    if constexpr (kLayout.bits == 4) {
      load_w4(block + kLayout.q_offset + i * 64, w0, w1);
    } else {
      w0 = load_w8(block + kLayout.q_offset + i * 128);
      w1 = load_w8(block + kLayout.q_offset + i * 128 + 64);
    }
  }
};

// The same unpacked.
template <int kGroupSize, bool kWithMin, bool kSevenBitsOnly>
struct UnpackedGroup {
  static constexpr int kSize = kGroupSize;
  static constexpr bool kHasMin = kWithMin;
  static constexpr bool kSevenBits = kSevenBitsOnly;
  static constexpr int kBlock = kUnpackedBlock;
  static constexpr int kBlockBytes = unpacked_block_bytes(kGroupSize, kWithMin);

  static inline VecF scale(const std::byte* block, int g) {
    return load_f(reinterpret_cast<const float*>(block + g * kPanelRows * 4));
  }
  static inline VecF min(const std::byte* block, int g) {
    return scale(block + unpacked_min_offset(kSize), g);
  }
  static inline void load(const std::byte* block, int i, VecW& w0, VecW& w1) {
    const std::byte* q = block + unpacked_q_offset(kSize, kHasMin) + i * 128;
    w0 = load_w8(q);
    w1 = load_w8(q + 64);
  }
};

template <class Weights, int kRows, int kPanels>
static inline void group_block(const GemmTile& t, int row, int panel) {
  constexpr int kGroups = Weights::kBlock / Weights::kSize;
  VecF sum[kRows][kPanels];
  float* out = t.acc + row * t.acc_stride + panel * kPanelRows;
  for (int m = 0; m < kRows; ++m) {
    for (int p = 0; p < kPanels; ++p) {
      sum[m][p] = t.first ? zero_f() : load_f(out + m * t.acc_stride + p * kPanelRows);
    }
  }
  const std::byte* w = t.w + panel * t.panel_stride;
  const int8_t* x = reinterpret_cast<const int8_t*>(t.x + row * t.x_stride);
  const float* x_scale = t.x_scale + row * t.x_scale_stride;
  const int32_t* x_offset = t.x_offset + row * t.x_sum_stride;
  const float* x_sum = Weights::kHasMin ? t.x_sum + row * t.x_sum_stride : nullptr;
  for (int64_t k = 0; k < t.k; k += Weights::kBlock, w += Weights::kBlockBytes) {
    for (int g = 0; g < kGroups; ++g) {
      const int64_t group = k / Weights::kSize + g;
      VecI acc[kRows][kPanels];
      for (int m = 0; m < kRows; ++m) {
        for (int p = 0; p < kPanels; ++p)
          acc[m][p] = broadcast_i(x_offset + m * t.x_sum_stride + group);
      }
#pragma GCC unroll 4
      for (int i = 0; i < Weights::kSize / 8; ++i) {
        const int64_t at = k + g * Weights::kSize + i * 8;
        if constexpr (kPanels > kRows) {
          VecX x0[kRows], x1[kRows];
          for (int m = 0; m < kRows; ++m) {
            x0[m] = broadcast_x(x + m * t.x_stride + at);
            x1[m] = broadcast_x(x + m * t.x_stride + at + 4);
          }
          for (int p = 0; p < kPanels; ++p) {
            VecW w0, w1;
            Weights::load(w + p * t.panel_stride, g * (Weights::kSize / 8) + i, w0, w1);
            for (int m = 0; m < kRows; ++m) {
              acc[m][p] = dot<Weights::kSevenBits>(acc[m][p], w0, x0[m]);
              acc[m][p] = dot<Weights::kSevenBits>(acc[m][p], w1, x1[m]);
            }
          }
        } else {
          VecW w0[kPanels], w1[kPanels];
          for (int p = 0; p < kPanels; ++p) {
            Weights::load(w + p * t.panel_stride, g * (Weights::kSize / 8) + i, w0[p], w1[p]);
          }
          for (int m = 0; m < kRows; ++m) {
            const VecX x0 = broadcast_x(x + m * t.x_stride + at);
            for (int p = 0; p < kPanels; ++p) {
              acc[m][p] = dot<Weights::kSevenBits>(acc[m][p], w0[p], x0);
            }
          }
          for (int m = 0; m < kRows; ++m) {
            const VecX x1 = broadcast_x(x + m * t.x_stride + at + 4);
            for (int p = 0; p < kPanels; ++p) {
              acc[m][p] = dot<Weights::kSevenBits>(acc[m][p], w1[p], x1);
            }
          }
        }
      }
      for (int p = 0; p < kPanels; ++p) {
        const VecF scale = Weights::scale(w + p * t.panel_stride, g);
        for (int m = 0; m < kRows; ++m) {
          const VecF xs = broadcast_f(x_scale + m * t.x_scale_stride + group * Weights::kSize / 32);
          sum[m][p] = fma(mul(to_f(acc[m][p]), scale), xs, sum[m][p]);
        }
        if constexpr (Weights::kHasMin) {
          const VecF min = Weights::min(w + p * t.panel_stride, g);
          for (int m = 0; m < kRows; ++m) {
            sum[m][p] = fma(min, broadcast_f(x_sum + m * t.x_sum_stride + group), sum[m][p]);
          }
        }
      }
    }
  }
  for (int m = 0; m < kRows; ++m) {
    for (int p = 0; p < kPanels; ++p) {
      store_f(out + m * t.acc_stride + p * kPanelRows, sum[m][p]);
    }
  }
}

template <int kRows, int kPanels>
static void int8_panels(const GemmTile& t, int row) {
  int panel = 0;
  for (; panel + kPanels <= t.panels; panel += kPanels) int8_block<kRows, kPanels>(t, row, panel);
  for (; panel < t.panels; ++panel) int8_block<kRows, 1>(t, row, panel);
}

template <class Weights, int kRows, int kPanels>
static void group_panels(const GemmTile& t, int row) {
  int panel = 0;
  for (; panel + kPanels <= t.panels; panel += kPanels) {
    group_block<Weights, kRows, kPanels>(t, row, panel);
  }
  for (; panel < t.panels; ++panel) group_block<Weights, kRows, 1>(t, row, panel);
}

// Up to kWideRows rows, packed weights, many panels.
static void int8_wide(const GemmTile& t) {
  switch (t.rows) {
    case 1:
      return int8_panels<1, wide_panels(1)>(t, 0);
    case 2:
      return int8_panels<2, wide_panels(2)>(t, 0);
    default:
      break;
  }
  if constexpr (kWideRows == 4) {
    if (t.rows == 3) return int8_panels<3, wide_panels(3)>(t, 0);
    int8_panels<4, wide_panels(4)>(t, 0);
  }
}

template <GemmGroup kGroup>
static void group_wide(const GemmTile& t) {
  using Weights = PackedGroup<kGroup>;
  switch (t.rows) {
    case 1:
      return group_panels<Weights, 1, wide_group_panels(1)>(t, 0);
    case 2:
      return group_panels<Weights, 2, wide_group_panels(2)>(t, 0);
    default:
      break;
  }
  if constexpr (kWideRows == 4) {
    if (t.rows == 3) return group_panels<Weights, 3, wide_group_panels(3)>(t, 0);
    group_panels<Weights, 4, wide_group_panels(4)>(t, 0);
  }
}

// Many rows, up to kTilePanels or kGroupTilePanels panels.
static void int8_tile(const GemmTile& t) {
  int row = 0;
  for (int left = (t.rows + kTileRows - 1) / kTileRows; left > 0; --left) {
    const int rows = (t.rows - row + left - 1) / left;  // even shares: 9 = 5 + 4
    switch (rows) {
      case 1:
        int8_panels<1, kTilePanels>(t, row);
        break;
      case 2:
        int8_panels<2, kTilePanels>(t, row);
        break;
      case 3:
        int8_panels<3, kTilePanels>(t, row);
        break;
      case 4:
        int8_panels<4, kTilePanels>(t, row);
        break;
      case 5:
        int8_panels<5, kTilePanels>(t, row);
        break;
      case 6:
        int8_panels<6, kTilePanels>(t, row);
        break;
      default:
        if constexpr (kTileRows == 8) {
          if (rows == 7) {
            int8_panels<7, kTilePanels>(t, row);
          } else {
            int8_panels<8, kTilePanels>(t, row);
          }
        }
    }
    row += rows;
  }
}

template <class Weights>
static void group_tile(const GemmTile& t) {
  int row = 0;
  for (int left = (t.rows + kGroupTileRows - 1) / kGroupTileRows; left > 0; --left) {
    const int rows = (t.rows - row + left - 1) / left;
    switch (rows) {
      case 1:
        group_panels<Weights, 1, kGroupTilePanels>(t, row);
        break;
      case 2:
        group_panels<Weights, 2, kGroupTilePanels>(t, row);
        break;
      case 3:
        group_panels<Weights, 3, kGroupTilePanels>(t, row);
        break;
      default:
        if constexpr (kGroupTileRows == 6) {
          if (rows == 4) {
            group_panels<Weights, 4, kGroupTilePanels>(t, row);
          } else if (rows == 5) {
            group_panels<Weights, 5, kGroupTilePanels>(t, row);
          } else {
            group_panels<Weights, 6, kGroupTilePanels>(t, row);
          }
        }
    }
    row += rows;
  }
}

template <GemmGroup kGroup>
static void group_unpack(const std::byte* packed, int64_t blocks, std::byte* unpacked) {
  using Weights = PackedGroup<kGroup>;
  constexpr int kGroups = kUnpackedBlock / Weights::kSize;
  for (int64_t b = 0; b < blocks; ++b, packed += Weights::kBlockBytes) {
    for (int part = 0; part < Weights::kBlock / kUnpackedBlock; ++part) {
      auto* scale = reinterpret_cast<float*>(unpacked);
      for (int g = 0; g < kGroups; ++g) {
        store_f(scale + g * kPanelRows, Weights::scale(packed, part * kGroups + g));
        if constexpr (Weights::kHasMin) {
          store_f(scale + (kGroups + g) * kPanelRows, Weights::min(packed, part * kGroups + g));
        }
      }
      std::byte* q = unpacked + unpacked_q_offset(Weights::kSize, Weights::kHasMin);
      for (int i = 0; i < kUnpackedBlock / 8; ++i, q += 128) {
        VecW w0, w1;
        Weights::load(packed, part * (kUnpackedBlock / 8) + i, w0, w1);
        store_w8(q, w0);
        store_w8(q + 64, w1);
      }
      unpacked += unpacked_block_bytes(Weights::kSize, Weights::kHasMin);
    }
  }
}

// The kernel of a grouped layout.
template <GemmGroup kGroup>
constexpr GemmKernel group_kernel(const char* name, Isa needs) {
  using Weights = PackedGroup<kGroup>;
  return {
      name,
      kGroup,
      needs,
      &kActivations,
      finish,
      {{kWideRows, GemmX::kInt8Group, group_wide<kGroup>, nullptr, 0, 0},
       {kAllRows, GemmX::kInt8Group,
        group_tile<UnpackedGroup<Weights::kSize, Weights::kHasMin, Weights::kSevenBits>>,
        group_unpack<kGroup>,
        Weights::kBlock / kUnpackedBlock * unpacked_block_bytes(Weights::kSize, Weights::kHasMin),
        kGroupTilePanels},
       {}}};
}

constexpr GemmKernel int8_kernel(const char* name, Isa needs) {
  return {name,
          GemmGroup::kI8,
          needs,
          &kActivations,
          finish,
          {{kWideRows, GemmX::kInt8Row, int8_wide, nullptr, 0, 0},
           {kAllRows, GemmX::kInt8Row, int8_tile, nullptr, 0, kTilePanels},
           {}}};
}

}  // namespace
}  // namespace lanner
