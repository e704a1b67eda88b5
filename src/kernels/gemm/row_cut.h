// SPDX-License-Identifier: Apache-2.0
// From a number of rows at run time to code that is compiled for it. Included by ISA files.
#pragma once

namespace lanner {
namespace {

// run.operator()<rows>() for 1 <= rows <= kMost.
template <int kMost, class Run>
static inline void with_rows(int rows, const Run& run) {
  if constexpr (kMost > 1) {
    if (rows < kMost) return with_rows<kMost - 1>(rows, run);
  }
  run.template operator()<kMost>();
}

// run.operator()<n>(row) for n rows from `row` on, in even shares of at most kMost: 9 = 5 + 4.
template <int kMost, class Run>
static inline void cut_rows(int rows, const Run& run) {
  int row = 0;
  for (int left = (rows + kMost - 1) / kMost; left > 0; --left) {
    const int share = (rows - row + left - 1) / left;
    with_rows<kMost>(share, [&]<int kRows>() { run.template operator()<kRows>(row); });
    row += share;
  }
}

}  // namespace
}  // namespace lanner
