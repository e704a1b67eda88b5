// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/isa.h"
#include "kernels/gemm/layouts.h"

namespace lanner {

// How a kernel wants its activations.
enum class GemmX : uint8_t {
  kF32,        // [rows][k] fp32
  kBf16,       // [rows][k] bf16, rounded to nearest even
  kInt8Row,    // [rows][k] int8 with one scale per row
  kInt8Group,  // [rows][k] int8 with one scale per row and 32 values
};

// Some rows of x times some panels of w over some of k: acc[rows][panels * 16] = or += the
// products. Pointers stand at the first row, panel and k of the tile.
struct GemmTile {
  const std::byte* w;
  int64_t panel_stride;  // bytes
  const std::byte* x;
  int64_t x_stride;         // bytes
  const float* x_scale;     // kInt8Group: [rows][k / 32]
  int64_t x_scale_stride;   // elements
  const int32_t* x_offset;  // quantised: -zero_point * sum of the x of a row (kInt8Row) or a group
  const float* x_sum;       // layouts with minima: scale * sum of the x of a group
  int64_t x_sum_stride;     // elements, of x_offset too
  float* acc;               // int32 for kInt8Row; 64-byte aligned
  int64_t acc_stride;       // elements, a multiple of 16
  int64_t k;                // a multiple of the layout's k_block
  int rows;
  int panels;
  bool first;  // acc holds nothing yet
  // Packed weights that will be wanted after this tile, to be fetched meanwhile; or null.
  const std::byte* next;
  int64_t next_stride;  // bytes between its panels
  int64_t next_bytes;   // of each panel
};
using GemmTileFn = void (*)(const GemmTile& tile);

// `blocks` packed blocks of one panel to the form that a path's tile function reads.
using GemmUnpackFn = void (*)(const std::byte* packed, int64_t blocks, std::byte* unpacked);

// acc to y: scales, bias, residual.
struct GemmFinish {
  const float* acc;
  int64_t acc_stride;
  const float* x_scale;  // [rows], kInt8Row: acc is int32; else null
  const float* w_scale;  // [columns]
  const float* bias;     // [columns] or null
  float* y;
  int64_t y_stride;  // elements
  int64_t rows;
  int64_t columns;
  bool accumulate;
};
using GemmFinishFn = void (*)(const GemmFinish& finish);

// One row of activations, [k] to [k_padded] with zeros after k. offset and sum are those of
// GemmTile.
struct GemmActivations {
  void (*to_bf16)(const float* x, int64_t k, int64_t k_padded, uint16_t* y);
  void (*quantize_row)(const float* x, int64_t k, int64_t k_padded, int zero_point, int8_t* q,
                       float* scale, int32_t* offset);
  void (*quantize_groups)(const float* x, int64_t k, int64_t k_padded, int group, int zero_point,
                          int8_t* q, float* scale, int32_t* offset, float* sum);
};

// How a kernel treats up to max_rows rows of x.
struct GemmPath {
  int max_rows;
  GemmX x;
  GemmTileFn tile;
  GemmUnpackFn unpack;  // null: tile reads packed weights
  int unpacked_bytes;   // of one packed block once unpacked
  int panels;           // side by side in one call of tile; 0: as many as there are, all of k
};

inline constexpr int kGemmMaxPaths = 3;
inline constexpr int kAllRows = 1 << 30;

// All that one ISA offers for one packed layout.
struct GemmKernel {
  const char* name;  // "avx512_vnni.int4g32"
  GemmGroup group;
  Isa needs;
  const GemmActivations* activations;
  GemmFinishFn finish;
  GemmPath paths[kGemmMaxPaths];  // by rising max_rows; the last has kAllRows
};

struct GemmKernelTable {
  const GemmKernel* kernels;
  int num_kernels;

  std::span<const GemmKernel> list() const { return {kernels, static_cast<size_t>(num_kernels)}; }
};

extern const GemmKernelTable kGemmAmx;
extern const GemmKernelTable kGemmAvx512Bf16;
extern const GemmKernelTable kGemmAvx512Vnni;
extern const GemmKernelTable kGemmAvx512;
extern const GemmKernelTable kGemmAvx512Int;
extern const GemmKernelTable kGemmAvxVnni;
extern const GemmKernelTable kGemmAvx2;
extern const GemmKernelTable kGemmAvx2Int;
extern const GemmKernelTable kGemmScalar;

// Quantises a panel of 16 rows: w [16][stride] fp32 holds k values a row, k a multiple of the
// layout's k_block; panel gets scales, minima and values. The scale of a group maps its largest
// magnitude to the end of the range (its lowest and highest value, with minima), and a NaN or an
// infinity makes the group's scale NaN.
using GemmQuantizeFn = void (*)(const float* w, int64_t stride, int64_t k, std::byte* panel);

struct GemmQuantizer {
  GemmGroup group;
  GemmQuantizeFn quantize;
};

struct GemmQuantizerTable {
  Isa needs;
  const GemmQuantizer* quantizers;
  int num_quantizers;

  std::span<const GemmQuantizer> list() const {
    return {quantizers, static_cast<size_t>(num_quantizers)};
  }
};

extern const GemmQuantizerTable kGemmQuantizersAvx512;
extern const GemmQuantizerTable kGemmQuantizersAvx2;
extern const GemmQuantizerTable kGemmQuantizersScalar;

// Best first; all have the same groups and give the same bits.
std::span<const GemmQuantizerTable* const> gemm_quantizer_tables();

// Null for a group that nothing is quantised to.
GemmQuantizeFn select_gemm_quantizer(GemmGroup group, Isa isa);

// Best first; the last runs everywhere and has every group.
std::span<const GemmKernelTable* const> gemm_kernel_tables();

const GemmKernel& select_gemm(GemmGroup group, Isa isa);

// Whether two kernels of one group multiply alike, on a small example that uses all of their paths:
// what is asked before a kernel that no machine of ours could run is trusted.
bool gemm_kernels_agree(const GemmKernel& candidate, const GemmKernel& trusted);

// The path of a kernel for that many rows.
const GemmPath& gemm_path(const GemmKernel& kernel, int64_t rows);

}  // namespace lanner
