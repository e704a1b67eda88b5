// SPDX-License-Identifier: Apache-2.0
// bf16 weights on CPUs that multiply bf16, with activations rounded to bf16. Each y is one chain of
// vdpbf16ps in the order of k, whatever the tile: a row gives the same bits alone, in a batch and
// in a prompt.
#include "kernels/gemm/kernels.h"
#include "kernels/gemm/row_ops.h"
#include "kernels/gemm/vec_avx512.h"
// After the vectors it is written in.
#include "kernels/gemm/fetch.h"
#include "kernels/gemm/row_cut.h"

namespace lanner {
namespace {

static inline __m512bh load_pairs(const std::byte* p) {
  return reinterpret_cast<__m512bh>(_mm512_loadu_si512(p));
}
static inline __m512bh broadcast_pair(const std::byte* p) {
  int32_t two;
  __builtin_memcpy(&two, p, sizeof two);
  return reinterpret_cast<__m512bh>(_mm512_set1_epi32(two));
}

template <int kRows, int kPanels>
static inline void bf16_block(const GemmTile& t, int row, int panel) {
  __m512 acc[kRows][kPanels];
  float* out = t.acc + row * t.acc_stride + panel * kPanelRows;
#pragma GCC unroll 16
  for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 16
    for (int p = 0; p < kPanels; ++p) {
      acc[m][p] = t.first ? zero_f() : load_f(out + m * t.acc_stride + p * kPanelRows);
    }
  }
  const std::byte* w = t.w + panel * t.panel_stride;
  const std::byte* x = t.x + row * t.x_stride;
  FetchNext fetch(t, row, kRows, panel, kPanels);
  const auto step = [&] {
    if constexpr (kPanels > kRows) {
      __m512bh xv[kRows];
#pragma GCC unroll 16
      for (int m = 0; m < kRows; ++m) xv[m] = broadcast_pair(x + m * t.x_stride);
#pragma GCC unroll 16
      for (int p = 0; p < kPanels; ++p) {
        // With one product a line the hardware keeps up, and more fetches only get in its way.
        if (kRows > 1) prefetch(w + p * t.panel_stride + kStreamAhead);
        const __m512bh wv = load_pairs(w + p * t.panel_stride);
#pragma GCC unroll 16
        for (int m = 0; m < kRows; ++m) acc[m][p] = _mm512_dpbf16_ps(acc[m][p], wv, xv[m]);
      }
    } else {
      __m512bh wv[kPanels];
#pragma GCC unroll 16
      for (int p = 0; p < kPanels; ++p) wv[p] = load_pairs(w + p * t.panel_stride);
#pragma GCC unroll 16
      for (int m = 0; m < kRows; ++m) {
        const __m512bh xv = broadcast_pair(x + m * t.x_stride);
#pragma GCC unroll 16
        for (int p = 0; p < kPanels; ++p) acc[m][p] = _mm512_dpbf16_ps(acc[m][p], wv[p], xv);
      }
    }
    w += 64;
    x += 4;
  };
  for (int64_t k = 0; k < t.k;) {
    const int64_t end = fetch.advance(k, 32, t.k);
#pragma GCC unroll 1
    for (; k < end; k += 2) step();
  }
#pragma GCC unroll 16
  for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 16
    for (int p = 0; p < kPanels; ++p) store_f(out + m * t.acc_stride + p * kPanelRows, acc[m][p]);
  }
}

template <int kRows, int kPanels>
static void bf16_panels(const GemmTile& t, int row) {
  int panel = 0;
  for (; panel + kPanels <= t.panels; panel += kPanels) bf16_block<kRows, kPanels>(t, row, panel);
  for (; panel < t.panels; ++panel) bf16_block<kRows, 1>(t, row, panel);
}

// Up to kWideRows rows, many panels.
static void bf16_wide(const GemmTile& t) {
  with_rows<kWideRows>(t.rows, [&]<int kRows>() { bf16_panels<kRows, wide_panels(kRows)>(t, 0); });
}

// Many rows, up to kTilePanels panels.
static void bf16_tile(const GemmTile& t) {
  cut_rows<kTileRows>(t.rows, [&]<int kRows>(int row) { bf16_panels<kRows, kTilePanels>(t, row); });
}

}  // namespace

static constexpr Isa kNeeds{Isa::kAvx512, Isa::kAvx512Bf16};

static const GemmKernel kKernels[] = {
    {"avx512_bf16.bf16",
     GemmGroup::kBf16,
     kNeeds,
     &kActivations,
     finish,
     {{kWideRows, GemmX::kBf16, bf16_wide, nullptr, 0, 0},
      {kAllRows, GemmX::kBf16, bf16_tile, nullptr, 0, kTilePanels},
      {}}},
};

const GemmKernelTable kGemmAvx512Bf16 = {kKernels, 1};

}  // namespace lanner
