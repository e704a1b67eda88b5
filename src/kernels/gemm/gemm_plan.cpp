// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/gemm_plan.h"

#include <algorithm>

#include "base/checked.h"

namespace lanner {
namespace {

// Below this many values one thread prepares the activations sooner than two would meet.
constexpr int64_t kSerialValues = 16384;

}  // namespace

ThreadGrid plan_threads(const PackedWeight::Impl& w, int64_t rows, int num_threads) {
  ThreadGrid grid{1, num_threads};
  while (grid.panel_threads % 2 == 0 && rows / (grid.row_threads * 2) >= 48 &&
         w.panels / grid.panel_threads < 12) {
    grid.panel_threads /= 2;
    grid.row_threads *= 2;
  }
  return grid;
}

GemmPlan::GemmPlan(const Tensor& x, const PackedWeight::Impl& w, const ThreadGrid& grid,
                   int num_threads, Workspace& workspace)
    : x_(x),
      num_threads_(num_threads),
      panel_threads_(grid.panel_threads),
      shares_(num_threads, workspace) {
  const int64_t rows = x.num_rows();
  prepared_.reserve(w.segments.size());
  segments_.reserve(w.segments.size());
  int64_t unpacked_bytes = 0;
  for (const GemmSegment& s : w.segments) {
    const GemmPath& path = gemm_path(*s.kernel, rows);
    SegmentPlan plan = plan_segment(s, path, ceil_div(rows, int64_t{grid.row_threads}));
    const PreparedX wanted = plan_x(x, s, path);
    const auto same = std::find_if(prepared_.begin(), prepared_.end(),
                                   [&](const PreparedX& p) { return p.same_as(wanted); });
    if (same != prepared_.end()) {
      plan.x = &*same;
    } else {
      prepared_.push_back(wanted);
      allocate_x(prepared_.back(), rows, workspace);
      plan.x = &prepared_.back();
    }
    acc_bytes_ = std::max(acc_bytes_, plan.acc_bytes());
    unpacked_bytes = std::max(unpacked_bytes, plan.unpacked_bytes());
    panel_step_ = std::max(panel_step_, plan.panel_step);
    panel_unit_ = std::max(panel_unit_, plan.panel_unit);
    segments_.push_back(plan);
  }
  // Each thread's scratch on pages of its own.
  acc_bytes_ = round_up(acc_bytes_ + 64, int64_t{64});
  bytes_ = acc_bytes_ + round_up(unpacked_bytes, int64_t{64}) + 4096;
  scratch_ = workspace.allocate(
      static_cast<size_t>(checked_mul<int64_t>(bytes_, num_threads, "[gemm] scratch")));
  shared_ = num_threads > 1 && rows > 1 && rows * w.k > kSerialValues;
}

void GemmPlan::prepare(int64_t begin, int64_t end) const {
  for (const PreparedX& p : prepared_) {
    for (int64_t row = begin; row < end; ++row) {
      prepare_row(x_.row<const float>(row), x_.size(1), row, p);
    }
  }
}

void GemmPlan::prepare_alone() {
  if (!shared_) prepare(0, x_.num_rows());
}

void GemmPlan::prepare_on(int thread, ThreadPool& threads) const {
  if (!shared_) return;
  const int64_t rows = x_.num_rows();
  prepare(rows * thread / num_threads_, rows * (thread + 1) / num_threads_);
  threads.barrier();
}

}  // namespace lanner
