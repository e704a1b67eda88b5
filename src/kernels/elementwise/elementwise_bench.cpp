// SPDX-License-Identifier: Apache-2.0
#include <benchmark/benchmark.h>

#include "base/testing/random.h"
#include "kernels/elementwise/kernels.h"

namespace lanner {
namespace {

constexpr int kSize = 4096;

template <typename Function>
void run(benchmark::State& state, const ElementwiseKernel* kernel, Function function) {
  if (!cpu_isa().has(kernel->needs)) return state.SkipWithError("this CPU lacks the ISA");
  const std::vector<float> x = random_normal(kSize, 1);
  std::vector<float> y = random_normal(kSize, 2);
  for (auto _ : state) {
    function(x.data(), y.data());
    benchmark::DoNotOptimize(y.data());
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * kSize);
}

const int kRegistered = [] {
  for (const ElementwiseKernel* k : elementwise_kernels()) {
    const std::string prefix = std::string("elementwise/") + k->name;
    benchmark::RegisterBenchmark((prefix + "/scaled_add").c_str(), [k](benchmark::State& s) {
      run(s, k, [k](const float* x, float* y) { k->scaled_add(0.5f, x, 0.5f, kSize, y); });
    });
    benchmark::RegisterBenchmark((prefix + "/soft_cap").c_str(), [k](benchmark::State& s) {
      run(s, k, [k](const float* x, float* y) { k->soft_cap(30.0f, x, kSize, y); });
    });
  }
  return 0;
}();

}  // namespace
}  // namespace lanner
