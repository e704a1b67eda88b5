// SPDX-License-Identifier: Apache-2.0
// Tiles of int8 activations times quantised weights. Included by ISA files after their vec_*.h.
// Integer sums are exact, and the floats of a y are one chain over the groups in the order of k, so
// that every path of every ISA here gives the same bits.
#pragma once

#include "kernels/gemm/fetch.h"
#include "kernels/gemm/kernels.h"
#include "kernels/gemm/row_cut.h"

namespace lanner {
namespace {

// int8 with one scale per row of w and one per row of x: integers all the way.
template <int kRows, int kPanels>
static inline void int8_block(const GemmTile& t, int row, int panel) {
  constexpr int kVecs = kPanels * kParts;
  // With one product a line the hardware keeps up, and more fetches only get in its way.
  constexpr bool kFetch = kRows > 1;
  VecI acc[kRows][kVecs];
  float* out = t.acc + row * t.acc_stride + panel * kPanelRows;
#pragma GCC unroll 16
  for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 16
    for (int v = 0; v < kVecs; ++v) {
      acc[m][v] =
          t.first ? broadcast_i(t.x_offset + row + m) : load_i(out + m * t.acc_stride + v * kLanes);
    }
  }
  const std::byte* w = t.w + panel * t.panel_stride;
  const auto* x = reinterpret_cast<const int8_t*>(t.x + row * t.x_stride);
  FetchNext fetch(t, row, kRows, panel, kPanels);
  const auto step = [&] {
    if constexpr (kPanels > kRows) {
      VecX xv[kRows];
#pragma GCC unroll 16
      for (int m = 0; m < kRows; ++m) xv[m] = broadcast_x(x + m * t.x_stride);
#pragma GCC unroll 16
      for (int v = 0; v < kVecs; ++v) {
        if (kFetch && v % kParts == 0) prefetch(w + v / kParts * t.panel_stride + kStreamAhead);
        const VecW wv = load_w8(w + v / kParts * t.panel_stride + v % kParts * kLanes * 4);
#pragma GCC unroll 16
        for (int m = 0; m < kRows; ++m) acc[m][v] = dot<false>(acc[m][v], wv, xv[m]);
      }
    } else {
      VecW wv[kVecs];
#pragma GCC unroll 16
      for (int v = 0; v < kVecs; ++v) {
        wv[v] = load_w8(w + v / kParts * t.panel_stride + v % kParts * kLanes * 4);
      }
#pragma GCC unroll 16
      for (int m = 0; m < kRows; ++m) {
        const VecX xv = broadcast_x(x + m * t.x_stride);
#pragma GCC unroll 16
        for (int v = 0; v < kVecs; ++v) acc[m][v] = dot<false>(acc[m][v], wv[v], xv);
      }
    }
    w += 4 * kPanelRows;
    x += 4;
  };
  for (int64_t k = 0; k < t.k;) {
    const int64_t end = fetch.advance(k, 64, t.k);
#pragma GCC unroll 1
    for (; k < end; k += 4) step();
  }
#pragma GCC unroll 16
  for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 16
    for (int v = 0; v < kVecs; ++v) store_i(out + m * t.acc_stride + v * kLanes, acc[m][v]);
  }
}

// A group's packed weights.
template <GemmGroup kGroup, bool kStream = true>
struct PackedGroup {
  static constexpr GemmLayout kLayout = gemm_layout(kGroup);
  static constexpr int kSize = kLayout.group;
  static constexpr bool kHasMin = kLayout.has_min;
  static constexpr bool kSevenBits = kGroup != GemmGroup::kI8G32;
  static constexpr int kBlock = kLayout.k_block;
  static constexpr int kBlockBytes = kLayout.block_bytes;

  static inline VecF two_level(const std::byte* block, int d_offset, int offset, int g, int part) {
    return mul(load_int8_as_f(block + offset + g * kPanelRows + part * kLanes),
               load_fp16(block + d_offset + part * kLanes * 2));
  }
  static constexpr int kGroupsPerScale = kLayout.scale_group / kLayout.group;
  static inline VecF scale(const std::byte* block, int g, int part) {
    g /= kGroupsPerScale;
    if constexpr (kLayout.two_level) return two_level(block, 0, kLayout.scale_offset, g, part);
    return load_fp16(block + kLayout.scale_offset + (g * kPanelRows + part * kLanes) * 2);
  }
  static inline VecF min(const std::byte* block, int g, int part) {
    g /= kGroupsPerScale;
    if constexpr (kLayout.two_level) return two_level(block, 32, kLayout.min_offset, g, part);
    return load_fp16(block + kLayout.min_offset + (g * kPanelRows + part * kLanes) * 2);
  }
  // The values 4 * quad .. 4 * quad + 3.
  static inline VecW load(const std::byte* block, int quad, int part) {
    const std::byte* q = block + kLayout.q_offset + part * kLanes * 4;
    if constexpr (kLayout.bits == 4) return load_w4(q + quad / 2 * 64, quad % 2);
    return load_w8(q + quad * 64);
  }
  // Fetches, well ahead, the line that this quad is the first of.
  static inline void fetch(const std::byte* block, int quad) {
    if (!kStream) return;
    if (kLayout.bits == 8 || quad % 2 == 0) {
      prefetch(block + kStreamAhead + quad * 8 * kLayout.bits);
    }
  }
  static constexpr bool kFetch = kStream;
};

// The same unpacked.
template <int kGroupSize, bool kWithMin, bool kSevenBitsOnly>
struct UnpackedGroup {
  static constexpr int kSize = kGroupSize;
  static constexpr bool kHasMin = kWithMin;
  static constexpr bool kSevenBits = kSevenBitsOnly;
  static constexpr int kBlock = kUnpackedBlock;
  static constexpr int kBlockBytes = unpacked_block_bytes(kGroupSize, kWithMin);

  static inline VecF scale(const std::byte* block, int g, int part) {
    return load_f(reinterpret_cast<const float*>(block) + g * kPanelRows + part * kLanes);
  }
  static inline VecF min(const std::byte* block, int g, int part) {
    return scale(block + unpacked_min_offset(kSize), g, part);
  }
  static inline VecW load(const std::byte* block, int quad, int part) {
    return load_w8(block + unpacked_q_offset(kSize, kHasMin) + quad * 64 + part * kLanes * 4);
  }
  static inline void fetch(const std::byte*, int) {}
  static constexpr bool kFetch = false;
};

template <class Weights, int kRows, int kPanels>
static inline void group_block(const GemmTile& t, int row, int panel) {
  constexpr int kGroups = Weights::kBlock / Weights::kSize;
  constexpr int kVecs = kPanels * kParts;
  constexpr bool kFetch = kRows > 1;  // as above
  VecF sum[kRows][kVecs];
  float* out = t.acc + row * t.acc_stride + panel * kPanelRows;
#pragma GCC unroll 16
  for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 16
    for (int v = 0; v < kVecs; ++v) {
      sum[m][v] = t.first ? zero_f() : load_f(out + m * t.acc_stride + v * kLanes);
    }
  }
  const std::byte* w = t.w + panel * t.panel_stride;
  const int8_t* x = reinterpret_cast<const int8_t*>(t.x + row * t.x_stride);
  const float* x_scale = t.x_scale + row * t.x_scale_stride;
  const int32_t* x_offset = t.x_offset + row * t.x_sum_stride;
  const float* x_sum = Weights::kHasMin ? t.x_sum + row * t.x_sum_stride : nullptr;
  FetchNext fetch(t, row, kRows, panel, kPanels);
  for (int64_t k = 0; k < t.k; k += Weights::kBlock, w += Weights::kBlockBytes) {
    if constexpr (!Weights::kFetch) fetch.advance(k, Weights::kBlock, t.k);
#pragma GCC unroll 1
    for (int g = 0; g < kGroups; ++g) {
      VecI acc[kRows][kVecs];
#pragma GCC unroll 16
      for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 16
        for (int v = 0; v < kVecs; ++v) acc[m][v] = broadcast_i(x_offset + m * t.x_sum_stride);
      }
#pragma GCC unroll 8
      for (int i = 0; i < Weights::kSize / 4; ++i, x += 4) {
        const int quad = g * (Weights::kSize / 4) + i;
        if constexpr (kPanels > kRows) {
          VecX xv[kRows];
#pragma GCC unroll 16
          for (int m = 0; m < kRows; ++m) xv[m] = broadcast_x(x + m * t.x_stride);
#pragma GCC unroll 16
          for (int v = 0; v < kVecs; ++v) {
            const std::byte* block = w + v / kParts * t.panel_stride;
            if (kFetch && v % kParts == 0) Weights::fetch(block, quad);
            const VecW wv = Weights::load(block, quad, v % kParts);
#pragma GCC unroll 16
            for (int m = 0; m < kRows; ++m) {
              acc[m][v] = dot<Weights::kSevenBits>(acc[m][v], wv, xv[m]);
            }
          }
        } else {
          VecW wv[kVecs];
#pragma GCC unroll 16
          for (int v = 0; v < kVecs; ++v) {
            const std::byte* block = w + v / kParts * t.panel_stride;
            if (kFetch && v % kParts == 0) Weights::fetch(block, quad);
            wv[v] = Weights::load(block, quad, v % kParts);
          }
#pragma GCC unroll 16
          for (int m = 0; m < kRows; ++m) {
            const VecX xv = broadcast_x(x + m * t.x_stride);
#pragma GCC unroll 16
            for (int v = 0; v < kVecs; ++v) {
              acc[m][v] = dot<Weights::kSevenBits>(acc[m][v], wv[v], xv);
            }
          }
        }
      }
#pragma GCC unroll 16
      for (int v = 0; v < kVecs; ++v) {
        const VecF scale = Weights::scale(w + v / kParts * t.panel_stride, g, v % kParts);
#pragma GCC unroll 16
        for (int m = 0; m < kRows; ++m) {
          const VecF xs = broadcast_f(x_scale + m * t.x_scale_stride);
          sum[m][v] = fma(mul(to_f(acc[m][v]), scale), xs, sum[m][v]);
        }
        if constexpr (Weights::kHasMin) {
          const VecF min = Weights::min(w + v / kParts * t.panel_stride, g, v % kParts);
#pragma GCC unroll 16
          for (int m = 0; m < kRows; ++m) {
            sum[m][v] = fma(min, broadcast_f(x_sum + m * t.x_sum_stride), sum[m][v]);
          }
        }
      }
      ++x_offset;
      if constexpr (Weights::kHasMin) ++x_sum;
      if (Weights::kSize == 32 || g % 2 == 1) ++x_scale;
    }
  }
#pragma GCC unroll 16
  for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 16
    for (int v = 0; v < kVecs; ++v) store_f(out + m * t.acc_stride + v * kLanes, sum[m][v]);
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
  with_rows<kWideRows>(t.rows, [&]<int kRows>() { int8_panels<kRows, wide_panels(kRows)>(t, 0); });
}

template <GemmGroup kGroup>
static void group_wide(const GemmTile& t) {
  with_rows<kWideRows>(t.rows, [&]<int kRows>() {
    group_panels<PackedGroup<kGroup>, kRows, wide_group_panels(kRows)>(t, 0);
  });
}

// Many rows, up to kTilePanels or kGroupTilePanels panels.
static void int8_tile(const GemmTile& t) {
  cut_rows<kTileRows>(t.rows, [&]<int kRows>(int row) { int8_panels<kRows, kTilePanels>(t, row); });
}

template <class Weights>
static void group_tile(const GemmTile& t) {
  cut_rows<kGroupTileRows>(
      t.rows, [&]<int kRows>(int row) { group_panels<Weights, kRows, kGroupTilePanels>(t, row); });
}

template <GemmGroup kGroup>
static void group_unpack(const std::byte* packed, int64_t blocks, std::byte* unpacked) {
  using Weights = PackedGroup<kGroup>;
  constexpr int kGroups = kUnpackedBlock / Weights::kSize;
  for (int64_t b = 0; b < blocks; ++b, packed += Weights::kBlockBytes) {
    for (int part = 0; part < Weights::kBlock / kUnpackedBlock; ++part) {
      auto* scale = reinterpret_cast<float*>(unpacked);
      std::byte* q = unpacked + unpacked_q_offset(Weights::kSize, Weights::kHasMin);
      for (int v = 0; v < kParts; ++v) {
        for (int g = 0; g < kGroups; ++g) {
          store_f(scale + g * kPanelRows + v * kLanes,
                  Weights::scale(packed, part * kGroups + g, v));
          if constexpr (Weights::kHasMin) {
            store_f(scale + (kGroups + g) * kPanelRows + v * kLanes,
                    Weights::min(packed, part * kGroups + g, v));
          }
        }
        for (int quad = 0; quad < kUnpackedBlock / 4; ++quad) {
          store_w8(q + quad * 64 + v * kLanes * 4,
                   Weights::load(packed, part * (kUnpackedBlock / 4) + quad, v));
        }
      }
      unpacked += unpacked_block_bytes(Weights::kSize, Weights::kHasMin);
    }
  }
}

// Up to how many rows the packed weights are taken apart anew for every few of them. Two levels of
// scales soon cost more than unpacking them once for all rows; bytes are as good as unpacked.
template <GemmGroup kGroup>
constexpr int direct_rows() {
  constexpr GemmLayout kLayout = gemm_layout(kGroup);
  if (kLayout.two_level) return 2 * kGroupTileRows;
  return kLayout.bits == 8 ? kAllRows : kDirectNibbleRows;
}

template <GemmGroup kGroup>
constexpr GemmPath unpacking_path() {
  if constexpr (direct_rows<kGroup>() == kAllRows) {
    return {};
  } else {
    using Packed = PackedGroup<kGroup>;
    using Unpacked = UnpackedGroup<Packed::kSize, Packed::kHasMin, Packed::kSevenBits>;
    return {kAllRows,
            GemmX::kInt8Group,
            group_tile<Unpacked>,
            group_unpack<kGroup>,
            Packed::kBlock / kUnpackedBlock * Unpacked::kBlockBytes,
            kGroupTilePanels};
  }
}

template <GemmGroup kGroup>
constexpr GemmKernel group_kernel(const char* name, Isa needs) {
  return {name,
          kGroup,
          needs,
          &kActivations,
          finish,
          {{kWideRows, GemmX::kInt8Group, group_wide<kGroup>, nullptr, 0, 0},
           {direct_rows<kGroup>(), GemmX::kInt8Group, group_tile<PackedGroup<kGroup, false>>,
            nullptr, 0, kGroupTilePanels},
           unpacking_path<kGroup>()}};
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
