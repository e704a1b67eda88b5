// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <span>

#include "base/workspace.h"
#include "kernels/gemm/multiply.h"

namespace lanner {

// The panels of a weight, a contiguous share for each thread: it takes blocks from the front of its
// own, which lie in its node's memory, and once that is empty blocks from the back of others'. So
// nobody waits long for a thread that something else on the machine held up. Any number of threads
// may call take() at once; which of them multiplies a panel changes no bit of it.
class PanelShares {
 public:
  // For `num_threads` threads, without panels. Lives in memory of the workspace.
  PanelShares(int num_threads, Workspace& workspace);

  void give(int thread, GemmRange panels);

  // Up to `most` panels for a thread of the group [group_begin, group_end), which shares among
  // itself; fewer towards the end of a share, in multiples of `unit`. An empty range when all are
  // taken.
  GemmRange take(int thread, int group_begin, int group_end, int64_t most, int64_t unit);

 private:
  // Of its own cache line, since all threads write to it.
  struct alignas(64) Share {
    std::atomic<uint64_t> range;  // begin in the low half, end in the high one
  };

  static GemmRange take_front(Share& share, int64_t most, int64_t unit);
  static GemmRange take_back(Share& share, int64_t unit);

  std::span<Share> shares_;
};

}  // namespace lanner
