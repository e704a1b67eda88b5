// SPDX-License-Identifier: Apache-2.0
// Fetching weights before they are wanted. Included by ISA files after their vec_*.h.
#pragma once

#include "kernels/gemm/kernels.h"

namespace lanner {
namespace {

// How far ahead of its reading a stream is fetched: the hardware's prefetchers stop at each 4 KiB
// page, and with more arithmetic per line they fall behind. Measured: 1 to 4 KiB are alike.
constexpr int kStreamAhead = 3072;

// Spreads the fetching of a tile's `next` weights over its first rows.
class FetchNext {
 public:
  FetchNext(const GemmTile& t, int row, int panel, int panels)
      : next_(t.next + panel * t.next_stride),
        stride_(t.next_stride),
        left_(t.next != nullptr && row == 0 ? t.next_bytes : 0),
        bytes_per_k_(left_ > 0 ? (t.next_bytes + t.k - 1) / t.k : 0),
        panels_(panels) {}

  // Fetches what belongs to the next `k` values of k.
  inline void advance(int64_t k) {
    if (left_ <= 0) return;
    const int64_t bytes = (k * bytes_per_k_ + 63) / 64 * 64;
    for (int p = 0; p < panels_; ++p) {
      for (int64_t i = 0; i < bytes; i += 64) prefetch_l2(next_ + p * stride_ + i);
    }
    next_ += bytes;
    left_ -= bytes;
  }

 private:
  const std::byte* next_;
  int64_t stride_;
  int64_t left_;
  int64_t bytes_per_k_;
  int panels_;
};

}  // namespace
}  // namespace lanner
