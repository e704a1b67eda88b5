// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/tensor.h"
#include "base/thread_pool.h"
#include "lanner/sampling_params.h"
#include "sampling/candidates.h"
#include "sampling/token_counts.h"

namespace lanner {

// Instead of a token id: the row's logits allow none (NaN, +infinity, or -infinity only).
inline constexpr int32_t kNoToken = -1;

// What a row of logits is sampled with.
struct SamplingRow {
  const SamplingParams* params = nullptr;  // validated
  uint64_t seed = 0;                       // of the sequence
  uint64_t step = 0;                       // output tokens so far
  const TokenCounts* counts = nullptr;     // needed if has_penalties(*params)
};

// Chooses the next token of every row by its own parameters. A row's result depends on its logits,
// parameters, seed and step only: not on the other rows, nor on the number of threads. Keeps
// scratch memory from step to step; one caller at a time.
class Sampler {
 public:
  //   logits   [num_rows, vocab_size] fp32, any row stride; penalties change them in place
  //   rows     [num_rows]
  //   returns  [num_rows] token ids, or kNoToken
  //
  // Throws Error(kInvalidArgument) when shapes or types do not match.
  std::vector<int32_t> sample(const Tensor& logits, std::span<const SamplingRow> rows,
                              ThreadPool& threads);

 private:
  std::vector<Candidates> scratch_;  // one per thread
};

}  // namespace lanner
