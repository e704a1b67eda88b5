// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/gemm.h"

#include <algorithm>
#include <vector>

#include <cpuid.h>

#include "base/checked.h"
#include "kernels/gemm/multiply.h"

namespace lanner {
namespace {

// Below this many values one thread prepares the activations sooner than two would meet.
constexpr int64_t kSerialValues = 16384;

// Threads side by side over rows and over panels. Panels first: each thread then reads its own
// weights only; rows too where there are too few panels to fill the register tiles of all threads.
struct ThreadGrid {
  int row_threads = 1;
  int panel_threads = 1;
};

ThreadGrid plan_threads(const PackedWeight::Impl& w, int64_t rows, int num_threads) {
  ThreadGrid grid{1, num_threads};
  while (grid.panel_threads % 2 == 0 && rows / (grid.row_threads * 2) >= 48 &&
         w.panels / grid.panel_threads < 12) {
    grid.panel_threads /= 2;
    grid.row_threads *= 2;
  }
  return grid;
}

// AMD's cores double their rate with vdpbf16ps. Intel's do not: one takes as long as the two or
// four fused multiply-adds of fp32 it stands for, and those need no rounding of x.
bool bf16_is_faster_than_fp32() {
  unsigned largest_leaf = 0, ebx = 0, ecx = 0, edx = 0;
  __get_cpuid(0, &largest_leaf, &ebx, &ecx, &edx);
  return ebx == signature_AMD_ebx;
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
  constexpr Isa kAllButBf16{Isa::kAvx2,       Isa::kAvxVnni, Isa::kAvx512,  Isa::kAvx512Vnni,
                            Isa::kAvx512Fp16, Isa::kAmxTile, Isa::kAmxInt8, Isa::kAmxBf16};
  const Isa isa = cpu_isa();
  return bf16_is_faster_than_fp32() ? isa : isa & kAllButBf16;
}

std::span<const GemmKernelTable* const> gemm_kernel_tables() {
  static constexpr const GemmKernelTable* kTables[] = {
      &kGemmAvx512Bf16, &kGemmAvx512Vnni, &kGemmAvx512, &kGemmAvxVnni,
      &kGemmAvx512Int,  &kGemmAvx2Int,    &kGemmAvx2,   &kGemmScalar,
  };
  return kTables;
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

  std::vector<PreparedX> prepared;
  prepared.reserve(w.segments.size());
  std::vector<SegmentPlan> plans;
  plans.reserve(w.segments.size());
  int64_t acc_bytes = 0;
  int64_t unpacked_bytes = 0;
  for (const GemmSegment& s : w.segments) {
    const GemmPath& path = gemm_path(*s.kernel, rows);
    SegmentPlan plan = plan_segment(s, path, ceil_div(rows, grid.row_threads));
    const PreparedX wanted = plan_x(x, s, path);
    const auto same = std::find_if(prepared.begin(), prepared.end(),
                                   [&](const PreparedX& p) { return p.same_as(wanted); });
    if (same != prepared.end()) {
      plan.x = &*same;
    } else {
      prepared.push_back(wanted);
      allocate_x(prepared.back(), rows, workspace);
      plan.x = &prepared.back();
    }
    acc_bytes = std::max(acc_bytes, plan.acc_bytes());
    unpacked_bytes = std::max(unpacked_bytes, plan.unpacked_bytes());
    plans.push_back(plan);
  }
  // Each thread's scratch on pages of its own.
  const int64_t scratch_bytes = round_up(acc_bytes + 64, 64) + round_up(unpacked_bytes, 64) + 4096;
  std::byte* scratch = workspace.allocate(
      static_cast<size_t>(checked_mul<int64_t>(scratch_bytes, threads.size(), "[gemm] scratch")));

  const bool serial = threads.size() == 1 || rows == 1 || rows * w.k <= kSerialValues;
  const auto prepare_rows = [&](int64_t begin, int64_t end) {
    for (const PreparedX& p : prepared) {
      for (int64_t row = begin; row < end; ++row) prepare_row(x.row<const float>(row), w.k, row, p);
    }
  };
  if (serial) prepare_rows(0, rows);

  const GemmOutput output{.y = y, .bias = options.bias, .accumulate = options.accumulate};
  threads.run([&](int thread) {
    if (!serial) {
      prepare_rows(rows * thread / threads.size(), rows * (thread + 1) / threads.size());
      threads.barrier();
    }
    std::byte* own = scratch + thread * scratch_bytes;
    auto* acc = reinterpret_cast<float*>(own);
    std::byte* unpacked = own + round_up(acc_bytes + 64, 64);
    const int row_thread = thread / grid.panel_threads;
    const GemmRange my_rows{rows * row_thread / grid.row_threads,
                            rows * (row_thread + 1) / grid.row_threads};
    const GemmPanelRange my_panels =
        w.thread_panels(thread % grid.panel_threads, grid.panel_threads);
    for (const SegmentPlan& plan : plans) {
      const GemmSegment& s = *plan.segment;
      const GemmRange panels{std::max(my_panels.begin - s.panel_begin, int64_t{0}),
                             std::min(my_panels.end - s.panel_begin, s.panels)};
      for (int64_t row = my_rows.begin; row < my_rows.end; row += plan.row_step) {
        const GemmRange some_rows{row, std::min(row + plan.row_step, my_rows.end)};
        for (int64_t p = panels.begin; p < panels.end; p += plan.panel_step) {
          multiply(plan, some_rows, {p, std::min(p + plan.panel_step, panels.end)}, output, acc,
                   unpacked);
        }
      }
    }
  });
}

}  // namespace lanner
