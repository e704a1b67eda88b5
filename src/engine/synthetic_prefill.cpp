// SPDX-License-Identifier: Apache-2.0
#include "engine/synthetic_prefill.h"

#include <algorithm>
#include <random>

#include "kernels/kv_store/kv_store.h"

namespace lanner {

bool SyntheticPrefill::applies_to(const SchedulerOutput& output) {
  return std::ranges::any_of(output.sequences,
                             [](const ScheduledSequence& s) { return s.num_tokens > 1; });
}

void SyntheticPrefill::run(const SchedulerOutput& output, KvCache& cache, ThreadPool& threads) {
  const auto tokens = static_cast<int64_t>(output.slots.size());
  for (int i = 0; i < cache.num_layers(); ++i) {
    const KvCacheView layer = cache.layer(i);
    const int64_t k_width = int64_t{layer.layout.kv_heads} * layer.layout.head_dim;
    const int64_t v_width = int64_t{layer.layout.kv_heads} * layer.layout.v_head_dim;
    const auto needed = static_cast<size_t>(tokens * std::max(k_width, v_width));
    std::minstd_rand generator(static_cast<uint32_t>(draws_.size() + 1));
    std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
    while (draws_.size() < needed) draws_.push_back(uniform(generator));
    kv_store(Tensor(draws_.data(), DType::kF32, Shape{tokens, k_width}),
             Tensor(draws_.data(), DType::kF32, Shape{tokens, v_width}), output.slots, layer,
             threads);
  }
}

}  // namespace lanner
