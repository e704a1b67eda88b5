// SPDX-License-Identifier: Apache-2.0
// bf16 weights on CPUs that multiply bf16: few rows as in avx512_plain.cpp, with fp32 activations;
// many rows with activations rounded to bf16.
#include "kernels/gemm/kernels.h"
#include "kernels/gemm/row_ops.h"
#include "kernels/gemm/vec_avx512.h"
// After the vectors it is written in.
#include "kernels/gemm/plain_tiles.h"

namespace lanner {
namespace {

template <int kRows, int kPanels>
static inline void bf16_block(const GemmTile& t, int row, int panel) {
  __m512 acc[kRows][kPanels];
  float* out = t.acc + row * t.acc_stride + panel * kPanelRows;
  for (int m = 0; m < kRows; ++m) {
    for (int p = 0; p < kPanels; ++p) {
      acc[m][p] =
          t.first ? _mm512_setzero_ps() : _mm512_load_ps(out + m * t.acc_stride + p * kPanelRows);
    }
  }
  const std::byte* w[kPanels];
  for (int p = 0; p < kPanels; ++p) w[p] = t.w + (panel + p) * t.panel_stride;
  const std::byte* x[kRows];
  for (int m = 0; m < kRows; ++m) x[m] = t.x + (row + m) * t.x_stride;
  for (int64_t k = 0; k < t.k; k += 2) {
    __m512bh wv[kPanels];
    for (int p = 0; p < kPanels; ++p) {
      wv[p] = reinterpret_cast<__m512bh>(_mm512_load_si512(w[p] + k * 32));
    }
    for (int m = 0; m < kRows; ++m) {
      int32_t two;
      __builtin_memcpy(&two, x[m] + k * 2, sizeof two);
      const auto xv = reinterpret_cast<__m512bh>(_mm512_set1_epi32(two));
      for (int p = 0; p < kPanels; ++p) acc[m][p] = _mm512_dpbf16_ps(acc[m][p], wv[p], xv);
    }
  }
  for (int m = 0; m < kRows; ++m) {
    for (int p = 0; p < kPanels; ++p) {
      _mm512_store_ps(out + m * t.acc_stride + p * kPanelRows, acc[m][p]);
    }
  }
}

template <int kRows>
static void bf16_panels(const GemmTile& t, int row) {
  int panel = 0;
  for (; panel + kTilePanels <= t.panels; panel += kTilePanels) {
    bf16_block<kRows, kTilePanels>(t, row, panel);
  }
  for (; panel < t.panels; ++panel) bf16_block<kRows, 1>(t, row, panel);
}

static void bf16_tile(const GemmTile& t) {
  int row = 0;
  for (int left = (t.rows + kTileRows - 1) / kTileRows; left > 0; --left) {
    const int rows = (t.rows - row + left - 1) / left;
    switch (rows) {
      case 1:
        bf16_panels<1>(t, row);
        break;
      case 2:
        bf16_panels<2>(t, row);
        break;
      case 3:
        bf16_panels<3>(t, row);
        break;
      case 4:
        bf16_panels<4>(t, row);
        break;
      case 5:
        bf16_panels<5>(t, row);
        break;
      case 6:
        bf16_panels<6>(t, row);
        break;
      case 7:
        bf16_panels<7>(t, row);
        break;
      default:
        bf16_panels<8>(t, row);
    }
    row += rows;
  }
}

}  // namespace

static constexpr Isa kNeeds{Isa::kAvx512, Isa::kAvx512Bf16};

// A batch of sequences in decode (up to 16 rows) keeps the arithmetic of one sequence.
static const GemmKernel kKernels[] = {
    {"avx512_bf16.bf16",
     GemmGroup::kBf16,
     kNeeds,
     &kActivations,
     finish,
     {{kWideRows, GemmX::kF32, plain_wide<PlainBf16>, nullptr, 0, 0},
      {16, GemmX::kF32, plain_tile<PlainF32>, plain_unpack<PlainBf16>, 128, kTilePanels},
      {kAllRows, GemmX::kBf16, bf16_tile, nullptr, 0, kTilePanels}}},
};

const GemmKernelTable kGemmAvx512Bf16 = {kKernels, 1};

}  // namespace lanner
