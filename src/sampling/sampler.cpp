// SPDX-License-Identifier: Apache-2.0
#include "sampling/sampler.h"

#include "base/error.h"
#include "sampling/logits_processors.h"
#include "sampling/philox.h"

namespace lanner {
namespace {

int32_t sample_row(std::span<float> logits, const SamplingRow& row, Candidates& candidates) {
  const SamplingParams& params = *row.params;
  if (has_penalties(params)) {
    LANNER_CHECK(row.counts != nullptr);
    apply_repetition_penalty(logits, *row.counts, params.repetition_penalty);
    apply_frequency_penalty(logits, *row.counts, params.frequency_penalty);
    apply_presence_penalty(logits, *row.counts, params.presence_penalty);
  }
  if (!candidates.reset(logits)) return kNoToken;
  if (params.temperature == 0) return candidates.best();
  apply_temperature(candidates, params.temperature);
  apply_top_k(candidates, params.top_k);
  apply_top_p(candidates, params.top_p);
  apply_min_p(candidates, params.min_p);
  return candidates.draw(uniform_at(row.seed, row.step));
}

}  // namespace

std::vector<int32_t> Sampler::sample(const Tensor& logits, std::span<const SamplingRow> rows,
                                     ThreadPool& threads) {
  if (rows.empty()) return {};
  check_argument(logits.dtype() == DType::kF32, "[sampling] logits are {}, expected fp32",
                 logits.dtype());
  check_argument(logits.shape().rank() == 2 && logits.num_rows() == std::ssize(rows),
                 "[sampling] logits are {}, expected {} rows", logits.shape(), rows.size());
  for (const SamplingRow& row : rows) LANNER_CHECK(row.params != nullptr);

  std::vector<int32_t> tokens(rows.size(), kNoToken);
  const auto vocab_size = static_cast<size_t>(logits.size(-1));
  if (scratch_.size() < static_cast<size_t>(threads.size())) {
    scratch_.resize(static_cast<size_t>(threads.size()));
  }
  threads.parallel_for_dynamic(std::ssize(rows), 1, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t i = begin; i < end; ++i) {
      tokens[static_cast<size_t>(i)] =
          sample_row({logits.row<float>(i), vocab_size}, rows[static_cast<size_t>(i)],
                     scratch_[static_cast<size_t>(thread)]);
    }
  });
  return tokens;
}

}  // namespace lanner
