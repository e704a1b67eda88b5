// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/panel_shares.h"

#include <algorithm>
#include <new>

#include "base/checked.h"

namespace lanner {
namespace {

uint64_t packed(GemmRange r) {
  return static_cast<uint64_t>(r.begin) | static_cast<uint64_t>(r.end) << 32;
}

GemmRange unpacked(uint64_t value) {
  return {static_cast<int64_t>(value & UINT32_MAX), static_cast<int64_t>(value >> 32)};
}

int64_t size(GemmRange r) { return r.end - r.begin; }

}  // namespace

PanelShares::PanelShares(int num_threads, Workspace& workspace) {
  auto* shares = reinterpret_cast<Share*>(
      workspace.allocate(sizeof(Share) * static_cast<size_t>(num_threads)));
  for (int i = 0; i < num_threads; ++i) new (shares + i) Share{0};
  shares_ = {shares, static_cast<size_t>(num_threads)};
}

void PanelShares::give(int thread, GemmRange panels) {
  check_argument(panels.begin >= 0 && panels.end <= INT32_MAX, "[gemm] panels {} to {}",
                 panels.begin, panels.end);
  shares_[static_cast<size_t>(thread)].range.store(packed(panels), std::memory_order_relaxed);
}

GemmRange PanelShares::take(int thread, int group_begin, int group_end, int64_t most,
                            int64_t unit) {
  const GemmRange own = take_front(shares_[static_cast<size_t>(thread)], most, unit);
  if (size(own) > 0) return own;
  for (;;) {
    Share* fullest = nullptr;
    int64_t left = 0;
    for (int i = group_begin; i < group_end; ++i) {
      Share& share = shares_[static_cast<size_t>(i)];
      const int64_t here = size(unpacked(share.range.load(std::memory_order_relaxed)));
      if (here > left) {
        left = here;
        fullest = &share;
      }
    }
    if (fullest == nullptr) return {0, 0};
    const GemmRange taken = take_back(*fullest, unit);
    if (size(taken) > 0) return taken;
  }
}

GemmRange PanelShares::take_front(Share& share, int64_t most, int64_t unit) {
  uint64_t old = share.range.load(std::memory_order_relaxed);
  for (;;) {
    const GemmRange left = unpacked(old);
    // The last blocks are small, so that there is something left to give to others.
    const int64_t half = round_up(size(left) / 2, unit);
    const int64_t count = std::min({std::max(half, unit), most, size(left)});
    const GemmRange taken{left.begin, left.begin + count};
    if (count == 0 || share.range.compare_exchange_weak(old, packed({taken.end, left.end}),
                                                        std::memory_order_relaxed)) {
      return taken;
    }
  }
}

GemmRange PanelShares::take_back(Share& share, int64_t unit) {
  uint64_t old = share.range.load(std::memory_order_relaxed);
  for (;;) {
    const GemmRange left = unpacked(old);
    const GemmRange taken{left.end - std::min(unit, size(left)), left.end};
    if (size(taken) == 0 ||
        share.range.compare_exchange_weak(old, packed({left.begin, taken.begin}),
                                          std::memory_order_relaxed)) {
      return taken;
    }
  }
}

}  // namespace lanner
