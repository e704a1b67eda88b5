// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/gemm.h"

#include <algorithm>

#include <cpuid.h>

#include "base/checked.h"
#include "base/log.h"
#include "kernels/gemm/gemm_plan.h"

namespace lanner {
namespace {

// AMD's cores double their rate with vdpbf16ps. Intel's do not: one takes as long as the two or
// four fused multiply-adds of fp32 it stands for, and those need no rounding of x.
bool bf16_is_faster_than_fp32() {
  unsigned largest_leaf = 0, ebx = 0, ecx = 0, edx = 0;
  __get_cpuid(0, &largest_leaf, &ebx, &ecx, &edx);
  return ebx == signature_AMD_ebx;
}

bool amx_agrees(Isa with, Isa without) {
  return std::ranges::all_of(kGemmAmx.list(), [&](const GemmKernel& kernel) {
    return !with.has(kernel.needs) ||
           gemm_kernels_agree(kernel, select_gemm(kernel.group, without));
  });
}

void check_shapes(const Tensor& x, const PackedWeight& w, const Tensor& y) {
  check_argument(x.dtype() == DType::kF32 && y.dtype() == DType::kF32,
                 "[gemm] x is {} and y is {}, expected fp32", x.dtype(), y.dtype());
  check_argument(x.shape().rank() == 2 && x.size(1) == w.k(), "[gemm] x is {}, expected [m, {}]",
                 x.shape(), w.k());
  check_argument(y.shape() == (Shape{x.size(0), w.n()}), "[gemm] y is {}, expected [{}, {}]",
                 y.shape(), x.size(0), w.n());
}

}  // namespace

Isa gemm_isa() {
  static constexpr Isa kBf16{Isa::kAvx512Bf16};
  static constexpr Isa kAmx{Isa::kAmxTile, Isa::kAmxInt8, Isa::kAmxBf16};
  static const Isa isa = [] {
    Isa usable = cpu_isa();
    if (!bf16_is_faster_than_fp32()) usable = usable.without(kBf16);
    if (usable.has(Isa::kAmxTile) && !amx_agrees(usable, usable.without(kAmx))) {
      log_warn("AMX is there but multiplies wrongly: not used");
      usable = usable.without(kAmx);
    }
    return usable;
  }();
  return isa;
}

std::span<const GemmKernelTable* const> gemm_kernel_tables() {
  static constexpr const GemmKernelTable* kTables[] = {
      &kGemmAmx,       &kGemmAvx512Bf16, &kGemmAvx512Vnni, &kGemmAvx512, &kGemmAvxVnni,
      &kGemmAvx512Int, &kGemmAvx2Int,    &kGemmAvx2,       &kGemmScalar,
  };
  return kTables;
}

std::span<const GemmQuantizerTable* const> gemm_quantizer_tables() {
  static constexpr const GemmQuantizerTable* kTables[] = {
      &kGemmQuantizersAvx512,
      &kGemmQuantizersAvx2,
      &kGemmQuantizersScalar,
  };
  return kTables;
}

GemmQuantizeFn select_gemm_quantizer(GemmGroup group, Isa isa) {
  for (const GemmQuantizerTable* table : gemm_quantizer_tables()) {
    if (!isa.has(table->needs)) continue;
    for (const GemmQuantizer& row : table->list()) {
      if (row.group == group) return row.quantize;
    }
  }
  return nullptr;
}

const GemmKernel& select_gemm(GemmGroup group, Isa isa) {
  for (const GemmKernelTable* table : gemm_kernel_tables()) {
    for (const GemmKernel& kernel : table->list()) {
      if (kernel.group == group && isa.has(kernel.needs)) return kernel;
    }
  }
  LANNER_CHECK(false && "the scalar table has every group");
  __builtin_unreachable();
}

const GemmPath& gemm_path(const GemmKernel& kernel, int64_t rows) {
  const GemmPath* path = kernel.paths;
  while (path->max_rows < rows) ++path;
  return *path;
}

void gemm(const Tensor& x, const PackedWeight& weight, const GemmOptions& options, const Tensor& y,
          Workspace& workspace, ThreadPool& threads) {
  check_shapes(x, weight, y);
  const PackedWeight::Impl& w = weight.impl();
  const int64_t rows = x.num_rows();
  if (rows == 0 || w.n == 0) return;
  const Workspace::Scope scope(workspace);
  const ThreadGrid grid = plan_threads(w, rows, threads.size());
  GemmPlan plan(x, w, grid, threads.size(), workspace);
  plan.prepare_alone();
  for (int i = 0; i < threads.size(); ++i) {
    const auto [begin, end] = w.thread_panels(i % grid.panel_threads, grid.panel_threads);
    plan.share_panels(i, {begin, end});
  }
  const GemmOutput output{
      .y = y, .bias = options.bias, .first_column = 0, .accumulate = options.accumulate};
  threads.run([&](int thread) {
    plan.prepare_on(thread, threads);
    const GemmRange my_rows = grid.rows_of(thread, rows);
    plan.for_panels(thread, [&](GemmRange block) {
      for (const SegmentPlan& segment : plan.segments()) {
        const GemmSegment& s = *segment.segment;
        const GemmRange panels{std::max(block.begin - s.panel_begin, int64_t{0}),
                               std::min(block.end - s.panel_begin, s.panels)};
        for (int64_t row = my_rows.begin; row < my_rows.end; row += segment.row_step) {
          const GemmRange some_rows{row, std::min(row + segment.row_step, my_rows.end)};
          for (int64_t p = panels.begin; p < panels.end; p += segment.panel_step) {
            multiply(segment, some_rows, {p, std::min(p + segment.panel_step, panels.end)}, output,
                     plan.acc(thread), plan.unpacked(thread));
          }
        }
      }
    });
  });
}

}  // namespace lanner
