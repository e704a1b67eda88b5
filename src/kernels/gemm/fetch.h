// SPDX-License-Identifier: Apache-2.0
// Fetching weights before they are wanted. Included by ISA files after their vec_*.h.
#pragma once

#include "kernels/gemm/kernels.h"

namespace lanner {
namespace {

// How far ahead of its reading a stream is fetched: the hardware's prefetchers stop at each 4 KiB
// page, and with more arithmetic per line they fall behind. Measured: 1 to 4 KiB are alike.
constexpr int kStreamAhead = 3072;

// Spreads the fetching of a tile's `next` weights evenly over the first of its rows.
class FetchNext {
 public:
  // For `rows` rows from `row` on, beside `panels` panels.
  FetchNext(const GemmTile& t, int row, int rows, int panel, int panels)
      : next_(t.next + panel * t.next_stride), stride_(t.next_stride), panels_(panels) {
    if (t.next == nullptr) return;
    constexpr int kFirstRows = 16;
    const int spread = t.rows < kFirstRows ? t.rows : kFirstRows;
    const auto reached = [&](int r) {
      return t.next_bytes * (r < spread ? r : spread) / spread / 64 * 64;
    };
    const int64_t begin = reached(row);
    next_ += begin;
    left_ = reached(row + rows) - begin;
    bytes_per_k_ = (left_ + t.k - 1) / t.k;
  }

  // Fetches what belongs to the `k` values after `begin`, or to none of them; returns where they
  // end. A loop over k that stops there keeps the fetching out of its inner loop, which has no
  // registers to spare for it.
  inline int64_t advance(int64_t begin, int64_t k, int64_t end) {
    if (left_ <= 0) return end;
    const int64_t bytes = (k * bytes_per_k_ + 63) / 64 * 64;
    for (int p = 0; p < panels_; ++p) {
      for (int64_t i = 0; i < bytes; i += 64) prefetch_l2(next_ + p * stride_ + i);
    }
    next_ += bytes;
    left_ -= bytes;
    return begin + k < end ? begin + k : end;
  }

 private:
  const std::byte* next_;
  int64_t stride_;
  int64_t left_ = 0;
  int64_t bytes_per_k_ = 0;
  int panels_;
};

}  // namespace
}  // namespace lanner
