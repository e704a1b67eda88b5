// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/gated_gemm.h"

#include <algorithm>
#include <optional>

#include "base/checked.h"
#include "kernels/activation/kernels.h"
#include "kernels/gemm/gemm_plan.h"

namespace lanner {
namespace {

// Where a half of the outputs is: some panels of one segment.
struct Half {
  const SegmentPlan* plan;
  int64_t panel_begin;
  int64_t column_begin;  // of the whole weight
};

struct Halves {
  Half gate;
  Half up;
  int64_t panels;  // of each
};

// Nothing where a panel holds rows of both halves, or a half is of several parts.
std::optional<Halves> find_halves(const std::vector<SegmentPlan>& plans, int64_t n) {
  if (plans.size() == 2 && plans[0].segment->n == n) {
    return Halves{{&plans[0], 0, 0}, {&plans[1], 0, n}, plans[0].segment->panels};
  }
  if (plans.size() == 1 && n % kPanelRows == 0) {
    return Halves{{&plans[0], 0, 0}, {&plans[0], n / kPanelRows, n}, n / kPanelRows};
  }
  return std::nullopt;
}

}  // namespace

void gated_gemm(const Tensor& x, const PackedWeight& weight, const float* bias, Activation kind,
                const Tensor& y, Workspace& workspace, ThreadPool& threads) {
  const PackedWeight::Impl& w = weight.impl();
  const int64_t n = w.n / 2;
  check_argument(x.dtype() == DType::kF32 && y.dtype() == DType::kF32,
                 "[gated_gemm] x is {} and y is {}, expected fp32", x.dtype(), y.dtype());
  check_argument(x.shape().rank() == 2 && x.size(1) == w.k && w.n % 2 == 0,
                 "[gated_gemm] x is {} and w [{}, {}], expected [m, k] and [2 * n, k]", x.shape(),
                 w.n, w.k);
  check_argument(y.shape() == (Shape{x.size(0), n}), "[gated_gemm] y is {}, expected [{}, {}]",
                 y.shape(), x.size(0), n);
  const int64_t rows = x.num_rows();
  if (rows == 0 || n == 0) return;
  const Workspace::Scope scope(workspace);
  const ThreadGrid grid = plan_threads(w, rows, threads.size());
  GemmPlan plan(x, w, grid, threads.size(), workspace);
  const std::optional<Halves> halves = find_halves(plan.segments(), n);
  if (!halves) {
    const Tensor both = workspace.tensor(DType::kF32, Shape{rows, w.n});
    gemm(x, weight, {.bias = bias}, both, workspace, threads);
    return gated_activation(kind, both.columns(0, n), both.columns(n, 2 * n), y, threads);
  }
  const auto& [gate, up, num_panels] = *halves;
  const int64_t row_step = std::min(gate.plan->row_step, up.plan->row_step);
  const int64_t panel_step = std::min(gate.plan->panel_step, up.plan->panel_step);
  const int64_t columns = panel_step * kPanelRows;
  // Products of one block: [threads][gate, up][row_step][columns].
  const Tensor products = workspace.tensor(
      DType::kF32,
      Shape{checked_mul<int64_t>(2 * row_step, threads.size(), "[gated_gemm] rows"), columns});
  const GatedActivationFn activate = select_activation().gated[static_cast<size_t>(kind)];
  plan.prepare_alone();
  for (int i = 0; i < threads.size(); ++i) {
    const int share = i % grid.panel_threads;
    plan.share_panels(i, {num_panels * share / grid.panel_threads,
                          num_panels * (share + 1) / grid.panel_threads});
  }
  threads.run([&](int thread) {
    plan.prepare_on(thread, threads);
    const GemmRange my_rows = grid.rows_of(thread, rows);
    const Tensor gates = products.rows(2 * row_step * thread, 2 * row_step * thread + row_step);
    const Tensor ups = products.rows(2 * row_step * thread + row_step, 2 * row_step * (thread + 1));
    plan.for_panels(thread, [&](GemmRange block) {
      for (int64_t row = my_rows.begin; row < my_rows.end; row += row_step) {
        const GemmRange some_rows{row, std::min(row + row_step, my_rows.end)};
        for (int64_t p = block.begin; p < block.end; p += panel_step) {
          const int64_t end = std::min(p + panel_step, block.end);
          const int64_t column = p * kPanelRows;
          const auto products_of = [&](const Half& half, const Tensor& to) {
            const int64_t first = half.column_begin + column;
            multiply(*half.plan, some_rows, {half.panel_begin + p, half.panel_begin + end},
                     {.y = to,
                      .bias = bias == nullptr ? nullptr : bias + first,
                      .first_row = row,
                      .first_column = first,
                      .accumulate = false},
                     plan.acc(thread), plan.unpacked(thread));
          };
          products_of(gate, gates);
          products_of(up, ups);
          const int64_t count = std::min(end * kPanelRows, n) - column;
          for (int64_t r = some_rows.begin; r < some_rows.end; ++r) {
            activate(gates.row<float>(r - row), ups.row<float>(r - row), count,
                     y.row<float>(r) + column);
          }
        }
      }
    });
  });
}

}  // namespace lanner
