// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "base/thread_pool.h"
#include "base/workspace.h"
#include "kernels/gemm/multiply.h"
#include "kernels/gemm/panel_shares.h"

namespace lanner {

// Threads side by side over rows and over panels. Panels first: each thread then reads its own
// weights only; rows too where there are too few panels to fill the register tiles of all threads.
struct ThreadGrid {
  int row_threads = 1;
  int panel_threads = 1;

  GemmRange rows_of(int thread, int64_t rows) const {
    const int row_thread = thread / panel_threads;
    return {rows * row_thread / row_threads, rows * (row_thread + 1) / row_threads};
  }
};

ThreadGrid plan_threads(const PackedWeight::Impl& w, int64_t rows, int num_threads);

// How all rows of x meet a whole weight: the forms of x, each once, and each segment's plan. Holds
// memory of the workspace: a Scope around it must outlive it.
class GemmPlan {
 public:
  GemmPlan(const Tensor& x, const PackedWeight::Impl& w, const ThreadGrid& grid, int num_threads,
           Workspace& workspace);

  const std::vector<SegmentPlan>& segments() const { return segments_; }

  // Brings x into its forms. First outside a region; then, if that left it to the threads, inside
  // by each of them.
  void prepare_alone();
  void prepare_on(int thread, ThreadPool& threads) const;

  // Before the region: what a thread begins with, of what its row of the grid has to multiply.
  void share_panels(int thread, GemmRange panels) { shares_.give(thread, panels); }

  // Inside: run(block) for blocks of panels until all of the thread's row of the grid are taken.
  template <class Run>
  void for_panels(int thread, const Run& run) {
    const int first = thread / panel_threads_ * panel_threads_;
    for (;;) {
      const GemmRange block =
          shares_.take(thread, first, first + panel_threads_, panel_step_, panel_unit_);
      if (block.begin == block.end) return;
      run(block);
    }
  }

  float* acc(int thread) const { return reinterpret_cast<float*>(scratch_ + thread * bytes_); }
  std::byte* unpacked(int thread) const { return scratch_ + thread * bytes_ + acc_bytes_; }

 private:
  void prepare(int64_t begin, int64_t end) const;

  const Tensor& x_;
  int num_threads_;
  int panel_threads_;
  PanelShares shares_;
  int64_t panel_step_ = 1;  // of a block, and what its size is a multiple of
  int64_t panel_unit_ = 1;
  bool shared_ = false;  // the preparation
  std::vector<PreparedX> prepared_;
  std::vector<SegmentPlan> segments_;
  int64_t acc_bytes_ = 0;
  int64_t bytes_ = 0;  // of one thread's scratch
  std::byte* scratch_ = nullptr;
};

}  // namespace lanner
