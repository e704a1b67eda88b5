// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/gemm.h"

#include <algorithm>
#include <vector>

#include <cpuid.h>
#include <unistd.h>

#include "base/checked.h"
#include "kernels/gemm/packed_weight.h"

namespace lanner {
namespace {

// Below this many values one thread prepares the activations sooner than two would meet.
constexpr int64_t kSerialValues = 16384;
// Panels that a path without blocking hands to one call: a multiple of all counts side by side.
constexpr int64_t kWidePanels = 24;

struct CacheSizes {
  int64_t l1d;
  int64_t l2;
};

const CacheSizes& cache_sizes() {
  static const CacheSizes sizes = [] {
    const long l1d = sysconf(_SC_LEVEL1_DCACHE_SIZE);
    const long l2 = sysconf(_SC_LEVEL2_CACHE_SIZE);
    return CacheSizes{l1d > 0 ? l1d : 32 << 10, l2 > 0 ? l2 : 1 << 20};
  }();
  return sizes;
}

// x as one form of activations wants it.
struct PreparedX {
  GemmX form = GemmX::kF32;
  int group = 0;  // kInt8Group: values per offset and sum
  int zero_point = 0;
  int64_t k_padded = 0;
  bool copied = false;  // else `data` is x itself
  std::byte* data = nullptr;
  int64_t row_bytes = 0;
  float* scale = nullptr;
  int64_t scales = 0;  // per row
  int32_t* offset = nullptr;
  float* sum = nullptr;
  int64_t sums = 0;  // per row, of offset and sum
  const GemmActivations* functions = nullptr;

  bool same_as(const PreparedX& other) const {
    return form == other.form && group == other.group && zero_point == other.zero_point &&
           k_padded == other.k_padded && copied == other.copied && functions == other.functions;
  }
};

// Rows of a prepared x start a line apart from where a power of two would put them: else the rows
// of a tile would all want the same set of the cache.
int64_t padded_row_bytes(int64_t bytes) { return round_up(bytes, 64) + 64; }

PreparedX plan_x(const Tensor& x, const GemmSegment& s, const GemmPath& path) {
  const int64_t rows = x.num_rows();
  PreparedX p;
  p.form = path.x;
  p.k_padded = s.k_padded;
  p.functions = s.kernel->activations;
  p.copied = true;
  switch (path.x) {
    case GemmX::kF32:
      // A copy pays where each row is read often and rows a power of two apart would collide.
      p.copied = s.k_padded != x.size(1) || rows > 16;
      p.row_bytes = p.copied ? padded_row_bytes(p.k_padded * 4) : x.row_bytes();
      if (!p.copied) p.data = x.raw();
      break;
    case GemmX::kBf16:
      p.row_bytes = padded_row_bytes(p.k_padded * 2);
      break;
    case GemmX::kInt8Row:
      p.row_bytes = padded_row_bytes(p.k_padded);
      p.scales = 1;
      p.sums = 1;
      p.zero_point = s.layout.zero_point;
      break;
    case GemmX::kInt8Group:
      p.row_bytes = padded_row_bytes(p.k_padded);
      p.scales = p.k_padded / 32;
      p.group = s.layout.group;
      p.sums = p.k_padded / p.group;
      p.zero_point = s.layout.zero_point;
      break;
  }
  return p;
}

void allocate_x(PreparedX& p, int64_t rows, Workspace& workspace) {
  if (!p.copied) return;
  p.data = workspace.allocate(static_cast<size_t>(checked_mul(rows, p.row_bytes, "[gemm] x")));
  const auto floats = [&](int64_t per_row) {
    return workspace.allocate(static_cast<size_t>(rows * per_row * 4));
  };
  p.scale = reinterpret_cast<float*>(floats(p.scales));
  p.offset = reinterpret_cast<int32_t*>(floats(p.sums));
  p.sum = reinterpret_cast<float*>(floats(p.sums));
}

void prepare_row(const Tensor& x, int64_t row, const PreparedX& p) {
  if (!p.copied) return;
  const auto* in = x.row<const float>(row);
  const int64_t k = x.size(1);
  std::byte* out = p.data + row * p.row_bytes;
  switch (p.form) {
    case GemmX::kF32:
      std::copy_n(in, k, reinterpret_cast<float*>(out));
      std::fill(reinterpret_cast<float*>(out) + k, reinterpret_cast<float*>(out) + p.k_padded,
                0.0f);
      break;
    case GemmX::kBf16:
      p.functions->to_bf16(in, k, p.k_padded, reinterpret_cast<uint16_t*>(out));
      break;
    case GemmX::kInt8Row:
      p.functions->quantize_row(in, k, p.k_padded, p.zero_point, reinterpret_cast<int8_t*>(out),
                                p.scale + row, p.offset + row);
      break;
    case GemmX::kInt8Group:
      p.functions->quantize_groups(in, k, p.k_padded, p.group, p.zero_point,
                                   reinterpret_cast<int8_t*>(out), p.scale + row * p.scales,
                                   p.offset + row * p.sums, p.sum + row * p.sums);
      break;
  }
}

// How one segment is multiplied.
struct SegmentPlan {
  const GemmSegment* segment;
  const GemmPath* path;
  const PreparedX* x;
  int64_t row_step;     // rows of x that stay in the second-level cache
  int64_t panel_step;   // panels whose sums do
  int64_t tile_panels;  // in one call
  int64_t k_step;       // of them stay in the first-level cache

  int64_t acc_bytes() const { return row_step * panel_step * kPanelRows * 4; }
  int64_t unpacked_bytes() const {
    return path->unpack == nullptr
               ? 0
               : tile_panels * (k_step / segment->layout.k_block) * path->unpacked_bytes;
  }
};

SegmentPlan plan_segment(const GemmSegment& s, const GemmPath& path, int64_t rows) {
  SegmentPlan plan{&s, &path, nullptr, rows, kWidePanels, kWidePanels, s.k_padded};
  if (path.panels == 0) return plan;
  const CacheSizes& cache = cache_sizes();
  const GemmLayout& layout = s.layout;
  plan.tile_panels = path.panels;
  // Half of the first level for the weights of a tile, the rest for x and the sums.
  const int64_t bytes_per_block = path.unpack != nullptr ? path.unpacked_bytes : layout.block_bytes;
  const int64_t unit = std::max(layout.k_block, 64);
  const int64_t fitting = cache.l1d / 2 * layout.k_block / (bytes_per_block * path.panels);
  plan.k_step =
      std::min(round_up(s.k_padded, layout.k_block), std::max(fitting / unit * unit, unit));
  // A quarter of the second level for the rows of x, a quarter for the sums.
  const int64_t x_bytes = path.x == GemmX::kF32 ? 4 : path.x == GemmX::kBf16 ? 2 : 1;
  plan.row_step = std::clamp<int64_t>(cache.l2 / 4 / (plan.k_step * x_bytes), 24, 512);
  plan.row_step = round_up(ceil_div(rows, ceil_div(rows, plan.row_step)), 24);
  plan.row_step = std::min(plan.row_step, rows);
  const int64_t panels = cache.l2 / 4 / (plan.row_step * kPanelRows * 4);
  plan.panel_step = std::clamp<int64_t>(panels / path.panels, 1, 64) * path.panels;
  return plan;
}

struct Range {
  int64_t begin;
  int64_t end;
};

struct GemmCall {
  const GemmOptions& options;
  const Tensor& y;

  // acc of rows x panels to y.
  void finish(const SegmentPlan& plan, const float* acc, int64_t acc_stride, Range rows,
              Range panels) const {
    const GemmSegment& s = *plan.segment;
    const int64_t column = panels.begin * kPanelRows;
    GemmFinish f{};
    f.acc = acc;
    f.acc_stride = acc_stride;
    if (plan.path->x == GemmX::kInt8Row) {
      f.x_scale = plan.x->scale + rows.begin;
      f.w_scale = s.scale + column;
    }
    if (options.bias != nullptr) f.bias = options.bias + s.n_begin + column;
    f.y = y.row<float>(rows.begin) + s.n_begin + column;
    f.y_stride = y.row_stride();
    f.rows = rows.end - rows.begin;
    f.columns = std::min(panels.end * kPanelRows, s.n) - column;
    f.accumulate = options.accumulate;
    s.kernel->finish(f);
  }

  // All of k for some rows and some panels of one segment.
  void multiply(const SegmentPlan& plan, Range rows, Range panels, float* acc,
                std::byte* unpacked) const {
    const GemmSegment& s = *plan.segment;
    const PreparedX& x = *plan.x;
    const int64_t x_bytes = x.form == GemmX::kF32 ? 4 : x.form == GemmX::kBf16 ? 2 : 1;
    GemmTile tile{};
    tile.panel_stride = s.panel_bytes;
    tile.x_stride = x.row_bytes;
    tile.x_scale_stride = x.scales;
    tile.x_sum_stride = x.sums;
    tile.acc_stride = (panels.end - panels.begin) * kPanelRows;
    tile.rows = static_cast<int>(rows.end - rows.begin);
    for (int64_t k = 0; k < s.k_padded; k += plan.k_step) {
      tile.k = std::min(plan.k_step, s.k_padded - k);
      tile.first = k == 0;
      tile.x = x.data + rows.begin * x.row_bytes + k * x_bytes;
      if (x.scale != nullptr) {
        const int64_t group = x.group > 0 ? k / x.group : 0;
        tile.x_scale = x.scale + rows.begin * x.scales + (x.group > 0 ? k / 32 : 0);
        tile.x_offset = x.offset + rows.begin * x.sums + group;
        tile.x_sum = x.sum + rows.begin * x.sums + group;
      }
      const int64_t blocks = tile.k / s.layout.k_block;
      const std::byte* w = s.data + k / s.layout.k_block * s.layout.block_bytes;
      for (int64_t p = panels.begin; p < panels.end; p += plan.tile_panels) {
        tile.panels = static_cast<int>(std::min(plan.tile_panels, panels.end - p));
        tile.w = w + p * s.panel_bytes;
        if (plan.path->unpack != nullptr) {
          tile.panel_stride = blocks * plan.path->unpacked_bytes;
          for (int i = 0; i < tile.panels; ++i) {
            plan.path->unpack(tile.w + i * s.panel_bytes, blocks, unpacked + i * tile.panel_stride);
          }
          tile.w = unpacked;
        }
        tile.acc = acc + (p - panels.begin) * kPanelRows;
        // The next tile of this step of k, or the first of the next.
        tile.next = nullptr;
        if (plan.path->panels > 0) {
          if (p + plan.tile_panels < panels.end) {
            tile.next = w + (p + plan.tile_panels) * s.panel_bytes;
          } else if (k + plan.k_step < s.k_padded) {
            tile.next = w + panels.begin * s.panel_bytes + blocks * s.layout.block_bytes;
          }
          tile.next_stride = tile.next != nullptr ? s.panel_bytes : 0;
          tile.next_bytes = blocks * s.layout.block_bytes;
        }
        plan.path->tile(tile);
      }
    }
    finish(plan, acc, tile.acc_stride, rows, panels);
  }
};

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
      for (int64_t row = begin; row < end; ++row) prepare_row(x, row, p);
    }
  };
  if (serial) prepare_rows(0, rows);

  const GemmCall call{options, y};
  threads.run([&](int thread) {
    if (!serial) {
      prepare_rows(rows * thread / threads.size(), rows * (thread + 1) / threads.size());
      threads.barrier();
    }
    std::byte* own = scratch + thread * scratch_bytes;
    auto* acc = reinterpret_cast<float*>(own);
    std::byte* unpacked = own + round_up(acc_bytes + 64, 64);
    const int row_thread = thread / grid.panel_threads;
    const Range my_rows{rows * row_thread / grid.row_threads,
                        rows * (row_thread + 1) / grid.row_threads};
    const GemmPanelRange my_panels =
        w.thread_panels(thread % grid.panel_threads, grid.panel_threads);
    for (const SegmentPlan& plan : plans) {
      const GemmSegment& s = *plan.segment;
      const Range panels{std::max(my_panels.begin - s.panel_begin, int64_t{0}),
                         std::min(my_panels.end - s.panel_begin, s.panels)};
      for (int64_t row = my_rows.begin; row < my_rows.end; row += plan.row_step) {
        const Range some_rows{row, std::min(row + plan.row_step, my_rows.end)};
        for (int64_t p = panels.begin; p < panels.end; p += plan.panel_step) {
          call.multiply(plan, some_rows, {p, std::min(p + plan.panel_step, panels.end)}, acc,
                        unpacked);
        }
      }
    }
  });
}

}  // namespace lanner
