// SPDX-License-Identifier: Apache-2.0
// Tiles of fp32 arithmetic, for weights in fp32, fp16 and bf16. Included by ISA files after their
// vec_*.h. Each y is one chain of fused multiply-adds in the order of k, whatever the tile, so that
// every path of one ISA family gives the same bits.
#pragma once

#include "kernels/gemm/fetch.h"
#include "kernels/gemm/kernels.h"
#include "kernels/gemm/row_cut.h"

namespace lanner {
namespace {

static inline VecF broadcast_x_f(const std::byte* x, int index) {
  return broadcast_f(reinterpret_cast<const float*>(x) + index);
}

// kStep values of k of one part of the 16 rows whose kBytes begin at p.
struct PlainF32 {
  static constexpr int kStep = 1;
  static constexpr int kBytes = 64;
  static inline void load(const std::byte* p, int part, VecF* w) {
    w[0] = load_f(reinterpret_cast<const float*>(p) + part * kLanes);
  }
};
struct PlainF16 {
  static constexpr int kStep = 1;
  static constexpr int kBytes = 32;
  static inline void load(const std::byte* p, int part, VecF* w) {
    w[0] = load_fp16(p + part * kLanes * 2);
  }
};
struct PlainBf16 {
  static constexpr int kStep = 2;
  static constexpr int kBytes = 64;
  static inline void load(const std::byte* p, int part, VecF* w) {
    load_bf16_pairs(p + part * kLanes * 4, w[0], w[1]);
  }
};

template <class Weights, int kRows, int kPanels>
static inline void plain_block(const GemmTile& t, int row, int panel) {
  constexpr int kVecs = kPanels * kParts;
  // With so little arithmetic a line as one row of fp32 the hardware keeps up.
  constexpr bool kFetch = kRows > 1 || Weights::kBytes < 64 * Weights::kStep;
  VecF acc[kRows][kVecs];
  float* out = t.acc + row * t.acc_stride + panel * kPanelRows;
#pragma GCC unroll 16
  for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 16
    for (int v = 0; v < kVecs; ++v) {
      acc[m][v] = t.first ? zero_f() : load_f(out + m * t.acc_stride + v * kLanes);
    }
  }
  const std::byte* w = t.w + panel * t.panel_stride;
  const std::byte* x = t.x + row * t.x_stride;
  FetchNext fetch(t, row, kRows, panel, kPanels);
  const auto step = [&] {
    if constexpr (kPanels > kRows) {
      VecF xv[kRows][Weights::kStep];
#pragma GCC unroll 16
      for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 2
        for (int s = 0; s < Weights::kStep; ++s) xv[m][s] = broadcast_x_f(x + m * t.x_stride, s);
      }
#pragma GCC unroll 16
      for (int v = 0; v < kVecs; ++v) {
        if (kFetch && v % kParts == 0) prefetch(w + v / kParts * t.panel_stride + kStreamAhead);
        VecF wv[Weights::kStep];
        Weights::load(w + v / kParts * t.panel_stride, v % kParts, wv);
#pragma GCC unroll 2
        for (int s = 0; s < Weights::kStep; ++s) {
#pragma GCC unroll 16
          for (int m = 0; m < kRows; ++m) acc[m][v] = fma(xv[m][s], wv[s], acc[m][v]);
        }
      }
    } else {
      VecF wv[kVecs][Weights::kStep];
#pragma GCC unroll 16
      for (int v = 0; v < kVecs; ++v) {
        Weights::load(w + v / kParts * t.panel_stride, v % kParts, wv[v]);
      }
#pragma GCC unroll 2
      for (int s = 0; s < Weights::kStep; ++s) {
#pragma GCC unroll 16
        for (int m = 0; m < kRows; ++m) {
          const VecF xv = broadcast_x_f(x + m * t.x_stride, s);
#pragma GCC unroll 16
          for (int v = 0; v < kVecs; ++v) acc[m][v] = fma(xv, wv[v][s], acc[m][v]);
        }
      }
    }
    w += Weights::kBytes;
    x += 4 * Weights::kStep;
  };
  for (int64_t k = 0; k < t.k;) {
    const int64_t end = fetch.advance(k, 16, t.k);
#pragma GCC unroll 1
    for (; k < end; k += Weights::kStep) step();
  }
#pragma GCC unroll 16
  for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 16
    for (int v = 0; v < kVecs; ++v) store_f(out + m * t.acc_stride + v * kLanes, acc[m][v]);
  }
}

template <class Weights, int kRows, int kPanels>
static void plain_panels(const GemmTile& t, int row) {
  int panel = 0;
  for (; panel + kPanels <= t.panels; panel += kPanels) {
    plain_block<Weights, kRows, kPanels>(t, row, panel);
  }
  for (; panel < t.panels; ++panel) plain_block<Weights, kRows, 1>(t, row, panel);
}

// Up to kWideRows rows, packed weights, many panels.
template <class Weights>
static void plain_wide(const GemmTile& t) {
  with_rows<kWideRows>(
      t.rows, [&]<int kRows>() { plain_panels<Weights, kRows, wide_panels(kRows)>(t, 0); });
}

// Many rows, up to kTilePanels panels.
template <class Weights>
static void plain_tile(const GemmTile& t) {
  cut_rows<kTileRows>(
      t.rows, [&]<int kRows>(int row) { plain_panels<Weights, kRows, kTilePanels>(t, row); });
}

// To [k][16] fp32.
template <class Weights>
static void plain_unpack(const std::byte* packed, int64_t blocks, std::byte* unpacked) {
  auto* out = reinterpret_cast<float*>(unpacked);
  for (int64_t b = 0; b < blocks; ++b) {
    for (int part = 0; part < kParts; ++part) {
      VecF w[Weights::kStep];
      Weights::load(packed + b * Weights::kBytes, part, w);
      for (int s = 0; s < Weights::kStep; ++s) {
        store_f(out + s * kPanelRows + part * kLanes, w[s]);
      }
    }
    out += Weights::kStep * kPanelRows;
  }
}

}  // namespace
}  // namespace lanner
