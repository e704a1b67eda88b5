// SPDX-License-Identifier: Apache-2.0
#include <benchmark/benchmark.h>

#include "base/testing/random.h"
#include "kernels/layer_norm/kernels.h"

namespace lanner {
namespace {

void run(benchmark::State& state, const LayerNormKernel* kernel) {
  if (!cpu_isa().has(kernel->needs)) return state.SkipWithError("this CPU lacks the ISA");
  const int size = static_cast<int>(state.range(0));
  const std::vector<float> x = random_normal(size, 1), weight = random_normal(size, 2),
                           bias = random_normal(size, 3);
  std::vector<float> y(x.size());
  for (auto _ : state) {
    kernel->row(x.data(), weight.data(), bias.data(), 1e-5f, size, y.data());
    benchmark::DoNotOptimize(y.data());
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * size * 2 * static_cast<int64_t>(sizeof(float)));
}

const int kRegistered = [] {
  for (const LayerNormKernel* kernel : layer_norm_kernels()) {
    const std::string name = std::string("layer_norm/") + kernel->name;
    benchmark::RegisterBenchmark(name.c_str(), run, kernel)->Arg(768)->Arg(4096);
  }
  return 0;
}();

}  // namespace
}  // namespace lanner
