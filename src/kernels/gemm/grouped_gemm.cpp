// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/grouped_gemm.h"

#include <algorithm>
#include <vector>

#include "base/checked.h"
#include "kernels/gemm/multiply.h"

namespace lanner {
namespace {

// Below this many values one thread prepares the activations sooner than two would meet.
constexpr int64_t kSerialValues = 16384;
// What reading a panel costs, in rows multiplied with it.
constexpr int64_t kReadCost = 8;
// Tasks per thread that leave the last ones to finish little to wait for.
constexpr int64_t kTasksPerThread = 8;
constexpr int64_t kMinPanels = 8;  // of a task
constexpr int64_t kMinRows = 48;   // of a task that has not all rows of its group

// One group with how its segments are multiplied.
struct GroupPlan {
  const GemmGroupItem* item;
  GemmRange rows;        // of all groups
  GemmRange panels;      // of the whole weight
  int64_t first_column;  // of the whole weight
  size_t first_segment;  // in the list of plans
  size_t num_segments;
};

struct Task {
  const GroupPlan* group;
  GemmRange rows;
  GemmRange panels;

  int64_t cost() const { return (rows.end - rows.begin + kReadCost) * (panels.end - panels.begin); }
};

int64_t num_rows(const GemmGroupItem& item) {
  return item.x_rows.empty() ? item.x.num_rows() : static_cast<int64_t>(item.x_rows.size());
}

void check(const GemmGroupItem& g, const PackedWeight& w) {
  const auto& segments = w.impl().segments;
  check_argument(g.x.dtype() == DType::kF32 && g.y.dtype() == DType::kF32,
                 "[grouped_gemm] x is {} and y is {}, expected fp32", g.x.dtype(), g.y.dtype());
  check_argument(0 <= g.part_begin && g.part_begin < g.part_end &&
                     g.part_end <= static_cast<int>(segments.size()),
                 "[grouped_gemm] parts {} to {} of {}", g.part_begin, g.part_end, segments.size());
  int64_t n = 0;
  for (int i = g.part_begin; i < g.part_end; ++i) n += segments[static_cast<size_t>(i)].n;
  check_argument(g.x.shape().rank() == 2 && g.x.size(1) == w.k(),
                 "[grouped_gemm] x is {}, expected [m, {}]", g.x.shape(), w.k());
  check_argument(g.y.shape() == (Shape{num_rows(g), n}),
                 "[grouped_gemm] y is {}, expected [{}, {}]", g.y.shape(), num_rows(g), n);
  for (const int32_t row : g.x_rows) {
    check_argument(row >= 0 && row < g.x.num_rows(), "[grouped_gemm] row {} of {}", row,
                   g.x.num_rows());
  }
}

// The work in pieces of about equal cost, the largest first.
std::vector<Task> make_tasks(const std::vector<GroupPlan>& groups, int num_threads) {
  int64_t total = 0;
  for (const GroupPlan& g : groups) total += Task{&g, g.rows, g.panels}.cost();
  const int64_t target = std::max<int64_t>(total / (num_threads * kTasksPerThread), 1);
  std::vector<Task> tasks;
  for (const GroupPlan& g : groups) {
    const int64_t rows = g.rows.end - g.rows.begin;
    const int64_t panels = g.panels.end - g.panels.begin;
    const int64_t wanted = ceil_div(Task{&g, g.rows, g.panels}.cost(), target);
    // Panels first: each is then read by one thread only.
    const int64_t panel_parts = std::clamp<int64_t>(wanted, 1, ceil_div(panels, kMinPanels));
    const int64_t row_parts =
        std::clamp<int64_t>(ceil_div(wanted, panel_parts), 1, ceil_div(rows, kMinRows));
    for (int64_t i = 0; i < panel_parts; ++i) {
      for (int64_t j = 0; j < row_parts; ++j) {
        tasks.push_back(
            {&g,
             {g.rows.begin + rows * j / row_parts, g.rows.begin + rows * (j + 1) / row_parts},
             {g.panels.begin + panels * i / panel_parts,
              g.panels.begin + panels * (i + 1) / panel_parts}});
      }
    }
  }
  std::stable_sort(tasks.begin(), tasks.end(),
                   [](const Task& a, const Task& b) { return a.cost() > b.cost(); });
  return tasks;
}

void run_task(const Task& task, const std::vector<SegmentPlan>& plans, const float* bias,
              float* acc, std::byte* unpacked) {
  const GroupPlan& group = *task.group;
  const GemmOutput output{.y = group.item->y,
                          .bias = bias == nullptr ? nullptr : bias + group.first_column,
                          .first_row = group.rows.begin,
                          .first_column = group.first_column};
  for (size_t i = 0; i < group.num_segments; ++i) {
    const SegmentPlan& plan = plans[group.first_segment + i];
    const GemmSegment& s = *plan.segment;
    const GemmRange panels{std::max(task.panels.begin - s.panel_begin, int64_t{0}),
                           std::min(task.panels.end - s.panel_begin, s.panels)};
    for (int64_t row = task.rows.begin; row < task.rows.end; row += plan.row_step) {
      const GemmRange rows{row, std::min(row + plan.row_step, task.rows.end)};
      for (int64_t p = panels.begin; p < panels.end; p += plan.panel_step) {
        multiply(plan, rows, {p, std::min(p + plan.panel_step, panels.end)}, output, acc, unpacked);
      }
    }
  }
}

}  // namespace

void grouped_gemm(std::span<const GemmGroupItem> items, const PackedWeight& weight,
                  const float* bias, Workspace& workspace, ThreadPool& threads) {
  const PackedWeight::Impl& w = weight.impl();
  int64_t total_rows = 0;
  for (const GemmGroupItem& item : items) {
    check(item, weight);
    total_rows += num_rows(item);
  }
  const Workspace::Scope scope(workspace);

  std::vector<GroupPlan> groups;
  groups.reserve(items.size());
  std::vector<SegmentPlan> plans;
  std::vector<PreparedX> prepared;    // each of all rows
  std::vector<size_t> plan_x_index;   // of each plan, in `prepared`
  std::vector<const float*> sources;  // of each row
  sources.reserve(static_cast<size_t>(total_rows));
  int64_t acc_bytes = 0;
  int64_t unpacked_bytes = 0;
  for (const GemmGroupItem& item : items) {
    const int64_t rows = num_rows(item);
    if (rows == 0) continue;
    const GemmSegment& first = w.segments[static_cast<size_t>(item.part_begin)];
    const GemmSegment& last = w.segments[static_cast<size_t>(item.part_end) - 1];
    const auto row_begin = static_cast<int64_t>(sources.size());
    groups.push_back({&item,
                      {row_begin, row_begin + rows},
                      {first.panel_begin, last.panel_begin + last.panels},
                      first.n_begin,
                      plans.size(),
                      static_cast<size_t>(item.part_end - item.part_begin)});
    for (int64_t row = 0; row < rows; ++row) {
      sources.push_back(item.x.row<const float>(
          item.x_rows.empty() ? row : item.x_rows[static_cast<size_t>(row)]));
    }
    for (int i = item.part_begin; i < item.part_end; ++i) {
      const GemmSegment& s = w.segments[static_cast<size_t>(i)];
      const GemmPath& path = gemm_path(*s.kernel, rows);
      SegmentPlan plan = plan_segment(s, path, rows);
      PreparedX wanted = plan_x(item.x, s, path, /*gathered=*/true);
      size_t at = 0;
      while (at < prepared.size() && !prepared[at].same_as(wanted)) ++at;
      if (at == prepared.size()) {
        allocate_x(wanted, total_rows, workspace);
        prepared.push_back(wanted);
      }
      plan_x_index.push_back(at);
      acc_bytes = std::max(acc_bytes, plan.acc_bytes());
      unpacked_bytes = std::max(unpacked_bytes, plan.unpacked_bytes());
      plans.push_back(plan);
    }
  }
  if (groups.empty()) return;
  for (size_t i = 0; i < plans.size(); ++i) plans[i].x = &prepared[plan_x_index[i]];

  const int64_t scratch_bytes = round_up(acc_bytes + 64, 64) + round_up(unpacked_bytes, 64) + 4096;
  std::byte* scratch = workspace.allocate(static_cast<size_t>(
      checked_mul<int64_t>(scratch_bytes, threads.size(), "[grouped_gemm] scratch")));

  // A form of x that only some groups want is made of all rows: there are at most two forms.
  threads.parallel_for(
      total_rows,
      [&](int64_t begin, int64_t end) {
        for (const PreparedX& p : prepared) {
          for (int64_t row = begin; row < end; ++row) {
            prepare_row(sources[static_cast<size_t>(row)], w.k, row, p);
          }
        }
      },
      ceil_div(kSerialValues, w.k));

  const std::vector<Task> tasks = make_tasks(groups, threads.size());
  threads.parallel_for_dynamic(
      static_cast<int64_t>(tasks.size()), 1, [&](int64_t begin, int64_t end, int thread) {
        std::byte* own = scratch + thread * scratch_bytes;
        auto* acc = reinterpret_cast<float*>(own);
        std::byte* unpacked = own + round_up(acc_bytes + 64, 64);
        for (int64_t t = begin; t < end; ++t) {
          run_task(tasks[static_cast<size_t>(t)], plans, bias, acc, unpacked);
        }
      });
}

}  // namespace lanner
