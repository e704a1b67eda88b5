// SPDX-License-Identifier: Apache-2.0
#include <benchmark/benchmark.h>

#include "base/buffer.h"
#include "base/kv_layout.h"
#include "base/testing/random.h"
#include "kernels/kv_store/kernels.h"

namespace lanner {
namespace {

// K and V of a panel's sixteen tokens, one head of 128.
void run(benchmark::State& state, const KvStoreKernel* kernel) {
  if (!cpu_isa().has(kernel->needs)) return state.SkipWithError("this CPU lacks the ISA");
  const KvLayout layout{kernel->dtype, KvLayout::kPanelTokens, 1, 128, 128};
  const std::vector<float> x = random_normal(128, 1);
  Buffer block(static_cast<size_t>(layout.block_bytes()));
  float scale = 0;
  for (auto _ : state) {
    for (int t = 0; t < layout.block_size; ++t) {
      kernel->key(x.data(), 128, /*rotated=*/true,
                  block.data() + layout.k_element(t, 0) * layout.element_bytes(), &scale);
      kernel->value(
          x.data(), 128,
          block.data() + layout.v_offset(0) + layout.v_element(t, 0) * layout.element_bytes(),
          &scale);
    }
    benchmark::DoNotOptimize(block.data());
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * layout.block_size * 256);
}

const int kRegistered = [] {
  for (const KvStoreKernel* kernel : kv_store_kernels()) {
    const std::string name =
        std::string("kv_store/") + kernel->name + "/" + dtype_name(kernel->dtype);
    benchmark::RegisterBenchmark(name.c_str(), run, kernel);
  }
  return 0;
}();

}  // namespace
}  // namespace lanner
