// SPDX-License-Identifier: Apache-2.0
// AMX: tiles of 16 rows of x by 16 rows of w, on the layouts as they are packed for AVX-512. A
// panel of bf16 or int8 weights is a column of B tiles, 64 bytes for each step of k. Few rows are
// the business of AVX-512 here too: they wait for the weights, not for the arithmetic.
//
// Included by amx.cpp, and by testing/amx_model.cpp after a model of the tile instructions: no
// machine of ours could run them.
#pragma once

#include "kernels/gemm/row_ops.h"
#include "kernels/gemm/vec_avx512.h"
// After the vectors they are written in.
#include "kernels/gemm/int_tiles.h"
#include "kernels/gemm/plain_tiles.h"

namespace lanner {
namespace {

constexpr int kSide = 16;  // rows of x and of w in a tile
constexpr int kStepBytes = 64;

// What LDTILECFG reads.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

// The intrinsics do not tell the compiler which memory they read.
static inline void finish_stores() { __asm__ volatile("" ::: "memory"); }

// Tiles 0 to 3 are sums (two row tiles by two panels), 4 and 5 rows of x, 6 and 7 panels of w.
// `depth`: rows of a w tile, each four bytes of a row of x.
static void configure(int rows, int depth) {
  TileConfig config;
  const auto set = [&](int tile, int tile_rows, int row_bytes) {
    config.rows[tile] = static_cast<uint8_t>(tile_rows);
    config.row_bytes[tile] = static_cast<uint16_t>(tile_rows > 0 ? row_bytes : 0);
  };
  for (int half = 0; half < 2; ++half) {
    const int left = rows - half * kSide;
    const int tile_rows = left < 0 ? 0 : left < kSide ? left : kSide;
    set(2 * half, tile_rows, kStepBytes);
    set(2 * half + 1, tile_rows, kStepBytes);
    set(4 + half, tile_rows, depth * 4);
    set(6 + half, depth, kStepBytes);
  }
  finish_stores();
  _tile_loadconfig(&config);
}

struct Int8Tiles {
  static constexpr int kValues = 4;  // in four bytes
};
struct Bf16Tiles {
  static constexpr int kValues = 2;
};

// Up to 32 rows and two panels; kHigh: more than 16 rows, kBoth: two panels.
template <class Type, bool kHigh, bool kBoth>
static inline void multiply_tiles(const std::byte* x, int64_t x_stride, const std::byte* w,
                                  int64_t panel_stride, int64_t steps) {
  for (; steps > 0; --steps, x += kStepBytes, w += kSide * kStepBytes) {
    _tile_loadd(4, x, x_stride);
    _tile_loadd(6, w, kStepBytes);
    if constexpr (kHigh) _tile_loadd(5, x + kSide * x_stride, x_stride);
    if constexpr (kBoth) _tile_loadd(7, w + panel_stride, kStepBytes);
    if constexpr (Type::kValues == 4) {
      _tile_dpbsud(0, 4, 6);
      if constexpr (kBoth) _tile_dpbsud(1, 4, 7);
      if constexpr (kHigh) _tile_dpbsud(2, 5, 6);
      if constexpr (kHigh && kBoth) _tile_dpbsud(3, 5, 7);
    } else {
      _tile_dpbf16ps(0, 4, 6);
      if constexpr (kBoth) _tile_dpbf16ps(1, 4, 7);
      if constexpr (kHigh) _tile_dpbf16ps(2, 5, 6);
      if constexpr (kHigh && kBoth) _tile_dpbf16ps(3, 5, 7);
    }
  }
}

template <bool kHigh, bool kBoth>
static inline void load_sums(const float* acc, int64_t stride) {
  _tile_loadd(0, acc, stride * 4);
  if constexpr (kBoth) _tile_loadd(1, acc + kPanelRows, stride * 4);
  if constexpr (kHigh) _tile_loadd(2, acc + kSide * stride, stride * 4);
  if constexpr (kHigh && kBoth) _tile_loadd(3, acc + kSide * stride + kPanelRows, stride * 4);
}

template <bool kHigh, bool kBoth>
static inline void store_sums(float* acc, int64_t stride) {
  _tile_stored(0, acc, stride * 4);
  if constexpr (kBoth) _tile_stored(1, acc + kPanelRows, stride * 4);
  if constexpr (kHigh) _tile_stored(2, acc + kSide * stride, stride * 4);
  if constexpr (kHigh && kBoth) _tile_stored(3, acc + kSide * stride + kPanelRows, stride * 4);
}

// Some whole steps of k, or (depth < 16) what is left of one.
template <class Type, bool kHigh, bool kBoth>
static void add_products(const GemmTile& t, int row, int rows, int panel, int64_t skip,
                         int64_t steps, int depth) {
  configure(rows, depth);
  float* acc = t.acc + row * t.acc_stride + panel * kPanelRows;
  load_sums<kHigh, kBoth>(acc, t.acc_stride);
  multiply_tiles<Type, kHigh, kBoth>(t.x + row * t.x_stride + skip * kStepBytes, t.x_stride,
                                     t.w + panel * t.panel_stride + skip * kSide * kStepBytes,
                                     t.panel_stride, steps);
  store_sums<kHigh, kBoth>(acc, t.acc_stride);
}

template <class Type, bool kHigh, bool kBoth>
static void plain_block(const GemmTile& t, int row, int rows, int panel) {
  const int64_t quads = t.k / Type::kValues;
  const int64_t steps = quads / kSide;
  const int left = static_cast<int>(quads % kSide);
  if (steps > 0) add_products<Type, kHigh, kBoth>(t, row, rows, panel, 0, steps, kSide);
  if (left > 0) add_products<Type, kHigh, kBoth>(t, row, rows, panel, steps, 1, left);
}

// acc before the first products: zero, or what the zero points of w add to each row.
template <class Type>
static void begin_sums(const GemmTile& t) {
  for (int m = 0; m < t.rows; ++m) {
    const VecI start = Type::kValues == 4 ? broadcast_i(t.x_offset + m) : _mm512_setzero_si512();
    for (int p = 0; p < t.panels; ++p) store_i(t.acc + m * t.acc_stride + p * kPanelRows, start);
  }
  finish_stores();
}

template <class Type>
static void amx_tile(const GemmTile& t) {
  if (t.first) begin_sums<Type>(t);
  for (int row = 0; row < t.rows; row += 2 * kSide) {
    const int rows = t.rows - row < 2 * kSide ? t.rows - row : 2 * kSide;
    for (int panel = 0; panel < t.panels; panel += 2) {
      const bool both = panel + 1 < t.panels;
      if (rows > kSide) {
        both ? plain_block<Type, true, true>(t, row, rows, panel)
             : plain_block<Type, true, false>(t, row, rows, panel);
      } else {
        both ? plain_block<Type, false, true>(t, row, rows, panel)
             : plain_block<Type, false, false>(t, row, rows, panel);
      }
    }
  }
  _tile_release();
}

// Groups of 32: the integer sums of each group leave the tiles to be scaled, as in int_tiles.h.
template <bool kHasMin, bool kHigh, bool kBoth>
static void group_block_amx(const GemmTile& t, int row, int rows, int panel) {
  using Weights = UnpackedGroup<32, kHasMin, false>;
  constexpr int kPanels = kBoth ? 2 : 1;
  constexpr int kStride = 2 * kPanelRows;
  alignas(64) float sums[2 * kSide * kStride];  // int32
  configure(rows, 32 / 4);
  const std::byte* w = t.w + panel * t.panel_stride;
  const std::byte* x = t.x + row * t.x_stride;
  float* acc = t.acc + row * t.acc_stride + panel * kPanelRows;
  for (int64_t k = 0; k < t.k; k += Weights::kBlock, w += Weights::kBlockBytes) {
    for (int g = 0; g < Weights::kBlock / 32; ++g, x += 32) {
      _tile_zero(0);
      if constexpr (kBoth) _tile_zero(1);
      if constexpr (kHigh) _tile_zero(2);
      if constexpr (kHigh && kBoth) _tile_zero(3);
      const std::byte* q = w + unpacked_q_offset(32, kHasMin) + g * 32 * kPanelRows;
      multiply_tiles<Int8Tiles, kHigh, kBoth>(x, t.x_stride, q, t.panel_stride, 1);
      store_sums<kHigh, kBoth>(sums, kStride);
      const int64_t group = k / 32 + g;
      for (int p = 0; p < kPanels; ++p) {
        const VecF scale = Weights::scale(w + p * t.panel_stride, g, 0);
        for (int m = 0; m < rows; ++m) {
          const VecI offset = broadcast_i(t.x_offset + (row + m) * t.x_sum_stride + group);
          const VecI sum = _mm512_add_epi32(load_i(sums + m * kStride + p * kPanelRows), offset);
          const VecF x_scale = broadcast_f(t.x_scale + (row + m) * t.x_scale_stride + group);
          float* out = acc + m * t.acc_stride + p * kPanelRows;
          VecF y =
              fma(mul(to_f(sum), scale), x_scale, t.first && group == 0 ? zero_f() : load_f(out));
          if constexpr (kHasMin) {
            const VecF x_sum = broadcast_f(t.x_sum + (row + m) * t.x_sum_stride + group);
            y = fma(Weights::min(w + p * t.panel_stride, g, 0), x_sum, y);
          }
          store_f(out, y);
        }
      }
    }
  }
}

template <bool kHasMin>
static void amx_group_tile(const GemmTile& t) {
  for (int row = 0; row < t.rows; row += 2 * kSide) {
    const int rows = t.rows - row < 2 * kSide ? t.rows - row : 2 * kSide;
    for (int panel = 0; panel < t.panels; panel += 2) {
      const bool both = panel + 1 < t.panels;
      if (rows > kSide) {
        both ? group_block_amx<kHasMin, true, true>(t, row, rows, panel)
             : group_block_amx<kHasMin, true, false>(t, row, rows, panel);
      } else {
        both ? group_block_amx<kHasMin, false, true>(t, row, rows, panel)
             : group_block_amx<kHasMin, false, false>(t, row, rows, panel);
      }
    }
  }
  _tile_release();
}

constexpr int kAmxPanels = 4;
constexpr Isa kInt8Needs{Isa::kAvx512, Isa::kAvx512Vnni, Isa::kAmxTile, Isa::kAmxInt8};
constexpr Isa kBf16Needs{Isa::kAvx512, Isa::kAmxTile, Isa::kAmxBf16};

template <GemmGroup kGroup>
constexpr GemmKernel amx_group_kernel(const char* name) {
  constexpr GemmLayout kLayout = gemm_layout(kGroup);
  static_assert(kLayout.group == 32);
  return {
      name,
      kGroup,
      kInt8Needs,
      &kActivations,
      finish,
      {{kWideRows, GemmX::kInt8Group, group_wide<kGroup>, nullptr, 0, 0},
       {kAllRows, GemmX::kInt8Group, amx_group_tile<kLayout.has_min>, group_unpack<kGroup>,
        kLayout.k_block / kUnpackedBlock * unpacked_block_bytes(32, kLayout.has_min), kAmxPanels},
       {}}};
}

constexpr GemmKernel kAmxKernels[] = {
    {"amx.int8",
     GemmGroup::kI8,
     kInt8Needs,
     &kActivations,
     finish,
     {{kWideRows, GemmX::kInt8Row, int8_wide, nullptr, 0, 0},
      {kAllRows, GemmX::kInt8Row, amx_tile<Int8Tiles>, nullptr, 0, kAmxPanels},
      {}}},
    amx_group_kernel<GemmGroup::kI8G32>("amx.int8g32"),
    amx_group_kernel<GemmGroup::kI4G32>("amx.int4g32"),
    amx_group_kernel<GemmGroup::kI4G128>("amx.int4g128"),
    amx_group_kernel<GemmGroup::kI4G32MK>("amx.int4g32mk"),
    // A batch of sequences in decode keeps the arithmetic of one: fp32, as without AMX on these
    // CPUs.
    {"amx.bf16",
     GemmGroup::kBf16,
     kBf16Needs,
     &kActivations,
     finish,
     {{kWideRows, GemmX::kF32, plain_wide<PlainBf16>, nullptr, 0, 0},
      {16, GemmX::kF32, plain_tile<PlainF32>, plain_unpack<PlainBf16>, 128, kTilePanels},
      {kAllRows, GemmX::kBf16, amx_tile<Bf16Tiles>, nullptr, 0, kAmxPanels}}},
};

constexpr int kNumAmxKernels = sizeof kAmxKernels / sizeof kAmxKernels[0];

}  // namespace
}  // namespace lanner
