// SPDX-License-Identifier: Apache-2.0
#include <benchmark/benchmark.h>

#include "base/testing/random.h"
#include "kernels/activation/kernels.h"

namespace lanner {
namespace {

void run(benchmark::State& state, const ActivationKernel* kernel, Activation kind) {
  if (!cpu_isa().has(kernel->needs)) return state.SkipWithError("this CPU lacks the ISA");
  constexpr int kSize = 11008;
  const std::vector<float> gate = random_normal(kSize, 1), up = random_normal(kSize, 2);
  std::vector<float> y(gate.size());
  const GatedActivationFn function = kernel->gated[static_cast<size_t>(kind)];
  for (auto _ : state) {
    function(gate.data(), up.data(), kSize, y.data());
    benchmark::DoNotOptimize(y.data());
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * kSize);
}

const int kRegistered = [] {
  for (const ActivationKernel* kernel : activation_kernels()) {
    const std::string prefix = std::string("gated_activation/") + kernel->name;
    benchmark::RegisterBenchmark((prefix + "/silu").c_str(), run, kernel, Activation::kSilu);
    benchmark::RegisterBenchmark((prefix + "/gelu").c_str(), run, kernel, Activation::kGelu);
    benchmark::RegisterBenchmark((prefix + "/gelu_tanh").c_str(), run, kernel,
                                 Activation::kGeluTanh);
    benchmark::RegisterBenchmark((prefix + "/relu").c_str(), run, kernel, Activation::kRelu);
  }
  return 0;
}();

}  // namespace
}  // namespace lanner
